"""From arguments to predictions: which reels, from which features, and what is told of failures."""

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import basket
from basket.cache import open_cache
from basket.errors import Interrupted, LabelError, UsageError, WeightsError
from basket.predict import reel_features
from basket.predict.cards import cards_of
from basket.predict.inputs import find_reels
from basket.predict.page import card_html


@pytest.fixture(scope="module")
def reels(tmp_path_factory, make_video):
    """Reels in BASKET's layout, extracted, with a run fitted on them; one player twice."""
    root = tmp_path_factory.mktemp("reels")
    names = [f"18-19/NBA/{player}_18_19.mp4" for player in range(10)] + ["19-20/NBA/0_19_20.mp4"]
    for index, name in enumerate(names):
        make_video(root / name, frames=45 + index, height=32, width=48)
    table = root / "train.csv"
    rows = [f"{name},{index % 5},{(index * 3) % 5}" for index, name in enumerate(names)]
    table.write_text("\n".join(["path,Steals,Defensive Consistency", *rows]) + "\n")
    basket.extract_features(
        labels=[table], video_root=root, models=["motion"], cache=root / "cache", workers=1
    )
    # So few reels say nothing of skills: a penalty that were chosen here might leave nothing.
    run = basket.fit_head(
        cache=root / "cache", train=table, video_root=root, out=root / "run",
        params={"penalties": 10.0},
    )  # fmt: skip
    return root, run, names


def no_extraction(*_args, **_options):
    raise AssertionError("nothing was to be extracted")


def test_three_lines_predict_what_the_cache_would(reels):
    root, _, names = reels
    run = basket.load_run(root / "run")
    found = run.predict(root / names[3])
    expected = run.predict_proba(pooled(root, run, names[3]))
    assert found.videos[0].video_id == names[3]
    assert found.videos[0].proba == pytest.approx(expected[0])
    assert found.features.cached == frozenset()
    assert found.evidence()[names[3]].effects.shape == (found.videos[0].n_segments, 2)
    assert run.predict(pooled(root, run, names[3])).shape == (1, 2)


@pytest.mark.parametrize("option", ["out", "report"])
def test_an_output_that_cannot_be_written_is_refused_before_the_work(reels, monkeypatch, option):
    root, run, names = reels
    monkeypatch.setattr(reel_features, "extract", no_extraction)
    with pytest.raises(UsageError, match=r"train\.csv is not a folder"):
        run.predict(root / names[0], **{option: root / "train.csv" / "x.csv"})


def pooled(root, run, name):
    from basket.heads.pooling import pool

    source = open_cache(root / "cache")["motion"]
    return pool(source.ragged([name], "pooled"), run.pooling)


def test_a_cached_reel_is_not_decoded_unless_its_file_changed(reels, tmp_path, monkeypatch):
    root, run, names = reels
    before = {path: path.stat().st_mtime_ns for path in (root / "cache").rglob("*")}
    with monkeypatch.context() as patch:
        patch.setattr(reel_features, "extract", no_extraction)
        found = run.predict([root / names[3], root / names[4]], cache=root / "cache")
        assert found.features.cached == {names[3], names[4]}
        # A file that is gone has its features still; a note says so.
        listed = tmp_path / "list.csv"
        listed.write_text(f"path\n{names[5]}\n")
        gone = basket.predict_videos(run, [listed], video_root=tmp_path, cache=root / "cache")
        assert "not at hand" in gone.videos[0].note
    os.utime(root / names[4], ns=(1, 1))
    found = run.predict([root / names[3], root / names[4]], cache=root / "cache")
    assert found.features.cached == {names[3]}
    assert "changed" in found.videos[1].note
    # Nothing was written to the cache that was only to be read.
    assert {path: path.stat().st_mtime_ns for path in (root / "cache").rglob("*")} == before


def test_an_interrupted_table_continues(reels, tmp_path, monkeypatch):
    root, run, names = reels
    out, files = tmp_path / "out.parquet", [root / names[0], root / names[1]]
    extract = reel_features.extract

    def stops_after_the_first(sources, **options):
        extract(sources[:1], **options)
        raise Interrupted("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(reel_features, "extract", stops_after_the_first)
        with pytest.raises(Interrupted):
            basket.predict_videos(run, files, out=out)
        assert not out.exists()
    done = []
    monkeypatch.setattr(
        reel_features,
        "extract",
        lambda sources, **options: done.append(found := extract(sources, **options)) or found,
    )
    basket.predict_videos(run, files, out=out)
    assert (done[0].already_there, done[0].done) == (1, 1)
    assert pq.read_table(out)["video_id"].to_pylist() == [names[0]] * 2 + [names[1]] * 2
    import gc

    gc.collect()
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "json"])
def test_tables_hold_every_video_and_say_why_some_have_no_level(reels, tmp_path, suffix):
    root, run, names = reels
    (tmp_path / "bad.mp4").write_bytes(b"no video" * 9)
    out = tmp_path / f"out.{suffix}"
    files = [root / names[3], tmp_path / "bad.mp4"]
    found = basket.predict_videos(run, files, cache=root / "cache", out=out)
    ((bad, reason),) = found.failed.items()
    assert "not a readable video" in reason
    if suffix == "json":
        document = json.loads(out.read_text())
        assert document["failed"] == {bad: reason}
        assert set(document["videos"][0]["skills"]) == {"Steals", "Defensive Consistency"}
        return
    rows = (
        pq.read_table(out).to_pylist()
        if suffix == "parquet"
        else list(csv.DictReader(out.open(newline="")))
    )
    assert [row["skill"] for row in rows] == ["Steals", "Defensive Consistency"] * 2
    first, last = rows[1], rows[-1]
    level = int(first["level"])
    assert first["player"] == "3"
    assert first["word"] == ("excellent", "good", "average", "fair", "poor")[level]
    assert sum(float(first[f"p{each}"]) for each in range(5)) == pytest.approx(1)
    assert (last["level"], last["reason"]) == (None if suffix == "parquet" else "", reason)


def test_an_impossible_table_is_refused_before_anything_is_decoded(reels, monkeypatch):
    root, run, names = reels
    monkeypatch.setattr(reel_features, "extract", no_extraction)
    with pytest.raises(UsageError, match=r"must end in \.parquet, \.csv or \.json"):
        basket.predict_videos(run, [root / names[0]], out="table.xlsx")


def test_too_short_and_missing_reels_are_told(reels, tmp_path, make_video):
    _, run, _ = reels
    short = make_video(tmp_path / "short.mp4", frames=4)
    (tmp_path / "list.csv").write_text("short.mp4\nnowhere.mp4\n")
    found = basket.predict_videos(run, [tmp_path / "list.csv"])
    assert found.videos == ()
    assert "it lasts 0.40 s" in found.failed[short.name]
    assert "no such file" in found.failed["nowhere.mp4"]


def test_weights_that_are_gone_are_named_with_what_to_do(reels, tmp_path, make_video):
    root, _, names = reels
    old = open_cache(root / "cache")["motion"]
    spec = replace(
        old.spec,
        family="videomae",
        backbone="videomae/mine",
        weights_sha256="cd" * 32,
        notes={"checkpoint": str(tmp_path / "gone"), "revision": ""},
    )
    with open_cache(tmp_path / "cache", create=True).feature_set(spec).writer() as writer:
        for name in names:
            writer.add(old.row(name), old.read(name))
    run = basket.fit_head(
        cache=tmp_path / "cache", train=root / "train.csv", video_root=root, head="prior",
        out=tmp_path / "run",
    )  # fmt: skip
    with pytest.raises(WeightsError, match=r"needs the weights of videomae/mine \(.*gone") as told:
        run.predict(root / names[1])
    assert "--weights videomae/mine=FOLDER" in str(told.value)
    # Cached features need no weights.
    assert run.predict(root / names[1], cache=tmp_path / "cache").videos


def test_arguments_become_reels(tmp_path):
    for name in ("18-19/NBA/1_18_19.mp4", "holiday.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "list.csv").write_text("player,path\n7,18-19/NBA/1_18_19.mp4\n8,gone.mp4\n")
    reels = find_reels([tmp_path, tmp_path / "list.csv"])
    assert [(reel.video_id, reel.path.name) for reel in reels] == [
        ("18-19/NBA/1_18_19.mp4", "1_18_19.mp4"),
        ("holiday.mp4", "holiday.mp4"),
        ("gone.mp4", "gone.mp4"),
    ]
    # The file alone is known by its place in the data set too.
    (alone,) = find_reels([tmp_path / "18-19/NBA/1_18_19.mp4"])
    assert alone.video_id == "18-19/NBA/1_18_19.mp4"
    for text, reason in (("path\n", "no rows"), ("path\nnotes.txt\n", "row 2 names 'notes.txt'")):
        (tmp_path / "wrong.csv").write_text(text)
        with pytest.raises(LabelError, match=reason):
            find_reels([tmp_path / "wrong.csv"])


def test_the_card_shows_moments_with_pictures_and_the_other_season(reels):
    root, run, names = reels
    found = run.predict(root / names[0], cache=root / "cache")
    (card,) = cards_of(found, cache=open_cache(root / "cache"))
    assert [season.season for season in card.seasons] == ["19-20"]
    segments = sorted({m.segment for story in card.stories for m in story.moments})
    assert len(card.strips) == len(segments) > 0
    html = card_html(card)
    assert html.count("data:image/") == len(card.strips)
    assert "<script" not in html
    assert "//" not in html.replace("data:image/", "").split("<body>")[1].split("base64,")[0]
    effects = found.evidence()[names[0]].effects
    # Low labels are the good ones of Defensive Consistency, so its moments point the other way.
    for story, sign in zip(card.stories, (1, -1), strict=True):
        column = run.skills.index(story.skill)
        for moment in story.moments:
            assert moment.effect == pytest.approx(sign * effects[moment.segment, column])


def test_many_cards_come_without_pictures_and_say_so(reels, tmp_path, monkeypatch):
    from basket.predict import cards

    root, run, names = reels
    monkeypatch.setattr(cards, "MAX_DETAILED", 1)
    said = []
    basket.predict_videos(
        run, [root / names[1], root / names[2]], cache=root / "cache",
        report=tmp_path / "cards.html", say=said.append,
    )  # fmt: skip
    assert any("without moments" in sentence for sentence in said)
    page = (tmp_path / "cards.html").read_text()
    assert "data:image/" not in page
    assert page.count("Moments and pictures are left out here") == 2


def test_percentiles_and_confidence_come_with_a_run_that_measured_them(fit, world):
    run = fit("ridge", pool="mean")
    listed = world.root / "all.csv"
    listed.write_text("path\n" + "\n".join(world.names) + "\n")
    found = run.predict(listed, cache=world.cache)
    assert len(found.videos) == 60
    places = np.array([video.percentiles for video in found.videos])
    levels = np.array([video.levels for video in found.videos])
    assert places.min() >= 0
    assert places.max() <= 1
    for skill in range(3):
        assert np.corrcoef(places[:, skill], levels[:, skill])[0, 1] > 0.7
    assert found.calibration.players == 6
    assert found.calibration.overall.ratings == 18
    document = found.to_json()
    assert document["calibration"]["right"] == found.calibration.overall.share
    (path,) = (Path(listed),)
    path.unlink()


def test_two_files_of_one_name_are_refused_not_dropped(tmp_path):
    for folder in ("s1", "s2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "reel.mp4").touch()
        (tmp_path / folder / "list.csv").write_text("path\nreel.mp4\n")
    lists = [tmp_path / folder / "list.csv" for folder in ("s1", "s2")]
    for first in (lists[0], tmp_path / "s1/reel.mp4"):
        with pytest.raises(UsageError, match=r"s1/reel.mp4 has that name too"):
            find_reels([first, lists[1]])
    assert len(find_reels([lists[0], tmp_path / "s1/reel.mp4"])) == 1
    for folder in ("s1", "s2"):  # known to a cache alone, they may be one video
        (tmp_path / folder / "reel.mp4").unlink()
    assert len(find_reels(lists)) == 1


def test_without_a_readable_video_no_empty_folder_is_left(world, fit, tmp_path):
    listing = tmp_path / "wanted.csv"
    listing.write_text("path\nnowhere.mp4\n")
    found = basket.predict_videos(
        fit(), [listing], cache=world.cache, report=tmp_path / "new" / "cards" / "page.html"
    )
    assert list(found.failed) == ["nowhere.mp4"]
    assert [path.name for path in tmp_path.iterdir()] == ["wanted.csv"]
