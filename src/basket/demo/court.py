"""A simulated data set in BASKET's layout: reels with known skills, label files, known moments."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from basket.cores import usable_cores
from basket.dataset import SPLIT_FILES
from basket.demo import league as leagues
from basket.demo.reel import FPS, ReelJob, cut, possessions_in, render_reel
from basket.demo.roster import LEAGUES, SPLITS, UNSEEN_LEAGUE, Slot, deal
from basket.errors import UsageError
from basket.extract.decode_worker import end_with_parent

DEFAULT_PLAYERS = 240
DEFAULT_SECONDS = 30.0
MIN_PLAYERS = 10
# A league with fewer training players than this gets its levels from players never filmed.
_MIN_COHORT = 10
_REFERENCE_COHORT = 200
_FORMAT = {"format": "basket-demo", "version": 1}


@dataclass(frozen=True)
class DemoDataset:
    """Where a simulated data set lies.

    Parameters
    ----------
    root : Path
        Video root; the label files' paths are relative to it.
    splits : dict of str to Path
        Label file of each of :data:`SPLITS`.
    n_videos : int
        Reels in all splits together.
    moments : Path
        JSON: path in the label files -> list of ``{"start_s", "end_s", "kind", "outcome",
        "skills"}``, one entry per possession, half-open and without gaps; ``skills`` maps the
        skills whose labelled level the possession pushes up to 1, down to -1.
    """

    root: Path
    splits: dict[str, Path]
    n_videos: int
    moments: Path


@dataclass(frozen=True)
class _Reel:
    slot: Slot
    season: leagues.Season
    job: ReelJob


def simulate_dataset(
    root: Path,
    *,
    players: int = DEFAULT_PLAYERS,
    seconds: float = DEFAULT_SECONDS,
    seed: int = 0,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> DemoDataset:
    """Simulate players, film a reel of each and write BASKET's label files.

    Levels are cut within each league at the quintiles of its training players' season statistics;
    a league with fewer than ten of those (the unseen one always) is cut at the quintiles of 200
    simulated players who are never filmed.

    The same arguments give the same files whatever the number of workers. A call that was
    interrupted continues where it stopped: a reel that exists is whole.

    Parameters
    ----------
    root : Path
        Folder to fill; created when absent.
    players : int, default=240
        Player-season reels in train, val and test together; the three cross sets add about a tenth
        each. At least 10.
    seconds : float, default=30.0
        Length of a reel; at least 5.
    seed : int, default=0
        Decides everything.
    workers : int or None, default=None
        Processes that film; None for one per available core, 1 for none but this one.
    on_progress : callable or None, default=None
        Called with (reels present, reels in all) after every reel.

    Returns
    -------
    DemoDataset

    Raises
    ------
    UsageError
        Too few players, too short reels, or ``root`` holds a simulation of another configuration.
    """
    if players < MIN_PLAYERS:
        raise UsageError(f"Too few players to split: {players}; ask for {MIN_PLAYERS} or more")
    if not seconds >= 5:
        raise UsageError(f"A reel of {seconds:g} s shows too little: ask for 5 seconds or more.")
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} workers cannot film: ask for 1 or more.")
    root = Path(root)
    _claim(root, players=players, seconds=seconds, seed=seed)
    people, films, cohorts = SeedSequence(seed).spawn(3)
    slots = deal(players)
    reels = _play(root, slots, seconds=seconds, people=people, films=films)
    _film([reel.job for reel in reels], workers=workers, on_progress=on_progress)
    return DemoDataset(
        root=root,
        splits=_write_labels(root, reels, seed=cohorts, seconds=seconds),
        n_videos=len(reels),
        moments=_write_moments(root, reels),
    )


def _claim(root: Path, *, players: int, seconds: float, seed: int) -> None:
    """Write down what is simulated here, or check that it is the same as before."""
    wanted = {**_FORMAT, "players": players, "seconds": float(seconds), "seed": seed}
    note = root / "simulation.json"
    if not note.exists():
        _publish(note, json.dumps(wanted, indent=2) + "\n")
        return
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"{note} is not a simulation's own file: choose an empty folder.")
    differing = [key for key in wanted if found.get(key) != wanted[key]]
    if differing:
        here = ", ".join(f"{key} {found.get(key)}" for key in differing)
        asked = ", ".join(f"{key} {wanted[key]}" for key in differing)
        raise UsageError(
            f"{root} holds a simulation with {here}, not {asked}: "
            "choose another folder, or delete this one."
        )


def _play(
    root: Path,
    slots: Sequence[Slot],
    *,
    seconds: float,
    people: SeedSequence,
    films: SeedSequence,
) -> list[_Reel]:
    """Play every season and choose what its reel shows."""
    numbers = sorted({slot.player for slot in slots})
    sources = dict(zip(numbers, people.spawn(len(numbers)), strict=True))
    n = possessions_in(seconds)
    skills: dict[int, NDArray[np.float64]] = {}
    rngs: dict[int, np.random.Generator] = {}
    reels: list[_Reel] = []
    for slot, film in zip(slots, films.spawn(len(slots)), strict=True):
        if slot.player not in rngs:
            rng = rngs[slot.player] = np.random.default_rng(sources[slot.player])
            skills[slot.player] = leagues.draw_skills(rng, style=slot.league)
        else:
            rng = rngs[slot.player]
            skills[slot.player] = leagues.a_year_later(skills[slot.player], rng=rng)
        season = leagues.play_season(skills[slot.player], reel_possessions=n, rng=rng)
        events = leagues.pick_reel(season, reel_possessions=n, rng=rng)
        clips = cut(events, seconds=seconds, rng=rng)
        reels.append(_Reel(slot, season, ReelJob(root / slot.path, clips, slot.league, film)))
    return reels


def _film(
    jobs: Sequence[ReelJob],
    *,
    workers: int | None,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    """Film the reels that do not exist yet."""
    missing = [job for job in jobs if not job.path.exists()]
    done = len(jobs) - len(missing)

    def report(present: int) -> None:
        if on_progress is not None:
            on_progress(present, len(jobs))

    report(done)
    n_workers = min(usable_cores() if workers is None else workers, len(missing))
    if n_workers <= 1:
        for present, job in enumerate(missing, start=done + 1):
            render_reel(job)
            report(present)
        return
    # Spawned, not forked: the caller may hold threads (torch, BLAS) that a fork would break.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_workers, mp_context=context, initializer=_begin_worker) as pool:
        try:
            futures = [pool.submit(render_reel, job) for job in missing]
            for present, future in enumerate(as_completed(futures), start=done + 1):
                future.result()
                report(present)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _begin_worker() -> None:
    """In a worker: leave Ctrl-C to the parent, and do not outlive it when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def _write_labels(
    root: Path, reels: Sequence[_Reel], *, seed: SeedSequence, seconds: float
) -> dict[str, Path]:
    cuts = _cuts(reels, seed=seed, seconds=seconds)
    written: dict[str, Path] = {}
    for split in SPLITS:
        rows = io.StringIO()
        table = csv.writer(rows, lineterminator="\n")
        table.writerow(["path", *leagues.NAMES])
        for reel in reels:
            if reel.slot.split == split:
                levels = leagues.levels(reel.season.statistics, cuts[reel.slot.league])
                table.writerow([reel.slot.path, *levels])
        written[split] = root / SPLIT_FILES[split]
        _publish(written[split], rows.getvalue())
    return written


def _cuts(
    reels: Sequence[_Reel], *, seed: SeedSequence, seconds: float
) -> dict[str, NDArray[np.float64]]:
    """Thresholds of every league."""
    cuts = {}
    for league, source in zip((*LEAGUES, UNSEEN_LEAGUE), seed.spawn(len(LEAGUES) + 1), strict=True):
        # A player with two seasons counts once, with the later one.
        latest = {
            reel.slot.player: reel.season.statistics
            for reel in reels
            if (reel.slot.split, reel.slot.league) == ("train", league)
        }
        cohort = list(latest.values())
        if len(cohort) < _MIN_COHORT:
            rng = np.random.default_rng(source)
            n = possessions_in(seconds)
            cohort = [
                leagues.play_season(
                    leagues.draw_skills(rng, style=league), reel_possessions=n, rng=rng
                ).statistics
                for _ in range(_REFERENCE_COHORT)
            ]
        cuts[league] = leagues.thresholds(cohort)
    return cuts


def _write_moments(root: Path, reels: Sequence[_Reel]) -> Path:
    known: dict[str, list[dict[str, object]]] = {}
    for reel in reels:
        shown = 0
        entries = known[reel.slot.path] = []
        for possession in reel.job.possessions:
            begin, shown = shown, shown + possession.frames
            entries.append(
                {
                    "start_s": begin / FPS,
                    "end_s": shown / FPS,
                    "kind": possession.event.kind.value,
                    "outcome": possession.event.outcome,
                    "skills": leagues.contributions(possession.event),
                }
            )
    path = root / "moments.json"
    _publish(path, json.dumps(known) + "\n")
    return path


def _publish(path: Path, text: str) -> None:
    """Write a text file that is either whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
