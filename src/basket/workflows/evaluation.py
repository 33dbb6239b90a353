"""The composed call behind ``basket evaluate``."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from basket.dataset import TEST_SPLITS, LabelTable, find_splits, read_splits
from basket.errors import RunError, UsageError
from basket.metrics import of_trained_skills
from basket.workflows.common import PathLike, Say, one_or_several, silent, tell_left_out

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from basket.cache import FeatureCache, FeatureSet
    from basket.evaluate.description import RunDescription
    from basket.evaluate.report import EvaluationReport
    from basket.evaluate.slices import Meta
    from basket.heads.matrix import Matrix
    from basket.heads.persist import Run


@one_or_several("runs")
def evaluate_run(
    runs: Sequence[PathLike | Run],
    *,
    tests: Mapping[str, PathLike] | None = None,
    cache: PathLike | None = None,
    video_root: PathLike | None = None,
    player: str | None = None,
    meta: PathLike | None = None,
    report: PathLike | None = None,
    title: str | None = None,
    primary: str | None = None,
    primary_reason: str = "",
    sections: Callable[[EvaluationReport], Sequence[tuple[str, str]]] | None = None,
    say: Say = silent,
    on_stage: Say | None = None,
) -> EvaluationReport:
    """Score fitted runs on test sets, beside the prior-only baseline, and compare them in pairs.

    Parameters
    ----------
    runs : sequence of path or Run
    tests : mapping of str to path, optional
        Name of a test set to its label file; without it, BASKET's own test and cross sets.
    cache : path, optional
        By default the one each run was fitted from.
    video_root : path, optional
        Folder that absolute paths in label files are under.
    player : str, optional
        Column of the label files that names the person in each video; by default the one that each
        run was fitted with, or else the paths.
    meta : path, optional
        CSV of what is known about videos or players, to slice by.
    report : path, optional
        HTML file to write, with its JSON and markdown twins beside it.
    title, primary, primary_reason, sections
        For the report; see :func:`basket.evaluate.report.assemble_report`.
    say : callable
        Receives sentences about what was left out.
    on_stage : callable, optional
        Told the name of each stage as it begins.

    Raises
    ------
    BasketError
        In one sentence.
    """
    from basket.evaluate import protocol
    from basket.evaluate.answers import answers_of
    from basket.evaluate.compare import compare_runs
    from basket.evaluate.report import (
        DEFAULT_TITLE,
        RunReport,
        assemble_report,
        check_room_for_report,
        unique_names,
    )
    from basket.evaluate.scores import evaluate
    from basket.evaluate.slices import read_meta
    from basket.heads.persist import Run
    from basket.heads.sources import sources_of_run
    from basket.workflows.prediction import load_run

    loaded = [run if isinstance(run, Run) else load_run(run) for run in runs]
    if not loaded:
        raise UsageError("Name at least one run folder")
    _check_same_skills(loaded)
    if not tests:
        root = None if video_root is None else Path(video_root)
        tests = find_splits(root, names=TEST_SPLITS, needed=TEST_SPLITS, option="--test NAME=CSV")
        say(f"Test sets: {', '.join(tests)}")
    if report is not None:
        check_room_for_report(Path(report))
    names_of_runs = unique_names([run.path.name for run in loaded])
    reports = []
    known = None if meta is None else read_meta(meta)
    main_split = next(iter(tests))
    answered = []
    validated: dict[tuple[str, frozenset[str]], list[str]] = {}
    noted: dict[str, set[str]] = {name: set() for name in tests}
    test_sets = _TestSets(meta=meta, known=known or {}, say=say)
    for run, called in zip(loaded, names_of_runs, strict=True):
        about = replace(describe_run(run), name=called)
        sources = sources_of_run(_cache_of(run, cache), run)
        tables = read_splits(
            tests,
            skills=run.skills,
            video_root=video_root,
            n_levels=run.n_levels,
            player=player or run.config["labels"].get("player"),
        )
        splits_of_run = {}
        for name in tests:
            (on_stage or silent)(f"{called} on {name}")
            table, matrix = tables[name], test_sets.pooled(name, tables[name], run.pooling, sources)
            answers = answers_of(run, matrix, split=name)
            for source, _ in sources:
                noted[name] |= source.snapshot.notes.keys() & set(matrix.ids)
            if players := chosen_by(run, matrix.groups):
                validated.setdefault((name, players), []).append(called)
            if name == main_split and answers.ids:
                # What one of the runs has not learned says nothing of their difference.
                truth = answers.truth
                for each in loaded:
                    truth = of_trained_skills(truth, each.config["train"]["level_counts"])
                answered.append((about, replace(answers, truth=truth)))
            splits_of_run[name] = evaluate(
                run,
                matrix,
                split=name,
                train_level_counts=run.config["train"]["level_counts"],
                train_players=run.train_players,
                answers=answers,
                lost=protocol.lost_levels(table, matrix.ids),
                meta=known,
                references=protocol.references_for(table, simulated=about.simulated),
            )
        reports.append(RunReport(about, splits_of_run))
    notes = [chosen_by_words(*key, names) for key, names in validated.items()]
    notes += [
        f"{len(ids)} of the videos of {name}, e.g. {min(ids)}, carry a note (a hole, "
        "a clock that jumps, a file that was cut off): basket cache status lists them."
        for name, ids in noted.items()
        if ids
    ]
    for note in notes:
        say(note)
    if len(reports) > 1:
        (on_stage or silent)("comparing runs")
    assembled = assemble_report(
        reports,
        skills=loaded[0].skills,
        n_levels=loaded[0].n_levels,
        primary=primary,
        primary_reason=primary_reason,
        main_split=main_split,
        comparisons=compare_runs(answered, primary=primary or names_of_runs[0], split=main_split),
        created=time.strftime("%Y-%m-%d %H:%M"),
        title=title or DEFAULT_TITLE,
        notes=notes,
    )
    if report is not None:
        assembled.write(Path(report), sections=sections(assembled) if sections else ())
    return assembled


def describe_run(run: Run) -> RunDescription:
    """What a report says of a run."""
    from basket.evaluate.description import FeatureIdentity, RunDescription

    config = run.config
    return RunDescription(
        name=run.path.name,
        head=config["head"],
        pooling=run.pooling,
        features=tuple(
            FeatureIdentity.from_spec(each.spec, stream=each.stream) for each in run.feature_sets
        ),
        seed=config["seed"],
        simulated=bool(config["simulated"]),
        n_train_videos=config["train"]["n_videos"],
        n_train_players=config["train"]["n_players"],
        settings={name: str(value) for name, value in config["params"].items()},
        versions=config["versions"],
        learned_from=_learned_from(run),
    )


class _TestSets:
    """Test sets of one evaluation; runs on the same features share the pooled matrix."""

    def __init__(self, *, meta: PathLike | None, known: Meta, say: Say) -> None:
        self.meta, self.known, self.say = meta, known, say
        self._pooled: dict[tuple[Any, ...], Matrix] = {}

    def pooled(
        self,
        name: str,
        table: LabelTable,
        pooling: str,
        sources: Sequence[tuple[FeatureSet, str]],
    ) -> Matrix:
        """Labels and features of a test set, as a run takes them."""
        from basket.evaluate import protocol

        features = ((each.path, stream) for each, stream in sources)
        key = (name, pooling, table.players, *features)
        if key not in self._pooled:
            matrix = protocol.matrix_of_test_set(sources, table, pooling=pooling)
            tell_left_out(name, matrix.left_out, self.say)
            self._tell_unsliced(name, table)
            self._pooled[key] = matrix
        return self._pooled[key]

    def _tell_unsliced(self, name: str, table: LabelTable) -> None:
        from basket.evaluate.slices import MAX_SLICES, too_many, unmatched

        for column in unmatched(table.video_ids, self.known):
            self.say(f"{name}: {column} of {self.meta} is known of none of its videos")
        for column, count in too_many(table.video_ids, self.known).items():
            self.say(
                f"{name}: {column} of {self.meta} has {count} values, too many to slice by "
                f"(at most {MAX_SLICES}, or numbers)"
            )


def chosen_by(run: Run, players: npt.NDArray[np.str_]) -> frozenset[str]:
    """Those of some players by whom a run's decision rules were chosen."""
    return frozenset(players.tolist()).intersection(run.validation_players)


def chosen_by_words(split: str, players: Collection[str], runs: Sequence[str]) -> str:
    """A warning that what runs decide by was chosen on players whom they are scored on."""
    count = "1 player" if len(players) == 1 else f"{len(players):,} players"
    verb = "was a validation player" if len(players) == 1 else "were validation players"
    return (
        f"{count} in {split}, e.g. {min(players)}, {verb} of {', '.join(runs)}: decision rules "
        "were chosen by them, and training was stopped by them, so scores there are too good."
    )


def _learned_from(run: Run) -> str:
    """Digest of what decides a run beside its settings, its features and its seed."""
    labels, aside = run.config["labels"], run.config.get("set_aside")
    parts = [
        [labels.get(name, {}).get("sha256") for name in ("train", "val")],
        # Players, not videos: another seed sets others aside, who may have more reels.
        run.config["train"]["n_players"],
        0 if aside is None else aside["n_players"],
        bool(run.decision.temperatures),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _check_same_skills(runs: Sequence[Run]) -> None:
    """Refuse runs whose scores could not stand in one table."""
    first = runs[0]
    for run in runs[1:]:
        if (run.skills, run.n_levels) != (first.skills, first.n_levels):
            order = ", in another order" if set(run.skills) == set(first.skills) else ""
            raise UsageError(
                f"{run.path} predicts {len(run.skills)} skills of {run.n_levels} levels{order}, "
                f"and {first.path} {len(first.skills)} of {first.n_levels}; compare runs that were "
                "fitted on label files with one header"
            )


def _cache_of(run: Run, cache: PathLike | None) -> FeatureCache:
    """The named cache, or the one that a run was fitted from."""
    from basket.cache import open_cache

    path = Path(cache if cache is not None else run.config["labels"].get("cache", "(not known)"))
    if cache is None and not path.exists():
        raise RunError(
            f"The cache {path} that run {run.path} was fitted from is not there; name one that has "
            "its features with --cache"
        )
    return open_cache(path)
