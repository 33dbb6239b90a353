"""What is PyAV's own: which packets are decoded, what is noticed, what is refused."""

from itertools import pairwise

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from basket.errors import UsageError, VideoError
from basket.extract.decode import DECODERS, Decoder, decoder_name
from basket.extract.decode.base import VideoInfo, check_limits
from basket.extract.decode.contract import assert_frame_exact, decode_everything
from basket.extract.decode.pyav import open_pyav, runs


class RecordingCodec:
    """Passes everything on to a codec, and remembers the packets and what came out."""

    def __init__(self, codec):
        self.__dict__.update(codec=codec, sent=[], frames=0, seeks=0)

    def decode(self, packet):
        frames = self.codec.decode(packet)
        self.__dict__["frames"] += len(frames)
        if packet is not None:
            self.sent.append(packet.pts)
        return frames

    def flush_buffers(self):
        self.__dict__["seeks"] += 1
        self.codec.flush_buffers()

    def __getattr__(self, name):
        return getattr(self.codec, name)

    def __setattr__(self, name, value):
        setattr(self.codec, name, value)


def record(video) -> RecordingCodec:
    video._codec = RecordingCodec(video._codec)
    return video._codec


@pytest.fixture(scope="module")
def long_gop(tmp_path_factory, make_video):
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    return make_video(path, frames=80, gop=17, options={"bf": "2"})


@settings(max_examples=30)
@given(st.lists(st.floats(-0.5, 9.0), min_size=1, max_size=30))
def test_any_ascending_instants_are_frame_exact(long_gop, times_s):
    assert_frame_exact(open_pyav, long_gop, np.sort(np.array(times_s)))


def test_a_variable_frame_rate_ends_with_its_last_frame(tmp_path, make_video):
    pts = [0, 1, 2, 10, 11, 30, 31, 32, 60, 61]
    path = make_video(tmp_path / "a.mp4", frames=10, pts=pts)
    assert_frame_exact(open_pyav, path, np.array([0.0, 0.99, 1.0, 2.9, 3.0, 5.9, 6.0, 6.05, 6.15]))
    with open_pyav(path) as video:
        assert video.info.duration_s == pytest.approx(6.2, abs=0.1)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([], []),
        ([0], [[0]]),
        ([0, 1, 2, 30, 60], [[0, 1, 2], [30], [60]]),
        ([0, 45, 46, 52], [[0], [45, 46, 52]]),  # 47 to 49 are not worth a seek
        ([0, 25, 30], [[0], [25, 30]]),
        ([3, 9, 15], [[3, 9, 15]]),
    ],
)
def test_runs(wanted, expected):
    found = runs(np.array(wanted, dtype=np.int64), np.arange(0, 100, 10))
    assert [run.tolist() for run in found] == expected


@given(
    st.lists(st.integers(0, 500), max_size=60, unique=True),
    st.lists(st.integers(1, 500), max_size=30, unique=True),
)
def test_runs_share_no_group_of_pictures(wanted, keys):
    wanted, keys = np.sort(np.array(wanted, np.int64)), np.sort(np.array([0, *keys], np.int64))
    found = runs(wanted, keys)
    assert [index for run in found for index in run] == wanted.tolist()
    spans = [np.searchsorted(keys, [run[0], run[-1]], side="right") for run in found]
    assert all(before[1] < after[0] for before, after in pairwise(spans))


def test_no_packet_is_decoded_twice_and_unreferenced_frames_are_left_out(tmp_path, make_video):
    options = {"bf": "3", "b_strategy": "0", "sc_threshold": "0"}
    path = make_video(tmp_path / "a.mp4", frames=200, gop=20, options=options)
    times_s = np.array([0.0, 0.3, 4.5, 4.7, 5.9, 15.0, 18.9])
    with open_pyav(path) as video:
        codec = record(video)
        shown = [frame.index for frame in video.frames_at(times_s)]
    assert shown == [0, 3, 45, 47, 59, 150, 189]
    assert len(codec.sent) == len(set(codec.sent))
    assert codec.seeks == 4  # 0; 40; 140 and 180: each a key frame
    # 4 + 20 + 11 + 10 frames lie between; half of them are B-frames that nothing refers to.
    assert codec.frames < 35
    assert_frame_exact(open_pyav, path, times_s)


def test_a_dense_plan_is_one_pass_without_seeks(long_gop):
    with open_pyav(long_gop) as video:
        codec = record(video)
        list(video.frames_at(np.arange(0, 8.0, 0.4)))
        assert codec.seeks == 1


def test_a_frame_lost_by_leaving_others_out_is_found_without(long_gop, monkeypatch):
    with open_pyav(long_gop) as video:
        codec = record(video)
        real, attempts = video._all_frames_from, []

        def losing(key, wanted_pts, *, skip):
            attempts.append((key, skip))
            frames = real(key, wanted_pts, skip=skip)
            return (frame for frame in frames if not skip or frame.pts not in wanted_pts)

        monkeypatch.setattr(video, "_all_frames_from", losing)
        assert [frame.index for frame in video.frames_at(np.array([3.0, 3.5]))] == [30, 35]
    key = attempts[0][0]
    assert attempts == [(key, True), (key, False)]
    assert codec.seeks == 2


def test_a_frame_that_never_comes_out_is_damage_even_at_the_end_of_the_file(long_gop):
    with open_pyav(long_gop) as video:
        codec, lost = record(video), int(video.table.pts[-1])
        real = codec.codec

        class Losing:
            def decode(self, packet):
                return [frame for frame in real.decode(packet) if frame.pts != lost]

            def flush_buffers(self):
                real.flush_buffers()

        codec.__dict__["codec"] = Losing()
        with pytest.raises(VideoError, match=r"the frame at 7\.900 s is in the index"):
            list(video.frames_at(np.array([7.5, 7.9])))


def test_a_seek_that_lands_behind_the_last_target_ends_with_the_file(long_gop):
    with open_pyav(long_gop) as video:
        never = int(video.table.pts[-1]) + 1
        assert len(list(video._all_frames_from(0, {never}, skip=False))) == 80


def test_attempts_at_a_lost_frame_are_few(tmp_path, make_video, monkeypatch):
    path = make_video(tmp_path / "a.mp4", frames=100, gop=5, options={"sc_threshold": "0"})
    with open_pyav(path) as video:
        starts = []
        monkeypatch.setattr(
            video, "_all_frames_from", lambda key, wanted_pts, *, skip: starts.append(key) or ()
        )
        with pytest.raises(VideoError, match="does not decode"):
            list(video.frames_at(np.array([9.0])))
    assert starts == [18, 18, 17, 14, 2]


def test_the_last_frame_repeats_past_the_end(tmp_path, make_video):
    path = make_video(tmp_path / "a.mp4", frames=10)
    with open_pyav(path) as video:
        frames = list(video.frames_at(np.array([0.95, 5.0, 50.0])))
    assert [frame.index for frame in frames] == [9, 9, 9]
    assert frames[0].rgb is frames[2].rgb


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_truncated_file_says_so_and_keeps_what_it_has(tmp_path, make_video, suffix):
    whole = make_video(
        tmp_path / f"a.{suffix}",
        frames=60,
        container_options={"movflags": "faststart"} if suffix == "mp4" else None,
    )
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.6)])
    with open_pyav(cut) as video:
        assert video.info.note.startswith("truncated")
        assert video.info.frames < 60
        truth = decode_everything(whole)[1]
        last = video.info.frames - 2
        frame = next(iter(video.frames_at(np.array([last / 10]))))
        assert np.array_equal(frame.rgb, truth[last])


def test_a_file_without_pictures(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match="no video stream"), open_pyav(path):
        pass


def test_the_largest_stream_is_shown(shared_data):
    with open_pyav(shared_data / "videos" / "nasa_13013.mp4") as video:  # the first is 320 x 180
        assert (video.info.width_px, video.info.height_px) == (480, 270)


def test_a_late_start_is_no_truncation(tmp_path, make_video):
    path = make_video(tmp_path / "a.mkv", frames=30, pts=list(range(200, 230)))
    with open_pyav(path) as video:
        assert video.info.note == ""
        assert video.info.duration_s == pytest.approx(3.0, abs=0.1)


def test_a_name_that_looks_like_a_protocol_is_a_file(tmp_path, make_video, monkeypatch):
    make_video(tmp_path / "a.mp4", frames=5).rename(tmp_path / "concat:a.mp4")
    monkeypatch.chdir(tmp_path)
    path = type(tmp_path)("concat:a.mp4")
    with open_pyav(path) as video:
        assert video.info.frames == 5


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        ({"width_px": 8193}, "8193x720 pixels; at most 8192"),
        ({"height_px": 9000}, "1280x9000 pixels; at most 8192"),
        ({"duration_s": 4 * 3600 + 1.0}, "at most 4 h"),
        ({"frames": 540 * 253}, "136620 pictures in 540 s; at most 240 per second"),
    ],
)
def test_what_no_reel_claims_is_refused(claim, words):
    sane = {"duration_s": 540.0, "fps": 30.0, "width_px": 1280, "height_px": 720, "frames": 16200}
    assert check_limits(VideoInfo(**sane)).frames == 16200
    with pytest.raises(VideoError, match=words):
        check_limits(VideoInfo(**{**sane, **claim}))


def test_the_caps_hold_for_real_files(tmp_path, make_video, monkeypatch):
    path = make_video(tmp_path / "a.mp4", frames=20)
    for name, cap in (("MAX_SIDE_PX", 95), ("MAX_DURATION_S", 1.9), ("MAX_FPS", 9.0)):
        with monkeypatch.context() as patch:
            patch.setattr(f"basket.extract.decode.base.{name}", cap)
            with pytest.raises(VideoError, match="at most"), open_pyav(path):
                pass


def test_names():
    assert decoder_name("auto") == "pyav"
    assert set(DECODERS) >= {"pyav", "decord", "torchcodec"}
    with pytest.raises(UsageError, match="pyaw"):
        decoder_name("pyaw")


def test_it_is_a_decoder(tmp_path, make_video):
    path = make_video(tmp_path / "a.mp4", frames=5)
    with DECODERS["pyav"](path) as video:
        assert isinstance(video, Decoder)
        assert video.info.frames == 5
        assert video.info.fps == pytest.approx(10)
        assert video.keyframes_s.tolist() == [0.0]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("trunc-nomoov.mp4", r"index \(moov\) is missing: the download"),
        ("redycgco.mp4", "colour matrix YCgCo"),
        ("audio-cover.mp4", "a cover picture, and no video"),
        ("gif-named.mp4", "a GIF picture; taken are videos in MP4"),
        ("png-named.mp4", "a PNG picture"),
        ("x.mxf", "an MXF file"),
    ],
)
def test_the_reason_is_the_true_one(shared_data, name, words):
    with (
        pytest.raises(VideoError, match=words) as refused,
        open_pyav(shared_data / "cases" / "videos" / name) as video,
    ):
        [frame.rgb for frame in video.frames_at(np.zeros(1))]
    assert "damaged" not in str(refused.value)


def test_the_stream_is_the_one_that_ffmpeg_takes(shared_data):
    with open_pyav(shared_data / "cases" / "videos" / "two-nodef.mkv") as video:
        assert (video.info.width_px, video.info.height_px) == (192, 128)
        assert video.info.note == ""
