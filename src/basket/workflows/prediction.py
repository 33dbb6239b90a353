"""The composed call from reels to skill cards, and the run that makes it three lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from basket.heads.persist import Run
from basket.heads.persist import load_run as load_stored_run
from basket.workflows.common import DEFAULT_CACHE, PathLike, Say, one_or_several, silent

if TYPE_CHECKING:
    from basket.cache import FeatureCache
    from basket.dataset.prompts import PromptBank
    from basket.extract.summary import Progress
    from basket.predict.predictor import Prediction


class VideoRun(Run):
    """A fitted run that predicts from videos as well as from features.

    Examples
    --------
    Three lines from a reel to its skills::

        import basket
        run = basket.load_run("runs/ridge")
        print(run.predict("reel.mp4").to_json())
    """

    @classmethod
    def of(cls, run: Run) -> VideoRun:
        """The same run."""
        return cls(**{each.name: getattr(run, each.name) for each in fields(Run)})

    # Features give levels, as with any Run; paths give a Prediction.
    def predict(self, X: Any, metric: str = "accuracy", **options: Any) -> Any:
        """Levels of features, or a :class:`~basket.predict.predictor.Prediction` of videos.

        Parameters
        ----------
        X : array, RaggedFeatures, path or sequence of path
            Features as :meth:`predict_proba` takes them; or video files, folders and CSV files.
        metric : str, default="accuracy"
            For features: the metric whose decision rule is used.
        **options
            For videos: those of :func:`predict_videos`.
        """
        if not _are_paths(X):
            return super().predict(X, metric)
        return predict_videos(self, X, **options)


def load_run(path: PathLike) -> VideoRun:
    """Open a run folder; ``run.predict("reel.mp4")`` predicts from a video."""
    return VideoRun.of(load_stored_run(path))


@one_or_several("videos")
def predict_videos(
    run: PathLike | Run,
    videos: Sequence[PathLike],
    *,
    video_root: PathLike | None = None,
    cache: PathLike | None = None,
    weights: Mapping[str, PathLike] | None = None,
    device: str = "auto",
    precision: str = "auto",
    prompts: PathLike | None = None,
    workers: int | None = None,
    report: PathLike | None = None,
    out: PathLike | None = None,
    say: Say = silent,
    on_progress: Callable[[Progress], None] | None = None,
) -> Prediction:
    """Predict the skills of the players in videos, extracting with the run's own specification.

    Parameters
    ----------
    run : path or Run
    videos : sequence of path
        Video files, folders of them, and CSV files that list them.
    video_root : path, optional
        Folder that video ids are relative to; by default the folder of the videos.
    cache : path, optional
        Videos whose features are in it are not decoded; by default ``basket-cache`` where it is
        there. Nothing is written to it.
    weights : mapping of str to path or str, optional
        Backbone name to a checkpoint, where the recorded one is not at hand.
    device, precision
        See ``basket extract``.
    prompts : path, optional
        The prompt bank that the run's text scores were made with, where it is not basket's own.
    workers : int, optional
        Decode processes.
    report : path, optional
        HTML file to write the skill cards to.
    out : path, optional
        Table to write: ``.parquet``, ``.csv`` or ``.json``. Until it is written, what was extracted
        is kept beside it, so that the same call continues where it was interrupted.
    say : callable
    on_progress : callable, optional
        Told the progress of an extraction.

    Raises
    ------
    BasketError
        In one sentence. Videos that cannot be read are in the result, with the reason.
    """
    from basket.cache.durable import room_for
    from basket.dataset.prompts import read_prompts
    from basket.predict.inputs import find_reels
    from basket.predict.predictor import Predictor
    from basket.predict.tables import check_table_name, write_table

    if out is not None:
        check_table_name(Path(out))
    opened = run if isinstance(run, Run) else load_run(run)
    sources = find_reels(videos, video_root=video_root, say=say)
    scratch = None if out is None else Path(out).with_name(f".{Path(out).name}.features")
    known = _cache(cache)
    bank = None if prompts is None else read_prompts(prompts)
    with room_for(*(Path(file) for file in (report, out) if file is not None)):
        predictor = Predictor(
            opened,
            cache=known,
            scratch=scratch,
            weights=weights,
            device=device,
            precision=precision,
            prompts=bank,
            workers=workers,
            say=say,
        )
        found = predictor.predict(sources, on_progress=on_progress)
        if report is not None and found.videos:
            _write_report(Path(report), found, known, bank, say)
        if out is not None:
            write_table(Path(out), found)
            predictor.release_scratch()
    return found


def _write_report(
    path: Path, found: Prediction, cache: FeatureCache | None, bank: PromptBank | None, say: Say
) -> None:
    from basket.cache.durable import write_atomically
    from basket.predict.cards import MAX_DETAILED, cards_of
    from basket.predict.page import cards_html

    detailed = len(found.videos) <= MAX_DETAILED
    if not detailed:
        say(
            f"{len(found.videos)} cards on one page: they come without moments and pictures, which "
            f"pages of at most {MAX_DETAILED} players have"
        )
    cards = cards_of(found, cache=cache, prompts=bank, detailed=detailed)
    write_atomically(path, cards_html(cards).encode())


def _cache(path: PathLike | None) -> FeatureCache | None:
    from basket.cache import open_cache

    if path is not None:
        return open_cache(path)
    default = Path(DEFAULT_CACHE)  # looked into when no cache is named and it is there
    return open_cache(default) if (default / "cache.json").exists() else None


def _are_paths(X: Any) -> bool:
    if isinstance(X, str | Path):
        return True
    return isinstance(X, Sequence) and bool(X) and all(isinstance(each, str | Path) for each in X)
