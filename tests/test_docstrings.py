"""Every example in a docstring does what it says."""

import doctest
import importlib
from pathlib import Path

import pytest

import basket

ROOT = Path(basket.__file__).parent


def modules_with_examples() -> list[str]:
    return sorted(
        ".".join(("basket", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
            ".__init__"
        )
        for path in ROOT.rglob("*.py")
        if ">>> " in path.read_text(encoding="utf-8")
    )


@pytest.mark.parametrize("name", modules_with_examples())
def test_the_examples_of_a_module_run(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert found.attempted
    assert not found.failed
