"""What a sweep ends in: its best configuration as a run, and that run on the test set, once."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from basket.dataset import LabelTable
from basket.errors import RunError
from basket.workflows.common import Say, origin_of

if TYPE_CHECKING:
    from basket.evaluate.report import EvaluationReport
    from basket.heads.persist import Run
    from basket.sweep.data import Loaded
    from basket.sweep.leaderboard import Leaderboard, Row

_TESTED = "tested.json"


def chosen_run(
    best: Row, board: Leaderboard, loaded: Loaded, folder: Path, *, aside: float, say: Say
) -> Run:
    """The best configuration as a run folder, fitted with its first seed; made once.

    ``aside`` is the share of the training players kept apart to measure how often it is right.
    """
    from basket.heads.fit import fit_run
    from basket.heads.persist import load_run
    from basket.heads.sources import described
    from basket.sweep.records import record_key

    setting = best.setting
    key = record_key(setting, loaded.digest(setting.features))
    out = folder / "chosen" / hashlib.sha256(f"{key} {aside:g}".encode()).hexdigest()[:12]
    if out.exists():
        return load_run(out)
    say(f"Chosen of {board.n_tried} configurations by {board.metric}; fitting it into {out}")
    train, val = loaded.matrices(setting)
    tables = dict(zip(("train", "val"), loaded.tables, strict=True))
    out.parent.mkdir(parents=True, exist_ok=True)
    return fit_run(
        train,
        val,
        head=setting.head,
        params=setting.parameters,
        seed=setting.seed,
        aside=aside,
        pooling=setting.pooling,
        feature_sets=described(loaded.sources(setting.features)),
        out=out,
        labels={
            **origin_of(tables, loaded.data.cache, player=loaded.data.player),
            "chosen_of": board.n_tried,
        },
    )


def test_once(
    run: Run, board: Leaderboard, test: LabelTable, loaded: Loaded, folder: Path
) -> tuple[EvaluationReport, int]:
    """Test scores of the chosen run: computed once, and read back ever after."""
    from basket.cache.durable import write_atomically
    from basket.evaluate.report import EvaluationReport

    features = board.rows[0].setting.features
    name = f"{run.path.name}-{loaded.digest_of(features, [test])[:12]}"
    page = folder / "tests" / f"{name}.html"
    looks = _looks(folder)
    if name in looks and page.with_suffix(".json").exists():
        return EvaluationReport.from_json(page.with_suffix(".json").read_text()), len(looks)
    # Counted before it is looked at: a look that was interrupted was one.
    looks = list(dict.fromkeys([*looks, name]))
    write_atomically(folder / _TESTED, (json.dumps(looks) + "\n").encode())
    report = _test_report(run, board, test, loaded, n_looks=len(looks))
    report.write(page)
    return report, len(looks)


def _test_report(
    run: Run, board: Leaderboard, test: LabelTable, loaded: Loaded, *, n_looks: int
) -> EvaluationReport:
    from basket.evaluate import protocol
    from basket.evaluate.report import RunReport, assemble_report
    from basket.evaluate.scores import evaluate
    from basket.workflows.evaluation import chosen_by, chosen_by_words, describe_run

    matrix = protocol.matrix_of_test_set(
        loaded.sources(board.rows[0].setting.features), test, pooling=run.pooling
    )
    about = describe_run(run)
    scores = evaluate(
        run,
        matrix,
        split="test",
        train_level_counts=run.config["train"]["level_counts"],
        train_players=run.train_players,
        lost=protocol.lost_levels(test, matrix.ids),
        references=protocol.references_for(test, simulated=about.simulated),
    )
    notes = []
    if players := chosen_by(run, matrix.groups):
        notes.append(chosen_by_words("test", players, [run.path.name]))
    more = "" if n_looks == 1 else f" It is look number {n_looks} at this test set by this sweep."
    return assemble_report(
        [RunReport(about, {"test": scores})],
        skills=run.skills,
        n_levels=run.n_levels,
        primary_reason=f"the best validation {board.metric} of {board.n_tried} configurations",
        created=time.strftime("%Y-%m-%d %H:%M"),
        notes=[*notes, f"{board.n_tried} configurations were tried on validation players.{more}"],
    )


def _looks(folder: Path) -> list[str]:
    path = folder / _TESTED
    if not path.exists():
        return []
    try:
        return [str(name) for name in json.loads(path.read_bytes())]
    except (ValueError, TypeError) as error:
        raise RunError(
            f"{path} is damaged ({error}); remove it and say so where you publish"
        ) from None
