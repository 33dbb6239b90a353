"""``basket cache`` as a user meets it: what it prints, and how it ends."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from basket.cache import open_cache
from basket.cli import options
from basket.cli.cache import cache_app
from basket.errors import BasketError, UsageError

IDS = [f"18-19/NBA/{i}_18_19.mp4" for i in range(6)]


@pytest.fixture
def filled(feature_set, making):
    making.fill(feature_set, IDS, per_shard=2)
    with feature_set.writer() as writer:
        writer.add(making.failed("18-19/NBA/9_18_19.mp4", "moov atom not found"))
    return feature_set


@pytest.fixture
def basket(filled):
    def run(*arguments, cache=True, code=0):
        options = ["--cache", str(filled.path.parent)] if cache else []
        result = CliRunner().invoke(cache_app, [*map(str, arguments), *options])
        if isinstance(result.exception, BasketError):
            raise result.exception
        assert result.exit_code == code, result.output
        return result.stdout

    return run


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "labels.csv"
    rows = [*IDS, "18-19/NBA/9_18_19.mp4", "18-19/NBA/77_18_19.mp4"]
    path.write_text("path,Steals\n" + "".join(f"{row},1\n" for row in rows))
    return path


def test_ls_and_status_say_what_is_there(basket, filled, labels):
    said = " ".join(basket("ls", "--labels", labels).split())
    assert "Missing counts the 8 videos" in said
    document = json.loads(basket("ls", "--labels", labels, "--json"))
    assert document["wanted"] == 8
    (found,) = document["feature_sets"]
    assert found["name"] == filled.name
    assert found["videos"] == {"done": 6, "failed": 1, "missing": 1}
    said = " ".join(basket("status", "motion", "--labels", labels).split())
    assert "6 videos done, 1 failed, 18 segments" in said
    assert "moov atom not found" in said
    assert "1 missing: 18-19/NBA/77_18_19.mp4" in said
    assert "decoder: pyav (6)" in said


def test_verify_ends_with_4_and_a_list_and_repair_makes_it_good(basket, filled):
    assert "intact" in basket("verify", "--deep")
    shard = next((filled.path / "shards").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1])
    said = " ".join(basket("verify", code=4).split())
    assert "1 problem;" in said
    assert shard.name in said.replace(" ", "")
    (report,) = json.loads(basket("verify", "--json", code=4))["feature_sets"]
    assert report["intact"] is False
    assert "1 damaged shard in" in basket("ls")
    said = " ".join(basket("repair").split())
    assert "1 damaged shard set aside" in said
    assert "will make" in said
    assert "intact" in basket("verify")
    assert "nothing was damaged" in " ".join(basket("repair").split())


def test_pack_says_what_it_did(basket, filled):
    assert "4 shards packed into 1; 1 shard now" in " ".join(basket("pack").split())
    assert "nothing to pack" in basket("pack")
    assert json.loads(basket("pack", "--json"))["feature_sets"][0]["merged"] == 0
    assert len(list((filled.path / "aside").iterdir())) == 4


def test_export_and_import(basket, filled, labels, tmp_path):
    out = tmp_path / "x.npz"
    said = " ".join(basket("export", "motion", out, "--labels", labels, code=3).split())
    assert "6 videos, 18 segments" in said
    assert "2 labelled videos left out" in said
    assert "18-19/NBA/9_18_19.mp4 failed: moov atom not found" in said
    with np.load(out) as found:
        assert len(found["video_ids"]) == 6
    spec = tmp_path / "spec.yaml"
    spec.write_text("backbone: other\nplan: {window_s: 2}\nstreams: {pooled: 6, layer-4: 3}\n")
    assert "6 videos, 18 segments ->" in " ".join(basket("import", out, "--spec", spec).split())
    assert "6 were there already" in " ".join(basket("import", out, "--spec", spec).split())
    spec.write_text("backbone: other\nplan: {window_s: 2}\nstreams: {pooled: 7}\n")
    assert "Not imported" in basket("import", out, "--spec", spec, code=3)
    assert len(json.loads(basket("ls", "--json"))["feature_sets"]) == 3
    with pytest.raises(UsageError, match="no file or folder"):
        basket("import", tmp_path / "absent", "--spec", spec)


def test_an_export_lists_the_videos_it_lacks(basket, labels, tmp_path):
    document = json.loads(
        basket("export", "motion", tmp_path / "x.npz", "--labels", labels, "--json", code=3)
    )
    assert document["left_out"] == {
        "18-19/NBA/9_18_19.mp4": "failed: moov atom not found",
        "18-19/NBA/77_18_19.mp4": "not extracted",
    }
    assert document["videos"] == 6
    whole = json.loads(basket("export", "motion", tmp_path / "y.npz", "--json"))
    assert whole["left_out"] == {}


def test_an_export_of_nothing_is_refused_and_writes_nothing(basket, filled, tmp_path):
    others = tmp_path / "others.csv"
    others.write_text("path,Steals\n18-19/NBA/9_18_19.mp4,1\n18-19/NBA/77_18_19.mp4,1\n")
    out = tmp_path / "new" / "x.npz"
    with pytest.raises(UsageError, match=r"none of the 2 videos .* failed: moov atom not found"):
        basket("export", "motion", out, "--labels", others)
    cache = open_cache(tmp_path / "unfilled", create=True)
    cache.feature_set(filled.spec)
    with pytest.raises(UsageError, match="has no features to export"):
        basket("export", "motion", out, "--cache", cache.path, cache=False)
    assert not out.parent.exists()


def test_an_empty_cache_is_no_error(tmp_path, basket):
    open_cache(tmp_path / "empty", create=True)
    for command in ("ls", "status", "verify", "repair", "pack"):
        assert "no feature sets" in basket(
            command, "--cache", tmp_path / "empty", cache=False
        ).replace("\n", " ")


def test_verbose_holds_for_one_command(basket):
    basket("ls", "--verbose")
    assert options.wants_traceback()
    basket("ls")
    assert not options.wants_traceback()


def test_help_names_every_command():
    said = CliRunner().invoke(cache_app, ["--help"]).stdout
    for command in ("ls", "status", "verify", "repair", "pack", "export", "import"):
        assert command in said
