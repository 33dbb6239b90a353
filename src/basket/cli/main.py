"""All commands in one app, and how it ends: with a result, or one message and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from basket import __version__
from basket.cli import options
from basket.cli.cache import cache_app
from basket.cli.cluster import PASSES_ON, slurm
from basket.cli.demo import demo
from basket.cli.evaluation import evaluate
from basket.cli.extraction import extract
from basket.cli.fitting import combine, fit_head
from basket.cli.hub import run_app
from basket.cli.overview import doctor, labels, models
from basket.cli.prediction import predict
from basket.cli.sweep import leaderboard, sweep
from basket.errors import BasketError, printable

_COMMANDS: dict[str, Callable[..., None] | typer.Typer] = {
    "labels": labels,
    "extract": extract,
    "models": models,
    "doctor": doctor,
    "fit-head": fit_head,
    "combine": combine,
    "evaluate": evaluate,
    "predict": predict,
    "sweep": sweep,
    "leaderboard": leaderboard,
    "cache": cache_app,
    "run": run_app,
    "slurm": slurm,
    "demo": demo,
}


#: What typer makes of Ctrl-C; earlier releases raise Abort.
_INTERRUPTED_IN_TYPER = 130


class _InOrder(TyperGroup):
    """A group whose commands are shown in the order above, groups among them."""

    def __init__(self, *, commands: Any = None, **settings: Any) -> None:
        shown = dict(sorted(commands.items(), key=lambda item: list(_COMMANDS).index(item[0])))
        super().__init__(commands=shown, **settings)


app = typer.Typer(
    cls=_InOrder,
    help="Frozen video foundation models once, ordinal skill heads in seconds.",
    add_completion=True,
    pretty_exceptions_enable=False,
    **options.GROUP,
)
for _name, _command in _COMMANDS.items():
    if isinstance(_command, typer.Typer):
        app.add_typer(_command, name=_name)
    else:
        # What slurm does not know are options of extract.
        _settings = PASSES_ON if _command is slurm else None
        app.command(_name, context_settings=_settings)(_command)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; never raises for a deliberate error."""
    from typer.main import get_command

    options.remember_verbose(False)  # of a command that ran before in this process
    try:
        code = int(get_command(app).main(list(arguments), "basket", standalone_mode=False) or 0)
        if code == _INTERRUPTED_IN_TYPER:
            raise KeyboardInterrupt
        return code
    except BasketError as error:
        return _complain(error, str(error), error.exit_code)
    except typer.Abort:
        return _complain(None, "Stopped.", options.EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            typer.echo(err=True)  # the terminal has written ^C there
        message = "Interrupted; what was finished is kept: run the same command again"
        return _complain(None, message, options.EXIT_INTERRUPTED)
    except (BrokenPipeError, SystemExit) as error:
        # click makes an exit of a broken pipe; any other exit is as it should be.
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        # Whoever read our output has enough of it; nothing more may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if hasattr(error, "exit_code") and hasattr(error, "format_message"):
            return _misused(error)
        if hasattr(error, "exit_code"):  # typer.Exit
            return int(error.exit_code)
        if isinstance(error, OSError):  # --verbose shows where: it may be a mistake of basket's
            return _complain(error, f"{_told(error)}; --verbose shows where", 1)
        raise


def _told(error: OSError) -> str:
    """What the operating system refused, and of which file."""
    what = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {what}" if error.filename else what


def _complain(error: BaseException | None, message: str, code: int) -> int:
    from basket.console import print_error

    if options.wants_traceback() and error is not None:
        sys.stderr.write(printable("".join(traceback.format_exception(error))))
    print_error(message)
    return code


def _misused(error: Any) -> int:
    """Say a usage error of click's as any other; the help instead, where nothing was asked."""
    message = error.format_message().replace("Value error, ", "").rstrip(".")
    if message.startswith("Usage:"):
        error.show()
    else:
        command = error.ctx.command_path if error.ctx is not None else "basket COMMAND"
        see = " See" if message.endswith("?") else "; see"
        _complain(None, f"{message}{see} {command} --help", error.exit_code)
    return int(error.exit_code)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Frozen video foundation models once, ordinal skill heads in seconds."""
    if version:
        typer.echo(f"basket {__version__}")
        raise typer.Exit
