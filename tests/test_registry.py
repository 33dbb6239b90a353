"""What stands in a file is looked up, never imported; what a person types may be."""

import json
import sys
from contextlib import suppress
from dataclasses import fields
from hashlib import sha256
from pathlib import Path

import pytest

import basket
from basket.cache import FeatureSetSpec
from basket.errors import BasketError, UsageError
from basket.predict.backbones import backbones_of_run
from basket.registry import Registry

PROBE = "basket_probe:attribute"
WRITTEN = Path(__file__).parent / "data" / "written-by-0.1"


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """Whether the module of :data:`PROBE` was imported."""
    (tmp_path / "basket_probe.py").write_text("def attribute(*_, **__):\n    raise SystemExit\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda: "basket_probe" in sys.modules
    sys.modules.pop("basket_probe", None)


def places(value, at=()):
    """Where the strings of a JSON document stand; of a list, only its first entry."""
    if isinstance(value, str):
        yield at
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from places(each, (*at, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*at, 0))


def with_probe(document, at):
    """A copy in which the string at a place is the import path."""
    copy = json.loads(json.dumps(document))
    inner = copy
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = PROBE
    return copy


def read_as_a_stranger_would_have_it(folder):
    """Load a run and the backbones it names; what is wrong with it is one of our errors."""
    with suppress(BasketError):
        backbones_of_run(basket.load_run(folder))


@pytest.mark.parametrize("head", ["ridge", "gbdt", "prompts"])
def test_no_string_of_a_run_is_imported(head, tmp_path, imported):
    original = WRITTEN / "fitted" / head
    folder = tmp_path / head
    folder.mkdir()
    for file in original.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    run = json.loads((original / "run.json").read_text())
    inner = json.loads((original / "head.json").read_text())
    for at in places(inner):
        data = json.dumps(with_probe(inner, at)).encode()
        (folder / "head.json").write_bytes(data)
        hashes = run["files"] | {"head.json": sha256(data).hexdigest()}
        (folder / "run.json").write_text(json.dumps(run | {"files": hashes}))
        read_as_a_stranger_would_have_it(folder)
        assert not imported(), at
    (folder / "head.json").write_bytes((original / "head.json").read_bytes())
    for at in places(run):
        document = with_probe(run, at)
        for each in document["feature_sets"]:
            names = {field.name for field in fields(FeatureSetSpec)} - {"notes"}
            spec = {name: value for name, value in each["spec"].items() if name in names}
            each["digest"] = each["spec"]["digest"] = FeatureSetSpec(**spec).digest
        (folder / "run.json").write_text(json.dumps(document))
        read_as_a_stranger_would_have_it(folder)
        assert not imported(), at


def test_an_import_path_is_a_name_once_a_person_typed_it(imported):
    table = Registry("function", "basket.example", {})
    assert PROBE not in table
    with pytest.raises(UsageError, match="install it under a name"):
        table[PROBE]
    assert not imported()
    assert callable(table[table.admit(PROBE)])
    assert imported()
