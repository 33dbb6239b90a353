"""Code blocks of the documents, and how to run them.

A block of ``bash`` or ``python`` runs unless the line before it is ``<!-- not run: reason -->``;
``<!-- file: name -->`` before any block writes it into the folder where the page's blocks run. A
page's blocks run in order, in one folder. The commands run as they stand, with one exception: no
test has the weights of a network, so ``videomae`` is the backbone ``motion`` there.
"""

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from basket.cli import app

STAND_IN = {"videomae": "motion"}


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, text, first line in the page, and what its comment says."""

    language: str
    text: str
    line: int
    not_run: str | None = None
    file: str | None = None


def blocks_of(document: Path) -> list[Block]:
    """All fenced blocks of a page."""
    lines = document.read_text().splitlines()
    found = []
    position = 0
    while position < len(lines):
        opening = re.fullmatch(r"\s*```(\w*)\s*", lines[position])
        if not opening:
            position += 1
            continue
        end = next(i for i in range(position + 1, len(lines)) if lines[i].strip() == "```")
        before = lines[position - 1] if position else ""
        not_run = re.fullmatch(r"\s*<!-- not run: (.*) -->", before)
        file = re.fullmatch(r"\s*<!-- file: (\S+) -->", before)
        found.append(
            Block(
                opening.group(1),
                "\n".join(lines[position + 1 : end]) + "\n",
                position + 1,
                not_run.group(1) if not_run else None,
                file.group(1) if file else None,
            )
        )
        position = end + 1
    return found


def run_block(block: Block, names: dict) -> None:
    """Run a block in the current folder; an error of its commands is an AssertionError."""
    if block.not_run is not None:
        return
    if block.language == "python":
        text = re.sub(r'"videomae"', f'"{STAND_IN["videomae"]}"', block.text)
        exec(compile(text, f"line {block.line}", "exec"), names)
    if block.language == "bash":
        for command in commands_of(block):
            run_command(command)


def commands_of(block: Block) -> list[list[str]]:
    """The commands of a bash block as words, patterns expanded."""
    commands = []
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        expanded = [
            path
            for word in words
            for path in (sorted(map(str, Path().glob(word))) if "*" in word else [word])
        ]
        if expanded:
            commands.append(expanded)
    return commands


def run_command(words: list[str]) -> None:
    """Run one command of basket in this process."""
    assert words[0] == "basket", f"{words[0]} is no command of basket: mark the block as not run"
    arguments = [
        re.sub(r"^(videomae)(?=$|:|=)", lambda match: STAND_IN[match.group(1)], word)
        for word in words[1:]
    ]
    result = CliRunner().invoke(app, arguments, env={**os.environ, "COLUMNS": "120"})
    told = f"{shlex.join(words)}\n{result.output}\n{result.exception!r}"
    assert result.exit_code == 0, told
