"""The distribution: what it declares, what it ships, and the command that it installs."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, entry_points, packages_distributions
from pathlib import Path

import pytest

import basket

ROOT = Path(__file__).parents[1]
PACKAGE = Path(basket.__file__).parent
COMMAND = Path(sys.executable).parent / "basket"

#: Set by .ci/package, which runs these tests against the wheel.
installed = pytest.mark.skipif(
    not os.environ.get("BASKET_TEST_INSTALLED"), reason="is about an installed wheel: make package"
)


def name_of(requirement):
    return re.match(r"[A-Za-z0-9_.-]+", requirement)[0].lower().replace("_", "-")


def requirements():
    """Names of the required distributions, by extra; the empty extra is everybody's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {"": project["dependencies"], **project["optional-dependencies"]}
    return {extra: {name_of(each) for each in wanted} for extra, wanted in extras.items()}


def imported_packages():
    """Top-level modules that the package imports, wherever in its code, and where."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            else:
                continue
            for name in names:
                found.setdefault(name.partition(".")[0], path.relative_to(PACKAGE))
    return {name: path for name, path in found.items() if name not in sys.stdlib_module_names}


def run_installed(*arguments, **environment):
    return subprocess.run(
        [COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    ).stdout


def test_the_version_has_one_home():
    assert distribution("basket").version == basket.__version__
    assert run_installed("--version") == f"basket {basket.__version__}\n"
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text()


def test_every_import_is_declared():
    declared = set().union(*requirements().values())
    homes = packages_distributions()
    # torchcodec goes with the torch that is installed, so no requirement can name its version.
    known = {"basket", "torchcodec"}
    missing = {
        name: str(path)
        for name, path in imported_packages().items()
        if name not in known
        and not {each.lower().replace("_", "-") for each in homes.get(name, [name])} & declared
    }
    assert missing == {}


def test_extras_that_messages_name_exist():
    extras = requirements().keys()
    named = {
        extra
        for path in [*PACKAGE.rglob("*.py"), ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
        for extra in re.findall(r"basket\[([a-z]+)\]", path.read_text())
    }
    assert {"pandas"} <= named <= extras


@pytest.mark.parametrize(
    ("extra", "packages"),
    [
        ("ray", {"ray"}),
        ("optuna", {"optuna"}),
        ("pandas", {"pandas"}),
        ("mlflow", {"mlflow"}),
        ("tensorboard", {"tensorboard"}),
        ("wandb", {"wandb"}),
        ("trackers", {"mlflow", "tensorboard", "wandb"}),
    ],
)
def test_each_extra_asks_for_its_own_package_alone(extra, packages):
    assert requirements()[extra] == packages


def test_nothing_of_the_extras_is_needed_to_import_the_command():
    extras = {"ray", "optuna", "pandas", "mlflow", "tensorboard", "wandb"}
    code = f"import sys; sys.modules.update(dict.fromkeys({extras!r})); import basket.cli"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_command_is_the_function_main():
    (entry,) = entry_points(group="console_scripts", name="basket")
    from basket.__main__ import main

    assert entry.load() is main


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_installed(shell):
    # What --install-completion writes; that option itself first asks which shell it runs in.
    assert "_BASKET_COMPLETE" in run_installed(_BASKET_COMPLETE=f"source_{shell}")


def test_completion_knows_commands_and_options():
    asked = {"_BASKET_COMPLETE": "complete_bash", "COMP_CWORD": "2"}
    assert "verify" in run_installed(**asked, COMP_WORDS="basket cache ve").split()
    assert "--track" in run_installed(**asked, COMP_WORDS="basket fit-head --tr").split()


@installed
def test_the_wheel_is_what_is_tested():
    assert PACKAGE.is_relative_to(sys.prefix)
    assert not PACKAGE.is_relative_to(ROOT)


@installed
def test_the_wheel_ships_every_file_of_the_package_and_nothing_else():
    source = ROOT / "src" / "basket"
    wanted = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {"py.typed", "dataset/prompts.yaml", "evaluate/templates/report.html.j2"} <= wanted
    shipped = {Path(str(each)).as_posix() for each in distribution("basket").files}
    ours = {name.removeprefix("basket/") for name in shipped if name.startswith("basket/")}
    assert {name for name in ours if not name.endswith(".pyc")} == wanted
    others = {name.partition("/")[0] for name in shipped if not name.startswith(("basket/", ".."))}
    assert all(name.endswith(".dist-info") for name in others)


@installed
def test_the_wheel_requires_what_the_project_declares():
    found = {extra: set() for extra in distribution("basket").metadata.get_all("Provides-Extra")}
    found[""] = set()
    for line in distribution("basket").requires:
        extra = re.search(r"extra == ['\"]([^'\"]+)", line)
        found[extra[1] if extra else ""].add(name_of(line))
    assert found == requirements()


@installed
def test_the_licence_goes_with_the_wheel():
    assert any(Path(str(each)).name == "LICENSE" for each in distribution("basket").files)
