"""Pictures of another library are handed on only where PyAV shows the same."""

from contextlib import contextmanager

import numpy as np
import pytest

from basket.errors import MissingDependencyError, VideoError
from basket.extract.decode import decord, torchcodec
from basket.extract.decode.checked import CheckedDecoder
from basket.extract.decode.contract import decode_everything
from basket.extract.decode.pyav import open_pyav

TIMES_S = np.array([0.0, 0.4, 0.4, 1.5, 2.2, 2.2, 9.0])


@pytest.fixture(scope="module")
def reel(tmp_path_factory, make_video):
    return make_video(tmp_path_factory.mktemp("video") / "a.mp4", frames=30)


@contextmanager
def checked(path, fetch):
    with open_pyav(path) as reference:
        yield CheckedDecoder("other", reference, fetch)


def test_the_same_pictures_are_handed_on(reel):
    truth = decode_everything(reel)[1]
    fetched = []

    def fetch(indices):
        fetched.append(indices)
        return np.stack([truth[index] for index in indices])

    with checked(reel, fetch) as video:
        shown = list(video.frames_at(TIMES_S))
    assert [frame.index for frame in shown] == [0, 4, 4, 15, 22, 22, 29]
    assert fetched == [[0, 4, 15, 22, 29]]
    assert all(np.array_equal(frame.rgb, truth[frame.index]) for frame in shown)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda truth, index: truth[max(index - 1, 0)], "differs from PyAV's"),
        (lambda truth, index: truth[index] // 2, "differs from PyAV's"),
        (lambda truth, index: truth[index][:, ::-1], "differs from PyAV's"),
        (lambda truth, index: np.rot90(truth[index]), "has the shape"),
    ],
)
def test_other_pictures_are_refused(reel, wrong, words):
    truth = decode_everything(reel)[1]

    def fetch(indices):
        return np.stack([wrong(truth, index) for index in indices])

    with checked(reel, fetch) as video, pytest.raises(VideoError, match=f"other.*{words}"):
        list(video.frames_at(TIMES_S))


@pytest.mark.parametrize(
    ("module", "open_video", "package"),
    [
        (decord, decord.open_decord, "decord"),
        (torchcodec, torchcodec.open_torchcodec, "torchcodec"),
    ],
)
def test_a_missing_package_is_one_sentence(reel, monkeypatch, module, open_video, package):
    def absent(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(module, "import_module", absent)
    with (
        pytest.raises(MissingDependencyError, match=f"--decoder {package} needs .*pyav"),
        open_video(reel),
    ):
        pass


class FakeDecord:
    """decord's module and reader in one, with a table of frames that can be wrong."""

    class DECORDError(Exception):
        pass

    def __init__(self, frames=30, late_s=0.0):
        self.frames, self.late_s = frames, late_s

    def VideoReader(self, path, num_threads):  # noqa: N802 - decord's name
        return self

    def __len__(self):
        return self.frames

    def get_frame_timestamp(self, indices):
        starts = np.arange(self.frames) / 10
        starts[20:] += self.late_s
        return np.stack([starts, starts + 0.1], axis=1)


@pytest.mark.parametrize(
    ("fake", "words"),
    [(FakeDecord(frames=29), "counts 29 frames"), (FakeDecord(late_s=0.05), "timestamps")],
)
def test_decord_is_refused_where_its_table_differs(reel, monkeypatch, fake, words):
    monkeypatch.setattr(decord, "_import_decord", lambda: fake)
    with pytest.raises(VideoError, match=words), decord.open_decord(reel):
        pass


class FakeTorchcodec:
    """torchcodec's reader; its frames can carry another time than the one asked for."""

    def __init__(self, frames=30, late_s=0.0):
        self.frames, self.late_s = frames, late_s

    def __call__(self, path, **options):
        return self

    def __len__(self):
        return self.frames

    def get_frames_at(self, indices):
        import torch

        times = torch.tensor(indices, dtype=torch.float64) / 10 + self.late_s
        return type("Batch", (), {"pts_seconds": times, "data": torch.zeros(1)})()


@pytest.mark.parametrize(
    ("fake", "words"),
    [(FakeTorchcodec(frames=31), "counts 31 frames"), (FakeTorchcodec(late_s=0.1), "another time")],
)
def test_torchcodec_is_refused_where_its_frames_differ(reel, monkeypatch, fake, words):
    monkeypatch.setattr(torchcodec, "_import_decoder", lambda: fake)
    with pytest.raises(VideoError, match=words), torchcodec.open_torchcodec(reel) as video:
        list(video.frames_at(TIMES_S))
