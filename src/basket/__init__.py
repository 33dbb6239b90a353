"""basket: frozen video foundation models once, ordinal skill heads in seconds.

The composed calls are imported on first use, so that ``import basket`` stays cheap::

    import basket

    basket.extract_features(labels=["train.csv"], models=["motion"])
    run = basket.fit_head(train="train.csv", val="val.csv")
    basket.evaluate_run([run.path], tests={"test": "test.csv"})
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from basket import errors as errors
    from basket import heads as heads
    from basket import metrics as metrics
    from basket.dataset import LabelTable, read_labels
    from basket.demo.demo import run_demo
    from basket.doctor import examine
    from basket.extract.backbones import model_details, model_table
    from basket.extract.segments import SegmentPlan
    from basket.heads.table import make_head
    from basket.hub import pull_cache, pull_run, push_cache, push_run
    from basket.progress import progress_bar
    from basket.sweep import Space, read_space
    from basket.trackers import track
    from basket.workflows import (
        combine_runs,
        describe_labels,
        estimate_extraction,
        evaluate_run,
        export_features,
        extract_features,
        fit_head,
        import_features,
        leaderboard,
        list_cache,
        load_run,
        open_cache,
        pack_cache,
        predict_videos,
        repair_cache,
        run_sweep,
        verify_cache,
    )

#: Where each public name lives; nothing is imported before it is asked for.
_HOMES = {
    "basket.dataset": ("LabelTable", "read_labels"),
    "basket.demo.demo": ("run_demo",),
    "basket.doctor": ("examine",),
    "basket.extract.backbones": ("model_details", "model_table"),
    "basket.extract.segments": ("SegmentPlan",),
    "basket.heads.table": ("make_head",),
    "basket.hub": ("pull_cache", "pull_run", "push_cache", "push_run"),
    "basket.progress": ("progress_bar",),
    "basket.sweep": ("Space", "read_space"),
    "basket.trackers": ("track",),
    "basket.workflows": (
        "combine_runs",
        "describe_labels",
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
    ),
}
#: Modules that ``import basket`` is enough for: ``except basket.errors.BasketError``.
_MODULES = ("errors", "heads", "metrics")
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "LabelTable",
    "SegmentPlan",
    "Space",
    "__version__",
    "combine_runs",
    "describe_labels",
    "estimate_extraction",
    "evaluate_run",
    "examine",
    "export_features",
    "extract_features",
    "fit_head",
    "import_features",
    "leaderboard",
    "list_cache",
    "load_run",
    "make_head",
    "model_details",
    "model_table",
    "open_cache",
    "pack_cache",
    "predict_videos",
    "progress_bar",
    "pull_cache",
    "pull_run",
    "push_cache",
    "push_run",
    "read_labels",
    "read_space",
    "repair_cache",
    "run_demo",
    "run_sweep",
    "track",
    "verify_cache",
]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    if name in _MODULES:
        return import_module(f"basket.{name}")
    raise AttributeError(f"module 'basket' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
