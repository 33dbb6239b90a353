"""Write docs/commands.md from the commands themselves.

Run ``python tools/command_reference.py`` after a change of the command line; a test compares the
page with what this prints. ``--check`` only tells whether the page is current.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import typer.main

from basket.cli import app

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"

HEAD = """\
# Commands

Every command has `--json` (one JSON document on stdout, all else on stderr), and every error is
one sentence; `--verbose` adds the traceback.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | something went wrong while it was done, or a file holds what it must not |
| 2 | the request cannot be meant: an unknown name, value or option, a file that is not there |
| 3 | done, but not for all videos: each of the others is listed with its reason |
| 4 | bytes in a cache or a run are not what was written |
| 75 | interrupted; what was finished is kept, and the same command continues |

This page is made from the code by `python tools/command_reference.py`.
"""


#: How help texts keep their lines (click's mark) and begin an example.
_EXAMPLE = "\b\nExample:\n"


def page() -> str:
    """The whole page, markdown."""
    sections = [HEAD, *_sections(typer.main.get_command(app), "basket")]
    return "\n".join(sections)


def _sections(group, name: str) -> Iterator[str]:
    for command_name, command in group.commands.items():
        if getattr(command, "hidden", False):
            continue
        path = f"{name} {command_name}"
        if hasattr(command, "commands"):
            yield from _sections(command, path)
        else:
            yield _section(command, path)


def _section(command, path: str) -> str:
    lines = [f"## {path}", "", _text(command.help), ""]
    hints = get_type_hints(inspect.unwrap(command.callback))
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    for title, params in (("argument", arguments), ("option", options)):
        rows = [
            _row(param, hints.get(param.name))
            for param in params
            if not getattr(param, "hidden", False)
        ]
        if rows:
            lines += [f"| {title} | meaning |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def _text(help_text: str | None) -> str:
    """A docstring as markdown; its example becomes code."""
    paragraphs = inspect.cleandoc(help_text or "").split("\n\n")
    return "\n\n".join(
        f"```text\n{inspect.cleandoc(each.removeprefix(_EXAMPLE))}\n```"
        if each.startswith(_EXAMPLE)
        else " ".join(each.split())
        for each in paragraphs
    )


def _row(param, hint) -> str:
    names = ", ".join(f"`{name}`" for name in [*param.opts, *param.secondary_opts])
    if param.param_type_name == "argument":
        names = f"`{(param.metavar or param.name).strip('{}')}`"
    elif not getattr(param, "is_flag", False):
        names += f" {param.metavar or _choices(hint)}".rstrip()
    meaning = " ".join((getattr(param, "help", None) or "").split())
    default = param.default
    if getattr(param, "show_default", True) and default not in (None, False, (), [], True, ""):
        meaning += f" Default: `{getattr(default, 'value', default)}`."
    if getattr(param, "multiple", False) and "repeated" not in meaning:
        meaning += " May be repeated."
    return f"| {names.replace('|', '&#124;')} | {meaning.replace('|', '&#124;').strip()} |"


def _choices(hint) -> str:
    """``exact|keyframe`` where one of a few words is taken, else nothing."""
    if get_origin(hint) is Literal:
        return "|".join(get_args(hint))
    return next((found for each in get_args(hint) if (found := _choices(each))), "")


def main() -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        return 0 if PAGE.read_text() == page() else 1
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
