"""The composed calls behind ``basket sweep`` and ``basket leaderboard``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from basket.dataset import N_LEVELS, find_splits, is_simulated
from basket.errors import UsageError
from basket.workflows.common import DEFAULT_CACHE, PathLike, Say, silent, tell_doubts

if TYPE_CHECKING:
    from basket.evaluate.report import EvaluationReport
    from basket.heads.persist import Run
    from basket.sweep.data import Loaded
    from basket.sweep.leaderboard import Leaderboard
    from basket.sweep.runner import OnProgress
    from basket.sweep.setting import Setting
    from basket.sweep.space import Space

DEFAULT_SWEEP = "sweep"


@dataclass(frozen=True)
class SweepSummary:
    """What a sweep leaves.

    Parameters
    ----------
    folder : Path
    board : Leaderboard
        Every configuration on validation.
    n_computed : int
        Fits made by this call; the others were there.
    run : Run or None
        The chosen configuration as a run folder.
    report : EvaluationReport or None
        Its test scores, where a test set was named.
    n_test_looks : int
        Configurations of this sweep that the test set has seen, this one included.
    """

    folder: Path
    board: Leaderboard
    n_computed: int
    run: Run | None
    report: EvaluationReport | None
    n_test_looks: int

    def __repr__(self) -> str:
        chosen = "" if self.run is None else f", chosen: {self.run.path}"
        return f"SweepSummary({self.board.n_tried} configurations in {self.folder}{chosen})"

    def _repr_html_(self) -> str:
        tested = "" if self.report is None else self.report._repr_html_()
        return self.board._repr_html_() + tested

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "folder": str(self.folder),
            "n_computed": self.n_computed,
            "n_tried": self.board.n_tried,
            "chosen": self.board.rows[0].setting.to_json(),
            "run": None if self.run is None else str(self.run.path),
            "test": None if self.report is None else self.report.results(),
            "n_test_looks": self.n_test_looks,
            "leaderboard": self.board.to_json(),
        }


def run_sweep(
    space: Space | PathLike,
    *,
    cache: PathLike = DEFAULT_CACHE,
    train: PathLike | None = None,
    val: PathLike | None = None,
    test: PathLike | None = None,
    video_root: PathLike | None = None,
    out: PathLike = DEFAULT_SWEEP,
    jobs: int = 1,
    worker: bool = False,
    engine: str = "local",
    ray_address: str | None = None,
    n_levels: int = N_LEVELS,
    player: str | None = None,
    set_aside: float | None = None,
    say: Say = silent,
    on_progress: OnProgress | None = None,
) -> SweepSummary:
    """Try every configuration of a space on validation players; score the best one on a test set.

    Parameters
    ----------
    space : Space or path
        What to try, or a YAML specification of it.
    cache : path
    train, val, test : path, optional
        Label files; without ``train``, BASKET's own under ``$BASKET_ROOT`` or the current folder.
        Without ``val``, a fifth of the training players is held out. Without ``test`` nothing is
        tested.
    video_root : path, optional
    out : path, default="sweep"
        Folder of the sweep; what is finished there is not done again.
    jobs : int, default=1
        Processes.
    worker : bool, default=False
        Only take part in the fitting: nothing is chosen and nothing tested.
    engine : {"local", "ray"}
        Where the fitting is done; with ``ray``, ``jobs`` is the cores of each helper.
    ray_address : str, optional
        Of a running cluster; one on this machine unless given.
    n_levels : int, default=5
    player : str, optional
        Column of the label files that names the person in each video; by default the paths do.
    set_aside : float, optional
        Share of the training players that the chosen configuration is not fitted on, to measure on
        them how often it is right; a tenth by default, 0 for none. All configurations are tried on
        all training players.
    say, on_progress : callable, optional

    Raises
    ------
    BasketError
        In one sentence.
    """
    from basket.cache.durable import make_folder, write_atomically
    from basket.heads.calibration import DEFAULT_SHARE, check_share
    from basket.sweep.data import Loaded, SweepData
    from basket.sweep.leaderboard import SWEEP_FILE, read_leaderboard
    from basket.sweep.records import Records
    from basket.sweep.runner import run_settings
    from basket.sweep.search import walk
    from basket.sweep.space import Space, read_space
    from basket.sweep.workers import ray_helpers, require_same_sweep
    from basket.workflows.chosen import chosen_run, test_once

    aside = DEFAULT_SHARE if set_aside is None else set_aside
    if jobs < 1:
        raise UsageError(f"--jobs must be at least 1, got {jobs}")
    check_share(aside)
    wanted = space if isinstance(space, Space) else read_space(space)
    train, val, test = _labels(train, val, test, video_root, say)
    root, chosen_on, tested_on = (
        None if each is None else Path(each) for each in (video_root, val, test)
    )
    data = SweepData(
        Path(cache), Path(train), chosen_on, root, n_levels, test=tested_on, player=player
    )
    loaded, folder = Loaded(data), Path(out)
    tables = dict(zip(("train", "val"), loaded.tables, strict=True))
    if loaded.test is not None:
        tables["test"] = loaded.test
    tell_doubts(tables, say)
    make_folder(folder)
    about = _about(wanted, loaded, val)
    if worker:
        require_same_sweep(folder, about)
    if stale := Records(folder).told_stale(code=about["code"], data=about["data"].values()):
        say(f"{stale}; they take no part, and what is asked for of them is fitted anew")
    write_atomically(folder / SWEEP_FILE, (json.dumps(about, indent=1) + "\n").encode())
    computed = 0

    def run_batch(settings: Sequence[Setting], full: bool) -> dict[Setting, dict[str, Any]]:
        nonlocal computed
        notes = {"full": full}
        if help_out is not None:
            computed += help_out(settings, notes)
        done = run_settings(
            settings,
            data=data,
            folder=folder,
            jobs=1 if help_out is not None else jobs,
            loaded=loaded,
            notes=notes,
            on_progress=on_progress,
        )
        computed += done.n_computed
        return done.records

    with ExitStack() as stack:
        help_out = None
        if engine == "ray":
            helpers = ray_helpers(data, folder, address=ray_address, cpus=jobs, say=say)
            help_out = stack.enter_context(helpers)
        data_and_code = json.dumps([about["data"], about["code"]])
        walk(wanted, run_batch, folder=folder, data=data_and_code)
    board = read_leaderboard(folder, metric=wanted.metric)
    if worker:
        return SweepSummary(folder, board, computed, None, None, 0)
    best = board.rows[0]
    run = chosen_run(best, board, loaded, folder, aside=aside, say=say)
    report, looks = (
        (None, 0) if loaded.test is None else test_once(run, board, loaded.test, loaded, folder)
    )
    return SweepSummary(folder, board, computed, run, report, looks)


def leaderboard(
    folder: PathLike, *, metric: str | None = None, html: PathLike | None = None
) -> Leaderboard:
    """The configurations of a sweep in order, and what each axis is worth.

    Parameters
    ----------
    folder : path
        Written by :func:`run_sweep`.
    metric : str, optional
        ``accuracy``, ``mae`` or ``qwk``; what the sweep selected by, if not given.
    html : path, optional
        Page to write.

    Raises
    ------
    BasketError
        In one sentence.
    """
    from basket.cache.durable import make_room_for, write_atomically
    from basket.sweep.leaderboard import read_leaderboard

    board = read_leaderboard(folder, metric=metric)
    if html is not None:
        make_room_for(Path(html))
        write_atomically(Path(html), board.to_html().encode())
    return board


def _labels(
    train: PathLike | None,
    val: PathLike | None,
    test: PathLike | None,
    video_root: PathLike | None,
    say: Say,
) -> tuple[PathLike, PathLike | None, PathLike | None]:
    """The label files named, or BASKET's own."""
    if train is None:
        root = None if video_root is None else Path(video_root)
        names = ("train", "val", "test")
        splits = find_splits(root, names=names, needed=("train",), option="--train CSV")
        train, val = splits["train"], val or splits.get("val")
        test = test or splits.get("test")
        say(f"Labels: {train}" + (f" and {val}" if val else ""))
    if val is None:
        say("No --val: a fifth of the training players is held out for selection")
    return train, val, test


def _about(space: Space, loaded: Loaded, val: PathLike | None) -> dict[str, Any]:
    """What the sweep says of itself; fails early where features are unknown."""
    from basket.sweep.leaderboard import SWEEP_FORMAT, SWEEP_VERSION
    from basket.sweep.records import code_version

    return {
        "format": SWEEP_FORMAT,
        "version": SWEEP_VERSION,
        "space": space.to_json(),
        "code": code_version(),
        "data": {" + ".join(names): loaded.digest(names) for names in space.features},
        "train": str(loaded.data.train.resolve()),
        "val": None if val is None else str(Path(val).resolve()),
        "simulated": any(is_simulated(table.path) for table in loaded.tables),
        "random_weights": sorted(
            {
                source.spec.backbone
                for names in space.features
                for source, _ in loaded.sources(names)
                if source.spec.random_weights
            }
        ),
    }
