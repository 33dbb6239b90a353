"""Shared memory: seen by another process, and gone with the last of them."""

import multiprocessing
import os
import signal
import sys
from pathlib import Path

import pytest

from basket.extract.shared_bytes import SharedBytes

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is named memory")


@pytest.fixture(params=[pytest.param("unnamed", marks=linux), "named"])
def kind(request, monkeypatch):
    """As on Linux, and as where the system has no memory without a name."""
    if request.param == "named":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    return request.param


def answer(name: str) -> None:
    block = SharedBytes.attach(name)
    block.buf[1] = block.buf[0] + 1
    block.close()


def test_another_process_reads_and_writes_it(kind):
    block = SharedBytes.create(4096)
    try:
        block.buf[0] = 41
        process = multiprocessing.get_context("spawn").Process(target=answer, args=(block.name,))
        process.start()
        process.join()
        assert block.buf[1] == 42
        assert block.size >= 4096
    finally:
        block.close()


def test_it_is_gone_once_closed(kind):
    block = SharedBytes.create(4096)
    block.close()
    with pytest.raises(OSError):
        SharedBytes.attach(block.name)


@linux
def test_whoever_let_go_of_it_holds_no_descriptor():
    before = sorted(Path("/proc/self/fd").iterdir())
    block = SharedBytes.create(4096)
    seen = SharedBytes.attach(block.name)
    seen.close()
    block.close()
    with pytest.raises(OSError):
        SharedBytes.create(1 << 62)
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_a_name_is_not_used_again(kind):
    first = SharedBytes.create(4096)
    first.close()
    second = SharedBytes.create(8192)
    second.close()
    assert first.name != second.name


def hold_until_killed(sender) -> None:
    block = SharedBytes.create(4096)
    sender.send(block.name)
    signal.pause()


@linux
def test_a_kill_leaves_nothing_behind():
    receiver, sender = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=hold_until_killed, args=(sender,), daemon=True)
    process.start()
    block = SharedBytes.attach(receiver.recv())
    process.kill()
    process.join()
    block.buf[0] = 1  # who still holds it may still use it
    block.close()
    with pytest.raises(OSError):
        SharedBytes.attach(block.name)
