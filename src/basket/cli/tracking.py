"""The option ``--track`` of the commands that end in scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from basket.console import Output
    from basket.evaluate.report import EvaluationReport
    from basket.heads.persist import Run
    from basket.workflows import SweepSummary

Track = Annotated[
    Literal["tensorboard", "mlflow", "wandb"] | None,
    typer.Option(help="Tracker to send settings and scores to, once they are on disk."),
]


def send(
    result: Run | EvaluationReport | SweepSummary, tracker: str | None, *, output: Output
) -> None:
    """Track a result where a tracker is named; whatever goes wrong there is a warning."""
    if tracker is None:
        return
    from basket.trackers import track

    found = track(result, tracker)
    if found.problem:
        output.warn(found.problem)
    else:
        output.note(f"Tracked: {found.where}")
