"""``--hash-sources``: the content of a file decides, where size and time would be wrong."""

import hashlib
import os

import pytest

from basket import extract_features, open_cache
from basket.cli import run
from basket.extract.decoding import Source
from basket.extract.source_hash import content_of, recorded_hash


@pytest.fixture
def reel(tmp_path, make_video):
    """A video that ends in eight bytes which no decoder looks at."""
    path = make_video(tmp_path / "videos" / "a.mp4", frames=20)
    with path.open("ab") as file:
        file.write(b"\0\0\0\x10free" + bytes(8))
    return path


@pytest.fixture
def extracting(reel, tmp_path):
    """Extracts the video; returns how many were made."""

    def extract(**options):
        summary = extract_features(
            [reel.parent], models=["motion"], cache=tmp_path / "cache", workers=1, **options
        )
        assert summary.failed == {}
        return summary.done

    return extract


def change_unseen(path):
    """Other content, and the same size and time."""
    stat = path.stat()
    data = path.read_bytes()
    path.write_bytes(data[:-8] + bytes(b ^ 1 for b in data[-8:]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_touched_file_is_left_and_an_unseen_replacement_is_noticed(extracting, reel):
    assert extracting(hash_sources=True) == 1
    assert extracting(hash_sources=True) == 0
    os.utime(reel, ns=(1, 1))
    assert extracting(hash_sources=True) == 0
    change_unseen(reel)
    assert extracting(hash_sources=True) == 1
    assert extracting(hash_sources=True) == 0


def test_without_it_size_and_time_decide(extracting, reel):
    assert extracting() == 1
    change_unseen(reel)
    assert extracting() == 0
    os.utime(reel, ns=(1, 1))
    assert extracting() == 1


def test_where_no_hash_was_recorded_size_and_time_decide(extracting, reel):
    assert extracting() == 1
    assert extracting(hash_sources=True) == 0
    os.utime(reel, ns=(1, 1))
    assert extracting(hash_sources=True) == 1


def test_the_command_records_the_hash_of_the_file(reel, tmp_path, capsys):
    command = ["extract", str(reel.parent), "--model", "motion", "--workers", "1", "-q"]
    assert run([*command, "--hash-sources", "--cache", str(tmp_path / "c")]) == 0
    expected = hashlib.sha256(reel.read_bytes()).hexdigest()
    assert open_cache(tmp_path / "c")["motion"].row("a.mp4").provenance["source_sha256"] == expected


def test_a_file_that_changed_while_it_was_decoded_records_nothing(reel):
    stat = reel.stat()
    assert "source_sha256" in recorded_hash(reel, stat.st_size, stat.st_mtime_ns)
    assert recorded_hash(reel, stat.st_size, stat.st_mtime_ns - 1) == {}
    assert recorded_hash(reel.with_name("gone.mp4"), -1, -1) == {}


def test_what_is_no_file_equals_no_recorded_hash(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert content_of(Source("pipe", tmp_path / "pipe"))() == ""
    assert content_of(Source("gone", tmp_path / "gone"))() == ""
