"""basket: frozen video foundation models once, ordinal skill heads in seconds.

The composed calls are imported on first use, so that ``import basket`` stays cheap::

    import basket

    basket.extract_features(labels=["train.csv"], models=["motion"])
    run = basket.fit_head(train="train.csv", val="val.csv")
    basket.evaluate_run([run.path], tests={"test": "test.csv"})
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from basket.workflows import (
        combine_runs,
        describe_labels,
        evaluate_run,
        extract_features,
        fit_head,
        load_run,
        open_cache,
        predict_videos,
    )

__all__ = [
    "__version__",
    "combine_runs",
    "describe_labels",
    "evaluate_run",
    "extract_features",
    "fit_head",
    "load_run",
    "open_cache",
    "predict_videos",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from basket import workflows

        return getattr(workflows, name)
    raise AttributeError(f"module 'basket' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
