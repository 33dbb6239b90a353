"""The contract of a decoder as a test class: subclass it, say how to open a file, run pytest.

What is frame-exact: at every instant the frame on display is the one that an independent decode of
the whole file, front to back, puts there. Its index is the same, always; its pixels differ from
PyAV's by at most ``max_mean_difference`` (of 255, mean of absolute differences). A decoder that
cannot keep this for some kind of file refuses the file with a :class:`VideoError` that says so, and
lists the kind under ``refuses``::

    class TestMine(DecoderContract):
        open_video = staticmethod(open_mine)
        refuses = {"av1": "no AV1 decoder"}
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from basket.errors import VideoError
from basket.extract.decode.base import SLACK_S, Decoder, OpenDecoder
from basket.extract.decode.samples import SAMPLES


@lru_cache(maxsize=64)
def decode_everything(path: Path) -> tuple[npt.NDArray[np.float64], list[npt.NDArray[np.uint8]]]:
    """Timestamps from the first frame and upright RGB frames, decoded front to back with PyAV.

    Independent of :mod:`basket.extract.decode.pyav`: no index, no seeks, nothing skipped.
    """
    import av

    times: list[float] = []
    frames: list[npt.NDArray[np.uint8]] = []
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams.best("video")):
            assert isinstance(frame, av.VideoFrame)
            assert frame.pts is not None
            assert frame.time_base is not None
            times.append(float(frame.pts * frame.time_base))
            matrix = frame.side_data.get("DISPLAYMATRIX")
            rgb: Any = frame.to_ndarray(format="rgb24")
            frames.append(_as_shown(rgb, matrix))
    return np.array(times) - times[0], frames


def _as_shown(stored: Any, matrix: Any) -> npt.NDArray[np.uint8]:
    """Put every pixel where the display matrix says, corner by corner."""
    if matrix is None:
        return np.asarray(stored)
    a, b, _, c, d = np.sign(np.frombuffer(bytes(matrix), np.int32)[:5])
    y, x = np.indices(stored.shape[:2])
    across, down = a * x + c * y, b * x + d * y
    across, down = across - across.min(), down - down.min()
    shown = np.zeros((down.max() + 1, across.max() + 1, 3), np.uint8)
    shown[down, across] = stored
    return shown


def assert_frame_exact(
    open_video: OpenDecoder,
    path: Path,
    times_s: npt.NDArray[np.float64],
    *,
    max_mean_difference: float = 0.0,
) -> None:
    """Compare what a decoder shows at ascending instants with a full sequential decode."""
    truth_s, truth = decode_everything(path)
    with open_video(path) as video:
        for time_s, shown in zip(times_s, video.frames_at(times_s), strict=True):
            expected = max(int(np.searchsorted(truth_s, time_s + SLACK_S, side="right")) - 1, 0)
            assert shown.index == expected, f"{path.name} at {time_s:.3f} s"
            assert shown.rgb.dtype == np.uint8
            assert shown.rgb.shape == truth[expected].shape
            difference = _difference(shown.rgb, truth[expected])
            assert difference <= max_mean_difference, f"{path.name} at {time_s:.3f} s"


def _difference(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean())


class DecoderContract:
    """Tests that every decoder passes; pytest collects them from a subclass.

    Attributes
    ----------
    open_video : OpenDecoder
        How the decoder opens a file; wrap a function in ``staticmethod``.
    refuses : mapping of str to str
        Kinds of :data:`~basket.extract.decode.samples.SAMPLES` that it refuses, and some words of
        the refusal. What is not listed must be exact.
    max_mean_difference : float
        0 for the reference itself; at most 2 for others.
    """

    open_video: ClassVar[OpenDecoder]
    refuses: ClassVar[Mapping[str, str]] = {}
    max_mean_difference: ClassVar[float] = 2.0

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Run the tests that take a ``kind`` on every kind of file."""
        if "kind" in metafunc.fixturenames:
            metafunc.parametrize("kind", list(SAMPLES))

    def _sample(self, kind: str, tmp_path_factory: Any) -> Path:
        """The file of a kind, made once per test run."""
        import pytest

        sample = SAMPLES[kind]
        folder: Path = tmp_path_factory.getbasetemp() / "decoder-samples"
        folder.mkdir(exist_ok=True)
        path = folder / f"{kind.replace(':', '')}.{sample.suffix}"
        if not path.exists():
            try:
                sample.write(path)
            except (ValueError, OSError) as error:
                path.unlink(missing_ok=True)
                pytest.skip(f"this build of PyAV cannot make {kind} ({sample.codec}): {error}")
        return path

    def _assert_exact(self, path: Path, times_s: npt.ArrayLike) -> None:
        assert_frame_exact(
            type(self).open_video,
            path,
            np.asarray(times_s, dtype=np.float64),
            max_mean_difference=self.max_mean_difference,
        )

    def test_every_kind_is_frame_exact_or_refused(self, kind: str, tmp_path_factory: Any) -> None:
        """Sparse, dense, repeated, first, last and later instants, in every kind of file."""
        path = self._sample(kind, tmp_path_factory)
        if kind in self.refuses:
            _assert_refused(type(self).open_video, path, self.refuses[kind])
            return
        end_s = decode_everything(path)[0][-1]
        random_s = np.random.default_rng(0).uniform(0, end_s, 8)
        edges_s = [0.0, 0.0, 0.05, 0.1, end_s / 2, end_s / 2 + 0.01, end_s, end_s, end_s + 3.0]
        self._assert_exact(path, np.sort([*edges_s, *random_s]))
        self._assert_exact(path, [end_s * 0.8])

    def test_every_kind_is_described_as_it_is(self, kind: str, tmp_path_factory: Any) -> None:
        """Count, size, rotation, rate and key frames."""
        if kind in self.refuses:
            return
        sample, path = SAMPLES[kind], self._sample(kind, tmp_path_factory)
        truth_s = decode_everything(path)[0]
        with type(self).open_video(path) as video:
            assert isinstance(video, Decoder)
            info = video.info
            assert info.frames == len(truth_s) == len(sample.pts)
            assert (info.width_px, info.height_px) == (sample.width_px, sample.height_px)
            assert info.rotation_deg == sample.rotation_deg
            assert info.mirrored == sample.mirrored
            assert truth_s[-1] < info.duration_s < truth_s[-1] + 1.4
            assert abs(info.fps - info.frames / info.duration_s) < 1e-6
            assert video.keyframes_s[0] == 0.0
            assert np.isin(np.round(video.keyframes_s, 3), np.round(truth_s, 3)).all()

    def test_pictures_are_upright(self, kind: str, tmp_path_factory: Any) -> None:
        """The red corner is at the top left, whatever turn the file asks for."""
        if kind in self.refuses:
            return
        with type(self).open_video(self._sample(kind, tmp_path_factory)) as video:
            corner = next(iter(video.frames_at(np.array([1.0])))).rgb[4:8, 4:8].mean(axis=(0, 1))
        assert corner[0] > 180
        assert corner[1:].max() < 90

    def test_many_random_instants_are_frame_exact(self, tmp_path_factory: Any) -> None:
        """Every way to walk over groups of pictures."""
        path = self._sample("h264-b-frames", tmp_path_factory)
        rng = np.random.default_rng(1)
        for count in (1, 2, 3, 5, 8, 13, 40, 100):
            self._assert_exact(path, np.sort(rng.uniform(-0.2, FAR_S, count)))

    def test_instants_must_ascend(self, tmp_path_factory: Any) -> None:
        """Going back would decode twice: it is the caller's mistake."""
        path = self._sample("h264-b-frames", tmp_path_factory)
        with type(self).open_video(path) as video:
            _assert_raises(ValueError, lambda: list(video.frames_at(np.array([2.0, 1.0]))))

    def test_damage_is_an_error_or_harmless(self, tmp_path_factory: Any, tmp_path: Path) -> None:
        """A frame whose bytes are gone is never replaced by another one."""
        import av

        whole = self._sample("h264-b-frames", tmp_path_factory)
        truth = decode_everything(whole)[1]
        with av.open(str(whole)) as container:
            places = [(each.pos or 0, each.size) for each in container.demux(video=0) if each.size]
        times_s = np.arange(0, len(truth), 3) / 10
        refused = 0
        for number in (0, 5, 6, 7, 20, 33):
            position, size = places[number]
            content = bytearray(whole.read_bytes())
            content[position : position + size] = bytes(size)
            damaged = tmp_path / f"{number}.mp4"
            damaged.write_bytes(content)
            try:
                with type(self).open_video(damaged) as video:
                    for shown in video.frames_at(times_s):
                        assert _difference(shown.rgb, truth[shown.index]) <= 2.0
            except VideoError:
                refused += 1
        assert refused

    def test_what_is_no_video_is_refused(self, tmp_path_factory: Any, tmp_path: Path) -> None:
        """Nothing, a folder, nonsense, and lists of other files under a video's name."""
        target = self._sample("h264-transport-stream", tmp_path_factory)
        contents = {
            "empty": "",
            "nonsense": "not a video at all" * 50,
            "playlist": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{target}\n#EXT-X-ENDLIST\n",
            "concatenation": f"ffconcat version 1.0\nfile '{target}'\n",
        }
        for name, content in contents.items():
            (tmp_path / f"{name}.mp4").write_text(content)
            _assert_refused(type(self).open_video, tmp_path / f"{name}.mp4", "")
        _assert_refused(type(self).open_video, tmp_path, "not a regular file")
        _assert_refused(type(self).open_video, tmp_path / "missing.mp4", "no such file")


#: A little past the end of the samples, in seconds.
FAR_S = 5.5


def _assert_refused(open_video: OpenDecoder, path: Path, words: str) -> None:
    def show_all() -> None:
        with open_video(path) as video:
            list(video.frames_at(np.linspace(0, video.info.duration_s, 20)))

    error = _assert_raises(VideoError, show_all)
    assert words in str(error), f"{path.name}: {error}"


def _assert_raises(kind: type[Exception], act: Any) -> Exception:
    try:
        act()
    except kind as error:
        return error
    raise AssertionError(f"expected {kind.__name__}, and nothing was raised")
