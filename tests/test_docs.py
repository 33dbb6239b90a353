"""What the documents claim about the tree and the commands is checked against them."""

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from doc_blocks import blocks_of, run_block

import basket
from basket.cli import app
from basket.dataset.skills import SKILLS

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


def test_every_public_name_is_on_the_page_of_the_python_interface():
    shown = set(re.findall(r"^::: (\S+)", (ROOT / "docs/api.md").read_text(), re.MULTILINE))
    named = {name: getattr(basket, name) for name in basket.__all__ if name != "__version__"}
    places = {
        # A package's page has what it re-exports.
        name: {found.__module__, found.__module__.rpartition(".")[0], f"{found.__module__}.{name}"}
        for name, found in named.items()
    }
    assert [name for name in named if not places[name] & shown] == []


def test_the_command_reference_is_current():
    command = [sys.executable, str(ROOT / "tools" / "command_reference.py"), "--check"]
    done = subprocess.run(command, check=False)
    assert done.returncode == 0, "run python tools/command_reference.py"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_blocks_name_their_language_and_say_why_they_are_not_run(document):
    for block in blocks_of(document):
        assert block.language, f"line {block.line}"
        assert block.not_run is None or len(block.not_run) > 10, f"line {block.line}"


#: Pages that begin where a user begins: videos and labels, no features and no run.
FROM_THE_START = {"README.md", "tutorial.md", "own-data.md"}


@pytest.fixture(scope="session")
def labelled_reels(tmp_path_factory, make_video):
    """A folder in BASKET's layout with 30 tiny reels, and its labels once more at the top."""
    folder = tmp_path_factory.mktemp("reels")
    draws = np.random.default_rng(0)
    splits = {"train": range(1, 19), "val": range(19, 25), "test": range(25, 31)}
    (folder / "BASKET_Labels" / "BASKET").mkdir(parents=True)
    (folder / "videos" / "18-19" / "NBA").mkdir(parents=True)
    for split, players in splits.items():
        with (folder / f"{split}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["path", *(skill.name for skill in SKILLS)])
            for player in players:
                path = f"18-19/NBA/{player}_18_19.mp4"
                make_video(folder / path, frames=24 + player)
                (folder / "videos" / path).hardlink_to(folder / path)
                rows.writerow([path, *draws.integers(0, 5, len(SKILLS))])
        shutil.copy(folder / f"{split}.csv", folder / "BASKET_Labels" / "BASKET")
    shutil.copy(folder / "18-19" / "NBA" / "1_18_19.mp4", folder / "reel.mp4")
    return folder


@pytest.fixture(scope="session")
def analysed_reels(labelled_reels, tmp_path_factory):
    """The same folder after ``basket extract --model motion`` and two heads."""
    import basket

    folder = tmp_path_factory.mktemp("analysed") / "reels"
    shutil.copytree(labelled_reels, folder, copy_function=shutil.copy2)
    labels = [folder / f"{split}.csv" for split in ("train", "val", "test")]
    cache = folder / "basket-cache"
    basket.extract_features(labels=labels, models=["motion"], video_root=folder, cache=cache)
    for head in ("ridge", "prior"):
        basket.fit_head(
            train=labels[0], val=labels[1], head=head, cache=cache, out=folder / "runs" / head
        )
    return folder


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_code_blocks_run(document, request, tmp_path, monkeypatch):
    blocks = blocks_of(document)
    if not any(each.not_run is None and each.language in {"bash", "python"} for each in blocks):
        return
    state = "labelled_reels" if document.name in FROM_THE_START else "analysed_reels"
    folder = tmp_path / "reels"
    shutil.copytree(request.getfixturevalue(state), folder, copy_function=shutil.copy2)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("BASKET_ROOT", raising=False)
    names = {"__name__": "__main__"}
    for block in blocks:
        if block.file:
            Path(block.file).write_text(block.text)
    for block in blocks:
        run_block(block, names)
