"""Recordings: holes, clocks that jump, starts between key frames, files that were cut off."""

from fractions import Fraction

import av
import numpy as np
import pytest

from basket.errors import VideoError
from basket.extract.decode.base import VideoInfo, check_limits
from basket.extract.decode.index import open_stream, scan_packets
from basket.extract.decode.pyav import open_pyav
from basket.extract.decode.timeline import lay_out

TS = 188  # bytes of a transport packet
GOP = 10  # frames, at ten frames a second
CLOSED = {"bf": "2", "b_strategy": "0", "sc_threshold": "0"}


def packets(dts, keys=(0,), ticks=1):
    """Packets without B-frames; None stands for one without timestamps."""
    return [(t or 0, t or 0, ticks, n in keys, 100 * n, t is not None) for n, t in enumerate(dts)]


def laid_out(packets, lost=(), recorder="mpegts"):
    return lay_out(packets, lost, Fraction(1, 10), rate=Fraction(10), recorder=recorder)


def every_frame(path):
    """What is known of a file, and all of its good frames: (info, {index: rgb})."""
    with open_pyav(path) as video:
        good = video.table.good
        shown = video.frames_at(video.table.times_s[good])
        return video.info, {frame.index: frame.rgb for frame in shown}


def assert_like(shown, whole, *, offset=0):
    """Each frame is the picture of an intact decode ``offset`` frames later."""
    for index, rgb in shown.items():
        assert np.array_equal(rgb, whole[(index + offset) % len(whole)]), index


@pytest.fixture(scope="module")
def recording(tmp_path_factory, make_video):
    """Four groups of pictures in a transport stream: its bytes, its frames, its key frames."""
    path = tmp_path_factory.mktemp("recording") / "whole.ts"
    make_video(path, frames=4 * GOP, gop=GOP, options=CLOSED)
    with av.open(str(path)) as container:
        keys = [each.pos for each in container.demux(video=0) if each.size and each.is_keyframe]
    return path.read_bytes(), every_frame(path)[1], keys


def test_an_ordinary_table_is_what_its_packets_say():
    table = laid_out(packets([0, 1, 2, 30, 31], keys=(0, 3)), recorder="")
    assert table.times_s.tolist() == [0.0, 0.1, 0.2, 3.0, 3.1]
    assert (table.note, table.is_mended, table.holes_s) == ("", False, ())
    assert table.on_display(np.array([2.9, 3.0])).tolist() == [2, 3]


def test_a_hole_reaches_from_the_last_good_frame_to_the_next_key_frame():
    table = laid_out(packets([0, 1, 2, 5, 6, 7, 8], keys=(0, 5)), lost=[2])
    assert table.holes_s[0] == pytest.approx((0.2, 0.7))
    assert table.good.tolist() == [0, 1, 5, 6]
    instants = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.7])
    assert table.on_display(instants).tolist() == [1, 1, 1, 1, 5, 5, 5]  # the nearest good one
    assert table.note == "the pictures at 0.20-0.70 s are spoiled and not used: data are missing"
    assert table.is_mended


def test_what_is_lost_before_a_key_frame_is_a_hole_too():
    table = laid_out(packets([0, 1, 2, 6, 7], keys=(0, 3)), lost=[2])
    assert table.holes_s[0] == pytest.approx((0.2, 0.6))
    joined = laid_out(packets([0, 1, 2, 3, 4], keys=(0, 3)), lost=[2])
    assert joined.holes_s == ()
    assert joined.doubtful == ((2, 3), (4, 5))  # and the last one, as of any recording


@pytest.mark.parametrize(
    ("dts", "recorder", "frames", "seconds", "words"),
    [
        ([0, 1, 2, 1000, 1001], "mpegts", 5, 0.5, "by +99.7 s at 0.30 s"),
        ([5000, 5001, 3, 4, 5], "mpeg", 5, 0.5, "by -499.9 s at 0.20 s"),
        ([0, 1, 2, 60, 61], "mpegts", 5, 6.2, ""),  # a still picture, as ffmpeg takes it
        ([0, 1, 2, 1000, 1001], "", 5, 100.2, ""),  # as in the recordings of phones
        ([7, 8, 9, 7, 8], "mpegts", 5, 0.5, "by -0.3 s at 0.30 s"),
    ],
)
def test_jumps_of_a_clock_that_may_jump_are_no_time(dts, recorder, frames, seconds, words):
    table = laid_out(packets(dts, keys=range(5)), recorder=recorder)
    assert (len(table.good), table.duration_s) == (frames, pytest.approx(seconds))
    assert table.remarks == ((f"its clock jumps {words}",) if words else ())


def test_packets_without_times_are_left_out_before_the_first_key_frame_only():
    table = laid_out(packets([None, None, 2, 3], keys=(2,)))
    assert (len(table.pts), table.without_time) == (2, 2)
    with pytest.raises(VideoError, match="carry no timestamps"):
        laid_out(packets([0, 1, None, 3]))
    assert len(laid_out(packets([0, 1, None, 3, 4], keys=(0, 3)), lost=[1]).good) == 3


def test_a_hole_spoils_no_more_than_it_must(tmp_path, recording):
    content, whole, keys = recording
    hole = keys[1] + TS  # inside a key frame: nothing of its group is of use
    (tmp_path / "hole.ts").write_bytes(content[:hole] + content[hole + TS :])
    info, shown = every_frame(tmp_path / "hole.ts")
    assert (info.frames, info.duration_s) == (4 * GOP, pytest.approx(4.0))
    assert info.holes_s[0] == pytest.approx((1.0, 2.0))
    assert sorted(shown) == [*range(GOP), *range(2 * GOP, 4 * GOP)]
    assert_like(shown, whole)
    assert info.note.startswith("the pictures at 1.00-2.00 s are spoiled and not used")


@pytest.mark.parametrize("place", ["first", "last"])
def test_a_hole_in_the_first_or_the_last_group(tmp_path, recording, place):
    content, whole, keys = recording
    hole = keys[0] + 2 * TS if place == "first" else keys[3] + 5 * TS
    (tmp_path / "hole.ts").write_bytes(content[:hole] + content[hole + TS :])
    info, shown = every_frame(tmp_path / "hole.ts")
    assert 3 * GOP <= len(shown) < 4 * GOP
    assert_like(shown, whole, offset=GOP if place == "first" else 0)
    assert info.note


def test_a_capture_that_begins_between_key_frames(tmp_path, recording):
    content, whole, keys = recording
    (tmp_path / "mid.ts").write_bytes(content[keys[0] + 8 * TS :])
    info, shown = every_frame(tmp_path / "mid.ts")
    assert (info.frames, len(shown), info.duration_s) == (3 * GOP, 3 * GOP, pytest.approx(3.0))
    assert_like(shown, whole, offset=GOP)
    assert "packets before its first picture are left out" in info.note


def test_captures_joined_end_to_end(tmp_path, recording):
    content, whole, _ = recording
    (tmp_path / "joined.ts").write_bytes(content + content)
    info, shown = every_frame(tmp_path / "joined.ts")
    assert (info.frames, len(shown), info.duration_s) == (8 * GOP, 8 * GOP, pytest.approx(8.0))
    assert_like(shown, whole)
    assert "its clock jumps by -4.0 s at 4.00 s, which is not counted as time" in info.note


def test_a_capture_cut_off_inside_its_last_picture(tmp_path, recording):
    content, whole, keys = recording
    (tmp_path / "cut.ts").write_bytes(content[: keys[3] + 2 * TS])
    info, shown = every_frame(tmp_path / "cut.ts")
    assert info.note == "truncated: the file ends inside a frame"
    assert 3 * GOP <= len(shown) == info.frames < 4 * GOP
    assert_like(shown, whole)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "flv"])
def test_sound_that_lasts_longer_is_no_truncation(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    with av.open(str(path), "w") as container:
        video, sound = container.add_stream("libx264", rate=10), container.add_stream("aac", 8000)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        for number in range(10):
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
            picture.pts, picture.time_base = number, Fraction(1, 10)
            container.mux(video.encode(picture))
        for number in range(40):
            silence = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            silence.pts, silence.rate, silence.time_base = number * 1024, 8000, Fraction(1, 8000)
            container.mux(sound.encode(silence))
        container.mux([*video.encode(), *sound.encode()])
    with open_pyav(path) as opened:
        assert (opened.info.frames, opened.info.note) == (10, "")


def test_bounds_are_about_pictures():
    def claimed(frames, duration_s):
        return VideoInfo(duration_s, frames / duration_s, 64, 64, frames)

    assert check_limits(claimed(240, 0.9996)).frames == 240
    assert check_limits(claimed(5, 5 / 90000)).frames == 5  # a clock that says nonsense
    with pytest.raises(VideoError, match=r"3000 pictures in 10 s; at most 240 per second"):
        check_limits(claimed(3000, 10.0))


@pytest.mark.parametrize(
    ("name", "frames", "seconds", "good", "note"),
    [
        ("ts-lost-packet.ts", 150, 6.0, 145, "the pictures at 1.80-2.00 s are spoiled"),
        ("ts-cat-forward.ts", 175, 7.0, 175, "its clock jumps by +997.3 s at 4.00 s"),
        ("ts-jump-forward.ts", 175, 7.0, 175, "its clock jumps by +997.3 s at 4.00 s"),
        ("ts-jump-back.ts", 175, 7.0, 175, "its clock jumps by -1004.3 s at 3.00 s"),
        ("ts-mid-gop.ts", 100, 4.0, 100, "34 packets before its first picture are left out"),
        ("hevc-cra-first.ts", 100, 4.0, 100, "2 packets before its first picture are left out"),
        ("hevc-cra-first.mp4", 100, 4.0, 100, ""),
        ("edit-list.mp4", 87, 3.48, 87, ""),
        ("phone-240.1fps.mp4", 240, 0.9996, 240, ""),
        ("trunc-asf.wmv", 242, 9.68, 242, "truncated: the file ends inside a frame"),
    ],
)
def test_files_that_people_have(shared_data, name, frames, seconds, good, note):
    path = shared_data / "cases" / "videos" / name
    info, shown = every_frame(path)
    assert (info.frames, len(shown), info.duration_s) == (
        frames,
        good,
        pytest.approx(seconds, abs=1e-3),
    )
    assert info.note.startswith(note) if note else info.note == ""
    with open_stream(path) as (container, stream):
        changed = not name.endswith((".mp4", ".wmv", "first.ts"))
        assert scan_packets(container, stream).is_mended == changed


def test_avi_tells_no_order_of_pictures(shared_data):
    with (
        pytest.raises(VideoError, match="AVI carries no presentation times"),
        open_pyav(shared_data / "cases" / "videos" / "avi-h264.avi"),
    ):
        pass


def test_a_recording_without_a_whole_key_frame(tmp_path, recording):
    content, _, keys = recording
    gone = {key + TS for key in keys}
    parts = [content[at : at + TS] for at in range(0, len(content), TS) if at not in gone]
    (tmp_path / "none.ts").write_bytes(b"".join(parts))
    with (
        pytest.raises(VideoError, match="none of its pictures is whole"),
        open_pyav(tmp_path / "none.ts"),
    ):
        pass
