"""What the documents claim about the tree and the commands is checked against them."""

import re
from pathlib import Path

import pytest

from basket.cli import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_lead_somewhere(document):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text())
    missing = [link for link in links if not (document.parent / link).exists()]
    assert missing == []


def test_commands_in_the_readme_exist():
    known = {command.name or command.callback.__name__ for command in app.registered_commands} | {
        group.name for group in app.registered_groups
    }
    used = set(re.findall(r"^basket ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert used
    assert used <= known


def test_the_backbone_in_contributing_works():
    from basket.testing import BackboneContract

    text = (ROOT / "CONTRIBUTING.md").read_text()
    code = re.search(
        r"```python\n(# src/basket/extract/backbones/brightness.py.*?)```", text, re.DOTALL
    )
    assert code is not None
    namespace: dict = {}
    exec(compile(code.group(1), "brightness.py", "exec"), namespace)

    class Check(BackboneContract):
        def make_backbone(self):
            return namespace["Brightness"]()

    contract = Check()
    checks = [name for name in dir(contract) if name.startswith("test_")]
    assert len(checks) >= 3
    for name in checks:
        getattr(contract, name)()


def test_files_named_in_the_architecture_exist():
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`([a-z_/]+\.py)`", text))
    present = {
        path.relative_to(ROOT / "src/basket").as_posix() for path in ROOT.glob("src/basket/**/*.py")
    }
    missing = [name for name in named if not any(each.endswith(name) for each in present)]
    assert missing == []
