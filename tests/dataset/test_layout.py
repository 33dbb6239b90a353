"""BASKET's paths are understood, and links cannot lead out of the video root."""

import pytest

from basket.dataset import find_basket, find_videos, parse_reel_name, player_key, resolve_video
from basket.errors import LabelError, UsageError


@pytest.mark.parametrize(
    ("video_id", "expected"),
    [
        ("18-19/NBA/1_18_19.mp4", ("18-19", "NBA", "1")),
        ("videos/22-23/Euro League/de_la_cruz_22_23.mp4", ("22-23", "Euro League", "de_la_cruz")),
        ("18-19/NBA/1_19_20.mp4", None),  # the file contradicts its folder
        ("NBA/1_18_19.mp4", None),
        ("18-19/NBA/_18_19.mp4", None),
    ],
)
def test_reel_names(video_id, expected):
    reel = parse_reel_name(video_id)
    assert (reel and (reel.season, reel.league, reel.player)) == expected


def test_a_player_is_the_same_in_every_season_but_not_in_every_league():
    assert player_key("18-19/NBA/1_18_19.mp4") == player_key("19-20/NBA/1_19_20.mp4")
    assert player_key("18-19/NBA/1_18_19.mp4") != player_key("18-19/ACB/1_18_19.mp4")
    assert player_key("my/clip.mp4") == "my/clip.mp4"


def test_links_may_not_leave_the_root(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside.mp4"
    root.mkdir()
    outside.write_bytes(b"x")
    (root / "link.mp4").symlink_to(outside)
    with pytest.raises(LabelError, match="leads out of the video root"):
        resolve_video(root, "link.mp4")
    assert resolve_video(root, "a/b.mp4") == root.resolve() / "a/b.mp4"


def test_an_empty_folder_says_what_is_missing(tmp_path):
    with pytest.raises(UsageError, match=r"No label files .* and no season folders"):
        find_basket(tmp_path)


def test_basket_is_found_by_its_environment_variable(tmp_path, monkeypatch):
    labels = tmp_path / "BASKET_Labels" / "BASKET"
    labels.mkdir(parents=True)
    (labels / "train.csv").write_text("path,a\nx,1\n")
    (tmp_path / "18-19" / "NBA").mkdir(parents=True)
    monkeypatch.setenv("BASKET_ROOT", str(tmp_path))
    found = find_basket()
    assert found.video_root == tmp_path
    assert dict(found.splits) == {"train": labels / "train.csv"}


def test_videos_are_found_by_suffix_and_the_rest_is_counted(tmp_path):
    for name in ("b.MP4", "a/c.webm", "notes.txt"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.touch()
    videos, others = find_videos(tmp_path)
    assert [video.name for video in videos] == ["c.webm", "b.MP4"]
    assert others == 1
