"""Every decoder of ours keeps the contract, on the files that it makes and on real ones."""

import numpy as np
import pytest

from basket.errors import MissingDependencyError, VideoError
from basket.extract.decode.checked import MAX_MEAN_DIFFERENCE
from basket.extract.decode.contract import DecoderContract, assert_frame_exact
from basket.extract.decode.decord import _import_decord, open_decord
from basket.extract.decode.pyav import open_pyav
from basket.extract.decode.samples import SAMPLES
from basket.extract.decode.torchcodec import _import_decoder, open_torchcodec


def reason_not_to_load(load) -> str:
    try:
        load()
    except MissingDependencyError as error:
        return str(error)
    return ""


NO_DECORD = reason_not_to_load(_import_decord)
NO_TORCHCODEC = reason_not_to_load(_import_decoder)
needs_decord = pytest.mark.skipif(bool(NO_DECORD), reason=NO_DECORD)
needs_torchcodec = pytest.mark.skipif(bool(NO_TORCHCODEC), reason=NO_TORCHCODEC)


class TestPyAV(DecoderContract):
    open_video = staticmethod(open_pyav)
    max_mean_difference = 0.0


#: What both other libraries show in other colours, or at other times.
REFUSED_BY_ALL = {
    "10-bit": "yuv420p10le",
    "h264-interlaced": "interlaced",
    "h264-transport-stream": "transport streams",
    "odd-size": "an odd size",
} | dict.fromkeys([name for name in SAMPLES if name.startswith("mirrored")], "mirrored video")
REFUSED_BY_DECORD = REFUSED_BY_ALL | {"av1": "cannot open this", "hevc": "not exact for HEVC"}


@needs_decord
class TestDecord(DecoderContract):
    open_video = staticmethod(open_decord)
    max_mean_difference = MAX_MEAN_DIFFERENCE
    refuses = REFUSED_BY_DECORD


@needs_torchcodec
class TestTorchcodec(DecoderContract):
    open_video = staticmethod(open_torchcodec)
    max_mean_difference = MAX_MEAN_DIFFERENCE
    refuses = REFUSED_BY_ALL


#: Files of others, and why a decoder refuses one: ``{file: {decoder: words}}``.
REAL_FILES = {
    "av1_video.mkv": {"decord": "cannot open this"},
    "basketball_game.mp4": {},
    "corrupted.mp4": {"pyav": "damaged", "decord": "damaged", "torchcodec": "damaged"},
    "fractional_fps.mp4": {},
    "h264_10bits.mp4": {"decord": "yuv420p10le", "torchcodec": "yuv420p10le"},
    "h265_video.mp4": {"decord": "not exact for HEVC"},
    "nasa_13013.mp4": {},
    "nasa_13013_rotated.mp4": {},
    "test_non_zero_start.mp4": {},
    "testsrc2_mpeg4.avi": {},
    "testsrc2_odd_height_444.mp4": {},
    "testsrc2_vp9.webm": {},
    "unordered.mov": {},
    "video_90.mov": {},
}


def test_no_real_file_is_forgotten(shared_data):
    assert {path.name for path in (shared_data / "videos").iterdir()} == set(REAL_FILES)


@pytest.mark.parametrize(
    ("decoder", "open_video"),
    [
        ("pyav", open_pyav),
        pytest.param("decord", open_decord, marks=needs_decord),
        pytest.param("torchcodec", open_torchcodec, marks=needs_torchcodec),
    ],
)
@pytest.mark.parametrize("name", REAL_FILES)
def test_real_files_are_frame_exact_or_refused(shared_data, name, decoder, open_video):
    path = shared_data / "videos" / name
    if words := REAL_FILES[name].get(decoder):
        with pytest.raises(VideoError, match=words), open_video(path) as video:
            list(video.frames_at(np.linspace(0, 5, 40)))
        return
    with open_video(path) as video:
        duration_s = video.info.duration_s
    times_s = np.sort(np.random.default_rng(0).uniform(0, duration_s * 1.1, 12))
    bound = 0.0 if decoder == "pyav" else MAX_MEAN_DIFFERENCE
    assert_frame_exact(open_video, path, times_s, max_mean_difference=bound)
