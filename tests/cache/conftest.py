"""Made-up videos and feature sets for the tests of the cache."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from child_processes import exit_status, start

from basket.cache import FeatureSet, FeatureSetSpec, VideoFeatures, VideoRow, open_cache, verify
from basket.cache.rows import index_of
from basket.cache.shard_encoding import encode_indexed

STREAMS = {"pooled": 6, "layer-4": 3}


class Making:
    """Makes entries whose content follows from their id, so that any reader can check them."""

    streams = STREAMS

    @staticmethod
    def spec(**changes: object) -> FeatureSetSpec:
        values = {
            "family": "motion",
            "backbone": "motion",
            "preprocessing": {},
            "plan": {"name": "dense"},
            "streams": STREAMS,
        }
        return FeatureSetSpec(**(values | changes))

    @staticmethod
    def features(
        video_id: str, segments: int = 3, *, streams: dict[str, int] | None = None, shift: int = 0
    ) -> VideoFeatures:
        rng = np.random.default_rng([shift, *video_id.encode()])
        start_s = np.arange(segments) * 2.0
        return VideoFeatures(
            features={
                stream: rng.standard_normal((segments, dim)).astype(np.float16)
                for stream, dim in (streams or STREAMS).items()
            },
            start_s=start_s,
            end_s=start_s + 2.0,
            frames_valid=rng.integers(1, 16, segments).astype(np.int32),
        )

    @staticmethod
    def row(video_id: str, **changes: object) -> VideoRow:
        values = {
            "source_bytes": 1000,
            "source_mtime_ns": 5,
            "duration_s": 60.5,
            "fps": 29.97,
            "width_px": 1280,
            "height_px": 720,
            "provenance": {"decoder": "pyav", "device": "cpu"},
        }
        return VideoRow(video_id, **(values | changes))

    def failed(self, video_id: str, reason: str = "moov atom not found", **changes: object):
        return self.row(video_id, status="failed", reason=reason, **changes)

    @staticmethod
    def shard(
        entries: Sequence[tuple[VideoRow, VideoFeatures | None]],
        streams: Mapping[str, int] = STREAMS,
        *,
        feature_set: str = "",
        committed_ns: int = 0,
    ) -> bytes:
        """The bytes of a shard."""
        index = index_of(entries, streams, feature_set=feature_set, committed_ns=committed_ns)
        return encode_indexed(index, [features for _, features in entries if features is not None])

    def fill(self, feature_set: FeatureSet, ids: list[str], *, per_shard: int = 16) -> None:
        with feature_set.writer() as writer:
            for number, video_id in enumerate(ids, start=1):
                writer.add(self.row(video_id), self.features(video_id))
                if number % per_shard == 0:
                    writer.flush()


@pytest.fixture(scope="session")
def making() -> Making:
    return Making()


@pytest.fixture
def feature_set(tmp_path: Path, making: Making) -> FeatureSet:
    return open_cache(tmp_path / "cache", create=True).feature_set(making.spec())


def same_features(a: VideoFeatures, b: VideoFeatures) -> bool:
    """Whether two videos' features are bit for bit the same."""
    return (
        a.features.keys() == b.features.keys()
        and all(
            a.features[s].dtype == np.float16
            and np.array_equal(a.features[s].view(np.uint16), b.features[s].view(np.uint16))
            for s in b.features
        )
        and all(
            np.array_equal(getattr(a, name), getattr(b, name))
            and getattr(a, name).dtype == getattr(b, name).dtype
            for name in ("start_s", "end_s", "frames_valid")
        )
    )


@pytest.fixture(scope="session")
def same() -> Callable[[VideoFeatures, VideoFeatures], bool]:
    """The function :func:`same_features`."""
    return same_features


@pytest.fixture
def reopened(feature_set: FeatureSet) -> Callable[[], FeatureSet]:
    """Opens the feature set as another process would see it now."""
    return lambda: open_cache(feature_set.path.parent)[feature_set.name]


@pytest.fixture(scope="session")
def in_child() -> Callable[[Callable[[], object]], int]:
    """Runs an action in a forked process; its exit status. Skips where nothing can be forked."""
    if not hasattr(os, "fork"):
        pytest.skip("needs os.fork")
    return lambda action: exit_status(start(action))


@pytest.fixture(scope="session")
def extracting(making: Making) -> Callable[..., None]:
    """What an extraction does: every id that is not done is made, four to a shard."""

    def extract(cache: Path, ids: list[str], *, name: str = "motion", full: bool = False) -> None:
        feature_set = open_cache(cache)[name]
        with feature_set.writer() as writer:
            for number, video_id in enumerate(ids):
                if not feature_set.is_done(video_id, 1000, 5):
                    writer.add(making.row(video_id), making.features(video_id))
                if number % 4 == 3 and not full:
                    writer.flush()

    return extract


@pytest.fixture(scope="session")
def complete(making: Making) -> Callable[..., None]:
    """Asserts that nothing is lost, doubled or changed, by every way of reading and checking."""

    def check(feature_set: FeatureSet, ids: list[str]) -> None:
        report = verify(feature_set, deep=True)
        assert report.problems == ()
        assert report.ok == len(ids)
        assert feature_set.damaged == {}
        assert feature_set.video_ids == tuple(sorted(ids))
        seen: list[str] = []
        for block, ragged in feature_set.stream():
            seen += block
            for video_id, values in zip(block, ragged, strict=True):
                assert (values == making.features(video_id).features["pooled"]).all()
        assert sorted(seen) == sorted(ids)
        for video_id in ids:
            assert same_features(feature_set.read(video_id), making.features(video_id))
            assert feature_set.row(video_id) == making.row(video_id)

    return check
