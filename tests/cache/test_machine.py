"""A machine that does to a cache whatever people, schedulers and disks do, in any order."""

import shutil
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from child_processes import DIED, dying_at, exit_status, needs_fork, start
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from basket.cache import open_cache, pack, repair, verify
from basket.cache.commit import FAILPOINTS
from basket.cache.packing import PACK_FAILPOINTS
from basket.cache.repairs import REPAIR_FAILPOINTS

IDS = [f"{i}.mp4" for i in range(7)]
SUBSETS = st.sets(st.sampled_from(IDS), min_size=1)
TARGET = 1 << 20

pytestmark = needs_fork


class CacheMachine(RuleBasedStateMachine):
    """What is known: each video's version, and the row that was last seen committed for it.

    Content follows from id and version, so that features of one version can never pass for those
    of another. Damage takes rows away until they are made again; nothing else may.
    """

    making = None  # set below: a hypothesis machine takes no fixtures
    same = None

    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp(prefix="basket-machine-"))
        open_cache(self.folder / "cache", create=True).feature_set(self.making.spec())
        self.version = dict.fromkeys(IDS, 1)
        self.seen: dict[str, tuple[int, str]] = {}
        self.damaged = False

    def teardown(self):
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def open(self):
        return open_cache(self.folder / "cache")["motion"]

    def add(self, writer, feature_set, video_id, failing):
        version = self.version[video_id]
        source = {"source_bytes": 1000 + version, "source_mtime_ns": 10 + version}
        before = feature_set.rows.get(video_id)
        attempts = 1 + (before.attempts if before else 0)
        if video_id in failing:
            writer.add(self.making.failed(video_id, "flaky", attempts=attempts, **source))
        else:
            features = self.making.features(video_id, 1 + version % 3, shift=version)
            writer.add(self.making.row(video_id, attempts=attempts, **source), features)

    def extraction(self, ids, failing, retry, per_shard):
        feature_set = self.open()
        with feature_set.writer() as writer:
            for number, video_id in enumerate(sorted(ids)):
                version = self.version[video_id]
                if not feature_set.is_done(
                    video_id, 1000 + version, 10 + version, retry_failed=retry
                ):
                    self.add(writer, feature_set, video_id, failing)
                if number % per_shard == per_shard - 1:
                    writer.flush()

    def dies(self, step, nth, action):
        """Do something in a process of its own that ends at the n-th passing of a step."""
        assert exit_status(start(dying_at(step, action, nth=nth))) in (0, DIED)

    def look(self, ids=(), failing=()):
        """Take over what an extraction may have changed; all else must be as it was."""
        rows = self.open().rows
        for video_id in IDS:
            row = rows.get(video_id)
            now = None if row is None else (row.source_bytes - 1000, row.status)
            before = self.seen.get(video_id)
            if now == before:
                continue
            assert video_id in ids or self.damaged, (video_id, before, now)
            if now is None:
                continue  # taken by damage; it is asked for again below
            assert self.damaged or before is None or now[0] == self.version[video_id], video_id
            self.seen[video_id] = now

    @rule(ids=SUBSETS, failing=SUBSETS | st.just(set()), retry=st.booleans(),
          per_shard=st.integers(1, 4))  # fmt: skip
    def extract(self, ids, failing, retry, per_shard):
        self.extraction(ids, failing, retry, per_shard)
        self.look(ids, failing)
        rows = self.open().rows
        for video_id in ids:  # whatever happened before, all of these have a row of the file now
            assert rows[video_id].source_bytes - 1000 == self.version[video_id]
            if video_id not in failing and (retry or rows[video_id].status == "ok"):
                assert rows[video_id].status == "ok"

    @rule(ids=SUBSETS, step=st.sampled_from(FAILPOINTS), nth=st.integers(1, 3))
    def extract_and_die(self, ids, step, nth):
        self.dies(step, nth, lambda: self.extraction(ids, (), True, 2))
        self.look(ids)

    @rule(ids=SUBSETS)
    def two_writers_make_the_same(self, ids):
        sets = [self.open(), self.open()]
        writers = [each.writer() for each in sets]
        for feature_set, writer in zip(sets, writers, strict=True):
            for video_id in sorted(ids):
                version = self.version[video_id]
                if not feature_set.is_done(video_id, 1000 + version, 10 + version):
                    self.add(writer, feature_set, video_id, ())
        for writer in reversed(writers):
            writer.flush()
        self.look(ids)

    @rule(ids=SUBSETS)
    def source_files_are_replaced(self, ids):
        for video_id in ids:
            self.version[video_id] += 1

    @rule(video_id=st.sampled_from(IDS))
    def source_file_is_restored(self, video_id):
        self.version[video_id] = max(1, self.version[video_id] - 1)

    @rule(delete=st.booleans())
    def pack(self, delete):
        pack(self.open(), target_bytes=TARGET, delete=delete)
        self.look()

    @rule(step=st.sampled_from([*FAILPOINTS, *PACK_FAILPOINTS]), delete=st.booleans())
    def pack_and_die(self, step, delete):
        self.dies(step, 1, lambda: pack(self.open(), target_bytes=TARGET, delete=delete))
        self.look()

    @rule()
    def repair(self):
        repair(self.open())
        self.look()
        assert verify(self.open(), deep=True).problems == ()
        rows = self.open().rows
        if self.damaged:  # what is gone is known to be gone, and no longer awaited
            self.seen = {video_id: at for video_id, at in self.seen.items() if video_id in rows}
        self.damaged = False

    @rule(step=st.sampled_from(REPAIR_FAILPOINTS))
    def repair_and_die(self, step):
        self.dies(step, 1, lambda: repair(self.open()))

    @precondition(lambda self: not self.damaged)
    @rule(
        which=st.integers(0, 99),
        where=st.integers(0, 9999),
        how=st.sampled_from(["flip", "cut", "gone"]),
    )
    def a_shard_is_damaged(self, which, where, how):
        shards = sorted((self.folder / "cache").rglob("shards/*.h5"))
        if not shards:
            return
        path = shards[which % len(shards)]
        content = bytearray(path.read_bytes())
        if how == "gone":
            path.unlink()
        else:
            position = where * len(content) // 10000
            content[position] ^= 1
            path.write_bytes(content if how == "flip" else content[:position])
        self.damaged = True

    @invariant()
    def nothing_is_lost_doubled_mixed_or_wrong(self):
        if not hasattr(self, "folder"):
            return
        now = self.open()
        for video_id, row in now.rows.items():
            version = row.source_bytes - 1000
            assert row.source_mtime_ns == 10 + version
            if row.status == "ok":
                expected = self.making.features(video_id, 1 + version % 3, shift=version)
                assert self.same(now.read(video_id), expected)
        if self.damaged:
            return
        assert {v: (r.source_bytes - 1000, r.status) for v, r in now.rows.items()} == self.seen
        ids = [video_id for block, _ in now.stream() for video_id in block]
        assert sorted(ids) == sorted(v for v, (_, status) in self.seen.items() if status == "ok")
        values = now.ragged(list(now.video_ids)).values
        assert np.isfinite(values).all()
        assert verify(now).problems == ()


@pytest.fixture
def machine(making, same, monkeypatch):
    # A clock that stands still: commits are ordered by what writers know, and every run is alike.
    clock = SimpleNamespace(time_ns=lambda: 1, monotonic=time.monotonic)
    monkeypatch.setattr("basket.cache.writer.time", clock)
    CacheMachine.making, CacheMachine.same = making, staticmethod(same)
    return CacheMachine


def run_machine(machine, examples, steps):
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_whatever_is_done_to_it(machine):
    run_machine(machine, examples=12, steps=14)


@pytest.mark.soak
def test_whatever_is_done_to_it_for_long(machine):
    run_machine(machine, examples=400, steps=40)
