"""The composed calls that commands and Python users share.

Each command of the command line is one call of a function here; what a command prints, the function
returns. One file for each job; a file is imported when one of its calls is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from basket.workflows.cache import (
        export_features,
        import_features,
        list_cache,
        open_cache,
        pack_cache,
        repair_cache,
        verify_cache,
    )
    from basket.workflows.cluster import watch_cache, write_array_script
    from basket.workflows.evaluation import describe_run, evaluate_run
    from basket.workflows.extraction import estimate_extraction, extract_features
    from basket.workflows.fitting import combine_runs, fit_head
    from basket.workflows.labels import describe_labels
    from basket.workflows.prediction import VideoRun, load_run, predict_videos
    from basket.workflows.sweep import SweepSummary, leaderboard, run_sweep

_CALLS = {
    "cache": (
        "export_features",
        "import_features",
        "list_cache",
        "open_cache",
        "pack_cache",
        "repair_cache",
        "verify_cache",
    ),
    "cluster": ("watch_cache", "write_array_script"),
    "evaluation": ("describe_run", "evaluate_run"),
    "extraction": ("estimate_extraction", "extract_features"),
    "fitting": ("combine_runs", "fit_head"),
    "labels": ("describe_labels",),
    "prediction": ("VideoRun", "load_run", "predict_videos"),
    "sweep": ("SweepSummary", "leaderboard", "run_sweep"),
}
_FILE_OF = {name: file for file, names in _CALLS.items() for name in names}

__all__ = [
    "SweepSummary",
    "VideoRun",
    "combine_runs",
    "describe_labels",
    "describe_run",
    "estimate_extraction",
    "evaluate_run",
    "export_features",
    "extract_features",
    "fit_head",
    "import_features",
    "leaderboard",
    "list_cache",
    "load_run",
    "open_cache",
    "pack_cache",
    "predict_videos",
    "repair_cache",
    "run_sweep",
    "verify_cache",
    "watch_cache",
    "write_array_script",
]


def __getattr__(name: str) -> Any:
    if name in _FILE_OF:
        return getattr(import_module(f"basket.workflows.{_FILE_OF[name]}"), name)
    raise AttributeError(f"module 'basket.workflows' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
