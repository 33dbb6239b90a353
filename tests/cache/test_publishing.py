"""Commits beside the work: what fails there is told at the next call, and nothing is given up."""

import errno
import os
import threading

import pytest

from basket.cache import commit, durable, verify
from basket.cache.publishing import MAX_IN_FLIGHT
from basket.errors import CacheError

IDS = [f"v{i:03}.mp4" for i in range(16 * 6 + 3)]


def fill(writer, making, ids):
    """Add every video, also those during whose adding an earlier commit is found to have failed."""
    told = []
    for video_id in ids:
        try:
            writer.add(making.row(video_id), making.features(video_id))
        except CacheError as error:
            told.append(error)
    return told


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", ["write", "fsync", "link", "close"])
def test_a_call_that_fails_beside_the_work_is_told_and_loses_nothing(
    call, code, feature_set, reopened, making, monkeypatch, complete
):
    real = getattr(os, call)
    lock = threading.Lock()
    calls = 0

    def fake(*args, **kwargs):
        nonlocal calls
        with lock:
            calls += 1
            fails = calls % 7 == 0
        if fails:
            raise OSError(code, os.strerror(code))
        return real(*args, **kwargs)

    writer = feature_set.writer(name="mine")
    with monkeypatch.context() as patch:
        patch.setattr(durable.os, call, fake)
        told = fill(writer, making, IDS)
        try:
            writer.flush()
        except CacheError as error:
            told.append(error)
    assert told or calls < 7 or call in ("write", "close")  # a manifest's write is no error
    assert all("intact" in str(error) for error in told)
    assert verify(reopened()).problems == ()
    writer.flush()
    assert writer.n_buffered == 0
    complete(reopened(), IDS)


def test_no_more_than_a_few_are_in_flight_and_no_thread_outlives_a_flush(
    feature_set, reopened, making, monkeypatch, complete
):
    before = threading.active_count()
    running, most = set(), []

    def on_step(name):
        me = threading.get_ident()
        if name == "tmp-created":
            running.add(me)
            most.append(len(running))
        elif name == "manifest-written":
            running.discard(me)

    monkeypatch.setattr(commit, "on_step", on_step)
    with feature_set.writer() as writer:
        fill(writer, making, IDS)
    assert max(most) <= MAX_IN_FLIGHT
    assert threading.active_count() == before
    complete(reopened(), IDS)


def test_the_writers_own_feature_set_sees_what_was_committed_beside(feature_set, making):
    with feature_set.writer() as writer:
        fill(writer, making, IDS)
    assert feature_set.video_ids == tuple(IDS)
