"""The options and settings that commands share, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

_verbose = False


def remember_verbose(value: bool) -> None:
    """Note whether ``--verbose`` is given to the command that runs now."""
    global _verbose
    _verbose = value


def wants_traceback() -> bool:
    """Whether an error is to be shown with its traceback."""
    return _verbose


#: What every group of commands is made with.
GROUP: dict[str, Any] = {
    "no_args_is_help": True,
    # Plain help: rich would take longer to import than everything else together.
    "rich_markup_mode": None,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}

#: Panels of the help.
DATA = "What to read"
HOW = "How to compute"

EXIT_VIDEOS_FAILED = 3
EXIT_INTEGRITY = 4
EXIT_INTERRUPTED = 75

DEFAULT_CACHE = Path("basket-cache")

Json = Annotated[
    bool, typer.Option("--json", help="One JSON document on stdout, all else on stderr.")
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", help="With an error, its traceback.", callback=remember_verbose),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Results and errors only.")]
Cache = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the feature cache.")]
VideoRoot = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder that the paths in label files are relative to."),
]
Levels = Annotated[int, typer.Option(metavar="K", min=2, max=32768, help="Levels of the scale.")]
Player = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Column of the label files that names the person in each video; by default BASKET's "
        "paths do.",
    ),
]
Train = Annotated[
    Path | None,
    typer.Option(
        metavar="CSV", help="Label file; by default BASKET's train.csv.", rich_help_panel=DATA
    ),
]
Weights = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]DIR|REPO",
        help="Checkpoint in the Hugging Face format, instead of the model's own.",
        rich_help_panel=HOW,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help="Decode processes; one per core unless given.", rich_help_panel=HOW
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        metavar="auto|HOST:PORT",
        help="Ray cluster to use; one on this machine unless given.",
        rich_help_panel=HOW,
    ),
]
SetAside = Annotated[
    float,
    typer.Option(
        metavar="SHARE",
        min=0,
        max=0.5,
        help="Share of the training players kept apart, to measure on them how often the run is "
        "right.",
    ),
]
Calibrate = Annotated[
    bool,
    typer.Option("--calibrate", help="Scale each skill's probabilities by a temperature."),
]
RunFolder = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Run folder to make; by default runs/<time>-<digest>."),
]
