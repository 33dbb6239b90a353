"""What is known about models without loading one."""

import json

import pytest

from basket.errors import UsageError
from basket.extract.backbones import ALIASES, BACKBONES, CATALOGUE
from basket.extract.backbones.describe import loaded_details, model_details, model_table


def test_every_known_checkpoint_has_a_row_and_rows_are_json():
    rows = model_table()
    assert [row["name"] for row in rows][: len(CATALOGUE)] == list(CATALOGUE)
    assert json.loads(json.dumps(rows)) == rows
    assert {row["alias"] for row in rows} - {""} == set(ALIASES)
    for row in rows:
        assert row["licence"] and row["frames"] and row["dims"] and "pooled" in row["streams"]


@pytest.mark.parametrize("name", [*CATALOGUE, *ALIASES])
def test_details_are_complete_and_have_no_open_place(name):
    details = model_details(name)
    text = json.dumps(details)
    assert "{" not in "".join(details["preprocessing"].values())
    assert json.loads(text) == details
    assert details["title"] and details["preprocessing"]["pooling"]
    assert all(details["streams"].values())


def test_details_say_what_is_known():
    details = model_details("vjepa2")
    assert details["checkpoint"] == "facebook/vjepa2-vitl-fpc64-256"
    assert details["preprocessing"]["geometry"] == "shorter side to 292, centre 256 x 256, bilinear"
    assert "layer-1 ... layer-24" in details["streams"]
    assert "prompts" in model_details("xclip")["streams"]
    assert model_details("motion")["streams"]["colour"]


@pytest.mark.parametrize("family", sorted(set(BACKBONES) - {"motion"}))
def test_the_catalogue_agrees_with_what_loads(family, loaded):
    """The kinds of streams a family offers, and how its pictures are cut."""
    offered = next(row for row in model_table() if row["name"].startswith(f"{family}/"))["streams"]
    assert offered == (
        ["pooled", "prompts"] if family == "xclip" else ["pooled", "layers", "tubelets"]
    )
    asked = {"layers": "layers:-1"}
    spec = loaded(family, tuple(asked.get(name, name) for name in offered)).spec
    geometry = model_details(family)["preprocessing"]["geometry"]
    assert spec.geometry.crop == ("squash" if "squeezed" in geometry else "center")
    if "bi" in geometry:
        assert spec.geometry.resample in geometry
    shown = loaded_details(spec)
    assert shown["random_weights"] is True
    assert json.loads(json.dumps(shown)) == shown


def test_third_parties_are_listed(monkeypatch):
    monkeypatch.setattr(BACKBONES, "_third_parties", {"theirs": "some.module:load"})
    assert model_table()[-1]["name"] == "theirs"
    assert model_details("theirs")["streams"] == {}


def test_an_unknown_model_is_a_usage_error():
    with pytest.raises(UsageError, match="unknown model"):
        model_details("nothing")
