"""Walking a space: all of it, at random, by successive halving, or led by Optuna."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from basket.errors import MissingDependencyError
from basket.metrics import HIGHER_IS_BETTER
from basket.sweep.setting import Setting
from basket.sweep.space import Range, Space

#: Fits settings and returns their records; ``full`` is False where the resource was cut down.
RunBatch = Callable[[Sequence[Setting], bool], dict[Setting, dict[str, Any]]]

#: Known configurations that Optuna may propose in a row before there is held to be nothing new.
_REPEATS = 100


def walk(space: Space, run: RunBatch, *, folder: Path, data: str = "") -> None:
    """Fit what the space's search asks for.

    Parameters
    ----------
    space : Space
    run : callable
        ``run(settings, full)``; settings that have a record cost nothing.
    folder : Path
        Of the sweep, for Optuna's journal.
    data : str
        What scores depend on beside the space: Optuna begins anew where it is another.

    Raises
    ------
    MissingDependencyError
        Optuna is asked for and is not installed.
    """
    search = space.search
    if search.kind == "optuna":
        _walk_with_optuna(space, run, folder, data)
        return
    ranged = any(
        isinstance(values, Range) for head in space.heads for values in head.params.values()
    )
    if search.kind == "grid" or (search.kind == "halving" and not ranged):
        settings = space.grid()
        if search.budget is not None and search.budget < len(settings):
            settings = space.sample(search.budget, seed=search.seed)
    else:
        settings = space.sample(search.budget or 27, seed=search.seed)
    if search.kind == "halving":
        settings = _halve(settings, space, run)
    run(space.with_seeds(settings), True)


def score_of(record: dict[str, Any], metric: str) -> float:
    """A record's validation score, larger is better; minus infinity where there is none."""
    value = record.get("scores", {}).get(metric, {}).get("mean")
    if value is None:
        return float("-inf")
    return float(value) if HIGHER_IS_BETTER[metric] else -float(value)


def rungs_of(space: Space, setting: Setting) -> list[Setting]:
    """The same setting with growing parts of its resource, the full one left out."""
    name, full = setting.resource, _full_resource(setting)
    if name is None or full is None:
        return []
    factor, n_rungs = space.search.factor, space.search.rungs
    parts = [max(1, full // factor**step) for step in range(n_rungs, 0, -1)]
    return [setting.with_parameters(**{name: part}) for part in parts if part < full]


def _halve(settings: list[Setting], space: Space, run: RunBatch) -> list[Setting]:
    """Settings that are worth the full resource; those without one are always."""
    free = [setting for setting in settings if not rungs_of(space, setting)]
    racing = [setting for setting in settings if rungs_of(space, setting)]
    for rung in range(space.search.rungs):
        cut = {
            setting: rungs_of(space, setting)[min(rung, len(rungs_of(space, setting)) - 1)]
            for setting in racing
        }
        records = run(list(cut.values()), False)
        ranked = sorted(
            racing, key=lambda each: score_of(records[cut[each]], space.metric), reverse=True
        )
        racing = ranked[: -(-len(ranked) // space.search.factor)]
    # In the order of the space, so that the work stands together by matrix.
    return [setting for setting in settings if setting in set(free) | set(racing)]


def _full_resource(setting: Setting) -> int | None:
    """Epochs or rounds of a setting, given or its head's; None where nobody can divide them."""
    from basket.heads.table import HEADS

    name = setting.resource
    if name is None:
        return None
    defaults = HEADS[setting.head]().get_params(deep=False)
    full = setting.parameters.get(name, defaults[name])
    # What is no number of epochs is told where it is fitted.
    return full if isinstance(full, int) else None


def _walk_with_optuna(space: Space, run: RunBatch, folder: Path, data: str) -> None:
    """Let Optuna's TPE propose; its journal lies in the sweep's folder and is continued."""
    study, complete, given_up = _study(space, folder, data)
    budget, repeats = space.search.budget or 0, 0
    while repeats < _REPEATS:
        # Read anew each time: another process may be adding to the same journal.
        tried = {
            _proposed(each, space) for each in study.get_trials(deepcopy=False, states=[complete])
        }
        if len(tried) >= budget:
            return
        trial = study.ask()
        setting = _proposed(trial, space)
        if setting in tried:
            # It would count a score twice, and the budget is of different configurations.
            study.tell(trial, state=given_up)
            repeats += 1
            continue
        repeats = 0
        records = run(space.with_seeds([setting]), True)
        scores = [score_of(record, space.metric) for record in records.values()]
        mean = sum(scores) / len(scores)
        study.tell(trial, mean if mean > float("-inf") else -1e9)


def _study(space: Space, folder: Path, data: str) -> tuple[Any, Any, Any]:
    """The study of this very space on these data, and the states of good trials and of others."""
    try:
        optuna: Any = import_module("optuna")
        journal: Any = import_module("optuna.storages.journal")
    except ImportError:
        raise MissingDependencyError(
            "search: optuna needs the package optuna; install it with: pip install 'basket[optuna]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    about = space.to_json()
    about["search"] = {**about["search"], "budget": None}  # a larger one continues the smaller
    digest = hashlib.sha256(json.dumps([about, data]).encode()).hexdigest()[:16]
    study = optuna.create_study(
        # Scores by another metric, or of other data or choices, would mislead what is proposed.
        study_name=f"sweep-{digest}",
        storage=optuna.storages.JournalStorage(
            journal.JournalFileBackend(str(folder / "optuna.journal"))
        ),
        direction="maximize",
        load_if_exists=True,
    )
    # A sampler that began again at the same seed would propose what it has proposed before.
    state = np.random.SeedSequence([space.search.seed, len(study.get_trials(deepcopy=False))])
    with warnings.catch_warnings():
        # Heads have parameters of their own, which only this option models together.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.sampler = optuna.samplers.TPESampler(
            seed=int(state.generate_state(1)[0]), multivariate=True, group=True
        )
    return study, optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.FAIL


def _proposed(trial: Any, space: Space) -> Setting:
    """The setting of a trial; parameters are asked for under their head's name."""
    heads = [str(index) for index in range(len(space.heads))]
    head = space.heads[int(trial.suggest_categorical("head", heads))]
    values: dict[str, Any] = {}
    for name, options in head.params.items():
        place = f"{head.head}.{name}"
        if isinstance(options, Range):
            if options.integer:
                values[name] = trial.suggest_int(
                    place, int(options.low), int(options.high), log=options.log
                )
            else:
                values[name] = trial.suggest_float(
                    place, options.low, options.high, log=options.log
                )
        else:
            choice = trial.suggest_categorical(place, [str(i) for i in range(len(options))])
            values[name] = options[int(choice)]

    def one_of(name: str, options: Sequence[Any]) -> Any:
        return options[int(trial.suggest_categorical(name, [str(i) for i in range(len(options))]))]

    chosen = Space(
        features=(one_of("features", space.features),),
        pools=(one_of("pool", space.pools),),
        segments=(one_of("segments", space.segments),),
        heads=(type(head)(head.head, {name: (value,) for name, value in values.items()}),),
    )
    return chosen.grid()[0]
