"""Scores and settings to an experiment tracker: TensorBoard, MLflow or Weights & Biases.

What is tracked is on disk already, so that nothing a tracker does can cost a run: a package that is
missing and a server that refuses are told, never raised.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

from basket.errors import UsageError
from basket.evaluate.report import EvaluationReport
from basket.heads.persist import Run
from basket.registry import nearest
from basket.workflows import SweepSummary

#: The folder, project or experiment that entries go to.
PROJECT = "basket"

_TEXT_LIMIT = 250  # characters of a setting that every tracker takes


@dataclass(frozen=True)
class Entry:
    """One line of a tracker.

    Parameters
    ----------
    name : str
    params : mapping
        Settings, plain values.
    metrics : mapping of str to float
        ``val/accuracy/mean``, ``val/accuracy/Free Throw``, …; undefined scores are left out.
    """

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Tracked:
    """What :func:`track` did.

    Parameters
    ----------
    tracker : str
    where : str
        Where to look; empty when nothing was tracked.
    n_entries : int
    problem : str
        Why not everything was tracked, in a sentence; empty when all is well.
    """

    tracker: str
    where: str
    n_entries: int
    problem: str = ""


def track(result: Run | EvaluationReport | SweepSummary, tracker: str) -> Tracked:
    """Send the settings and scores of a result to a tracker.

    Parameters
    ----------
    result : Run, EvaluationReport or SweepSummary
        An entry for the run, for each run of the report, or for each configuration of the sweep.
    tracker : {"tensorboard", "mlflow", "wandb"}
        Each is told where to write by its own environment variables; TensorBoard writes below
        ``tensorboard/`` here.

    Returns
    -------
    Tracked
        Says why, where nothing was tracked: this never raises for what a tracker does.

    Raises
    ------
    UsageError
        There is no such tracker, or the result is none of these.

    Examples
    --------
    ::

        run = basket.fit_head(train="train.csv", val="val.csv")
        basket.track(run, "mlflow")
    """
    send = TRACKERS.get(tracker)
    if send is None:
        hint = nearest(tracker, list(TRACKERS))
        raise UsageError(f"unknown tracker {tracker!r}{hint or '.'} Known: {', '.join(TRACKERS)}")
    listed, where, sent = list(entries(result)), "", 0
    try:
        for entry in listed:
            where = send(entry)
            sent += 1
    except ImportError as error:
        package = error.name or tracker
        return Tracked(
            tracker,
            where,
            sent,
            f"nothing was sent to {tracker}: the package {package} is not installed; run: pip "
            f"install 'basket[{tracker}]'",
        )
    except Exception as error:  # noqa: BLE001 - a tracker's failure of any kind is told, not raised
        what = _text((str(error).strip() or type(error).__name__).splitlines()[0])
        return Tracked(
            tracker,
            where,
            sent,
            f"{tracker} failed after {sent} entries ({type(error).__name__}: {what}); the results "
            "on disk are whole, and basket.track sends them again",
        )
    return Tracked(tracker, where, sent)


@singledispatch
def entries(result: object) -> Iterator[Entry]:
    """What a result has to tell, one entry per run or configuration."""
    raise UsageError(f"a {type(result).__name__} cannot be tracked; give a run, report or sweep")


@entries.register
def _of_run(run: Run) -> Iterator[Entry]:
    config = run.config
    params = {
        "head": config["head"],
        "pooling": run.pooling,
        "features": " + ".join(f"{each.name}:{each.stream}" for each in run.feature_sets),
        "seed": config["seed"],
        "simulated": config["simulated"],
        "random_weights": config["random_weights"],
        **config["params"],
    }
    metrics = {
        f"{split}/{metric}/{name}{suffix}": value
        for split, scores in run.metrics.items()
        for source, suffix in (("head", ""), ("prior", " of the prior"))
        for metric, values in scores[source].items()
        for name, value in {"mean": values["mean"], **values["per_skill"]}.items()
    }
    yield Entry(run.path.name, params, _defined(metrics))


@entries.register
def _of_report(report: EvaluationReport) -> Iterator[Entry]:
    for run in report.runs:
        about = run.description
        params = {
            "head": about.head,
            "pooling": about.pooling,
            "features": about.feature_names,
            "seed": about.seed,
            "simulated": about.simulated,
            **about.settings,
        }
        metrics = {
            f"{split}/{metric}/{name}": value
            for split, scores in run.splits.items()
            for metric, score in scores.metrics.items()
            for name, value in {
                "mean": score.mean,
                **dict(zip(report.skills, score.per_skill, strict=True)),
            }.items()
        }
        yield Entry(f"{about.name}-evaluation", params, _defined(metrics))


@entries.register
def _of_sweep(sweep: SweepSummary) -> Iterator[Entry]:
    for rank, row in enumerate(sweep.board.rows, start=1):
        setting = row.setting
        params = {
            "head": setting.head,
            "pooling": setting.pooling,
            "features": " + ".join(setting.features),
            "seeds": row.n_seeds,
            "simulated": sweep.board.simulated,
            **setting.parameters,
        }
        metrics = {f"val/{metric}/mean": value for metric, value in row.means.items()}
        yield Entry(f"{sweep.folder.name}-{rank:03d}", params, _defined({**metrics, "rank": rank}))
    if sweep.report is not None:
        yield from _of_report(sweep.report)


def _defined(metrics: Mapping[str, float | None]) -> dict[str, float]:
    return {
        # MLflow knows letters, digits and these marks.
        re.sub(r"[^\w\-. /]", "_", name): float(value)
        for name, value in metrics.items()
        if value is not None and math.isfinite(value)
    }


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _TEXT_LIMIT else text[: _TEXT_LIMIT - 1] + "…"


def _to_tensorboard(entry: Entry) -> str:
    from torch.utils.tensorboard import SummaryWriter

    folder = f"tensorboard/{entry.name}"
    with SummaryWriter(folder) as writer:
        for name, value in entry.metrics.items():
            writer.add_scalar(name, value, 0)
        means = {name: value for name, value in entry.metrics.items() if name.endswith("/mean")}
        writer.add_hparams(
            {name: _text(value) for name, value in entry.params.items()},
            {f"hparam/{name}": value for name, value in means.items()},
            run_name=".",
        )
    return "tensorboard --logdir tensorboard"


def _to_mlflow(entry: Entry) -> str:
    import mlflow

    mlflow.set_experiment(PROJECT)
    with mlflow.start_run(run_name=entry.name):
        mlflow.log_params({name: _text(value) for name, value in entry.params.items()})
        mlflow.log_metrics(dict(entry.metrics))
    return f"experiment {PROJECT} at {mlflow.get_tracking_uri()}"


def _to_wandb(entry: Entry) -> str:
    import wandb

    with wandb.init(
        project=PROJECT,
        name=entry.name,
        config={name: _text(value) for name, value in entry.params.items()},
    ) as run:
        run.log(dict(entry.metrics))
        return str(getattr(run, "url", None) or f"project {PROJECT}, offline")


TRACKERS: dict[str, Callable[[Entry], str]] = {
    "tensorboard": _to_tensorboard,
    "mlflow": _to_mlflow,
    "wandb": _to_wandb,
}
