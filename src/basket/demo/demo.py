"""The whole chain on simulated players: reels, cache, heads, report."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from basket import workflows
from basket.cache.durable import refuse_file_on_the_way
from basket.dataset import TEST_SPLITS, read_labels
from basket.demo.court import DEFAULT_PLAYERS, DEFAULT_SECONDS, DemoDataset, simulate_dataset
from basket.predict.cards import cards_of
from basket.predict.page import card_fragment

if TYPE_CHECKING:
    from basket.heads.persist import Run

#: ``progress(what)`` is a context whose value takes ``(done, total, details)``.
ProgressFactory = Callable[[str], AbstractContextManager[Callable[[int, int, str], None]]]

HEADS = ("prior", "ridge", "mlp", "gbdt")


@dataclass(frozen=True)
class DemoResult:
    """What a demo leaves.

    Parameters
    ----------
    report : Path
    runs : tuple of Path
    results : list of dict
        ``features, head, split, accuracy, mae, qwk`` per run and test set.
    """

    report: Path
    runs: tuple[Path, ...]
    results: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "report": str(self.report),
            "runs": [str(path) for path in self.runs],
            "results": self.results,
        }


def run_demo(
    out: str | Path,
    *,
    players: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    say: Callable[[str], None] = lambda _sentence: None,
    progress: ProgressFactory = lambda _what: nullcontext(lambda _done, _total, _details: None),
) -> DemoResult:
    """Simulate reels, extract, fit four heads on two feature sets, and report.

    Every step is the one that users have for their own data; run again, it continues.

    Parameters
    ----------
    out : Path
        Folder for everything.
    players, seconds, seed
        See :func:`basket.demo.court.simulate_dataset`.
    say : callable
        Receives sentences.
    progress : callable
        Makes a progress line.
    """
    out = Path(out)
    refuse_file_on_the_way(out)
    with progress("Filming") as report_progress:
        data = simulate_dataset(
            out / "basket",
            players=DEFAULT_PLAYERS if players is None else players,
            seconds=DEFAULT_SECONDS if seconds is None else seconds,
            seed=seed,
            on_progress=lambda done, total: report_progress(done, total, "reels"),
        )
    say(f"{data.n_videos} simulated reels in {data.root}")
    cache = extract_reels(out, data, say=say, progress=progress)
    runs = [
        _fit(out / "runs", data, cache=cache, features=features, head=head, seed=seed)
        for features in workflows.open_cache(cache).feature_sets
        for head in HEADS
    ]
    best = _best_on_validation(runs)
    report_path = out / "report.html"
    report = workflows.evaluate_run(
        [run.path for run in runs],
        tests={name: data.splits[name] for name in TEST_SPLITS},
        report=report_path,
        title="basket demo: simulated players",
        primary=best.path.name,
        primary_reason="the best mean accuracy on the validation players",
        sections=lambda _report: _card_section(best, data, cache),
        say=say,
    )
    return DemoResult(report_path, tuple(run.path for run in runs), report.results())


def extract_reels(
    out: Path, data: DemoDataset, *, say: Callable[[str], None], progress: ProgressFactory
) -> Path:
    """Extract both feature sets from one pass over the reels; the random network is the control.

    Returns
    -------
    Path
        The cache.
    """
    from basket.extract.backbones.random_weights import save_random_videomae

    weights = out / "weights" / "tiny-random"
    if not (weights / "config.json").exists():
        save_random_videomae(weights)
    cache = out / "cache"
    with progress("Extracting") as report_progress:
        summary = workflows.extract_features(
            labels=list(data.splits.values()),
            video_root=data.root,
            models=["motion", "videomae"],
            weights={"videomae": weights},
            cache=cache,
            say=say,
            on_progress=lambda now: report_progress(now.videos_done, now.videos_total, "reels"),
        )
    say(
        f"{summary.done} reels extracted, {summary.already_there} were there already, "
        f"{len(summary.failed)} failed ({summary.elapsed_s:.0f} s)"
    )
    return cache


def _fit(
    folder: Path, data: DemoDataset, *, cache: Path, features: str, head: str, seed: int
) -> Run:
    """Fit one head, or take the run that an earlier demo left for the same data and features."""
    out = folder / f"{features.split('.')[0]}-{head}"
    if out.exists():
        run = workflows.load_run(out)
        same_labels = (
            run.config["labels"]["train"]["sha256"]
            == read_labels(data.splits["train"], video_root=data.root).sha256
        )
        same_features = [each.name for each in run.feature_sets] == [features]
        if same_labels and same_features and run.config["seed"] == seed:
            return run
        shutil.rmtree(out)
    return workflows.fit_head(
        cache=cache,
        features=[features],
        train=data.splits["train"],
        val=data.splits["val"],
        video_root=data.root,
        head=head,
        seed=seed,
        out=out,
    )


def _best_on_validation(runs: Sequence[Run]) -> Run:
    """The run to show in detail: chosen on validation players, as any choice has to be."""
    return max(runs, key=lambda run: run.metrics["val"]["head"]["accuracy"]["mean"])


def _card_section(run: Run, data: DemoDataset, cache: Path) -> list[tuple[str, str]]:
    """The skill card of one test player, predicted from the reel as a user would."""
    labels = read_labels(data.splits["test"], video_root=data.root)
    reel = data.root / labels.video_ids[0]
    found = workflows.predict_videos(run, [reel], video_root=data.root, cache=cache)
    cards = cards_of(found, labels=labels, cache=workflows.open_cache(cache))
    return [("One player's skill card", card_fragment(card)) for card in cards]
