"""What the doctor says of machines that lack something."""

import errno
import os
import shutil
import socket
import sys
from collections import namedtuple
from types import SimpleNamespace

import pytest

from basket import doctor
from basket.errors import BasketError
from basket.extract.decode import DECODERS


def checks_of(part, *arguments):
    return {check.name: check for check in part(*arguments)}


def test_a_decoder_that_does_not_load_is_a_problem_only_where_it_is_needed(monkeypatch):
    for package in ("av", "decord"):
        monkeypatch.setitem(sys.modules, package, None)
    found = checks_of(doctor._decoders)
    assert (found["decoder pyav"].state, found["decoder pyav"].advice) == (
        "problem",
        "pip install av",
    )
    assert found["decoder decord"].state == "note"
    assert "pyav does everything" in found["decoder decord"].advice
    assert list(doctor._codecs()) == []


def test_missing_codecs_are_named(monkeypatch):
    monkeypatch.setattr("av.codecs_available", {"h264", "vp9"})
    check = checks_of(doctor._codecs)["codecs"]
    assert check.state == "note"
    assert check.found == "PyAV reads h264, vp9"
    assert check.advice.startswith("hevc, av1, mpeg4 would need")


def test_fewer_cores_than_there_are_is_told(monkeypatch):
    monkeypatch.setattr("basket.cores.usable_cores", lambda: 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    check = checks_of(doctor._processor)["CPU"]
    assert (check.state, check.found) == ("note", "1 of 8 cores may be used")


def test_each_gpu_is_listed_with_its_memory_and_precision(monkeypatch):
    import torch

    card = SimpleNamespace(name="A card", total_memory=80 << 30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _index: card)
    # It can be made to compute in bf16, but has no circuits for it.
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9 - 2 * index, 0))
    found = checks_of(doctor._graphics)
    assert list(found) == ["GPU 0", "GPU 1"]
    assert found["GPU 0"].found == "A card, 80 GiB, bf16"
    assert found["GPU 1"].found == "A card, 80 GiB, fp16"


def test_decoders_of_other_packages_are_tried_as_their_entry_points_say(monkeypatch):
    theirs = {"theirs": "basket.extract.decode.pyav:open_pyav", "gone": "no_such_module:open"}
    monkeypatch.setattr(DECODERS, "_third_parties", theirs)
    found = checks_of(doctor._decoders)
    assert found["decoder theirs"].state == "ok"
    assert found["decoder gone"].state == "note"
    assert "no_such_module:open cannot be imported" in found["decoder gone"].found


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch):
    assert checks_of(doctor._disk, tmp_path)["locks"].state == "ok"

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    check = checks_of(doctor._disk, tmp_path)["locks"]
    assert (check.state, check.found) == ("note", f"do not work in {tmp_path}")


def test_a_machine_without_torch_is_told_by_the_packages_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert list(doctor._graphics()) == []


def test_little_disk_and_a_read_only_cache_are_told(monkeypatch, tmp_path):
    usage = namedtuple("usage", "total used free")(0, 0, 1 << 30)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage)
    monkeypatch.setattr(os, "access", lambda _folder, _mode: False)
    found = checks_of(doctor._disk, tmp_path / "cache")
    assert found["disk"].state == "note"
    assert "1 GiB free" in found["disk"].found
    assert found["cache"].found == f"{tmp_path} is read-only"
    assert "hard links" not in found


def test_a_folder_that_refuses_files_whatever_its_permissions_say(monkeypatch, tmp_path):
    def refuses(*_args, **_options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(doctor.tempfile, "TemporaryDirectory", refuses)
    check = checks_of(doctor._disk, tmp_path)["cache"]
    assert check.state == "note"
    assert check.found == f"nothing can be written in {tmp_path}: Read-only file system"


def test_a_file_system_without_hard_links_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "supports_hard_links", lambda _folder: False)
    found = checks_of(doctor._disk, tmp_path)
    assert "lock and rename" in found["hard links"].advice
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def hub_constants(monkeypatch, tmp_path):
    from huggingface_hub import constants

    store = tmp_path / "store"
    (store / "models--me--x").mkdir(parents=True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(store))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return constants


def test_the_hub_is_reached_at_the_port_of_its_address(hub_constants, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(hub_constants, "ENDPOINT", f"http://127.0.0.1:{port}/mirror")
        check = checks_of(doctor._hub, True)["model hub"]
    assert check.state == "ok"
    assert "127.0.0.1 can be reached; 1 models in" in check.found


def test_a_hub_that_is_away_or_switched_off_has_a_way_around(hub_constants, monkeypatch):
    def refuse(_address, timeout):
        raise OSError("no route")

    monkeypatch.setattr(socket, "create_connection", refuse)
    check = checks_of(doctor._hub, True)["model hub"]
    assert check.state == "note"
    assert "--weights DIR" in check.advice
    assert list(doctor._hub(False)) == []
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in checks_of(doctor._hub, False)["model hub"].found


def test_only_problems_end_the_command():
    note = doctor.Check("a", "note", "x", "y")
    doctor.worst([note])
    with pytest.raises(BasketError, match="cannot run basket: b: gone"):
        doctor.worst([note, doctor.Check("b", "problem", "gone", "get it")])


def test_the_examination_takes_a_path_in_words(tmp_path):
    found = {check.name for check in doctor.examine(str(tmp_path / "c"), hub=False)}
    assert {"packages", "decoder pyav", "disk"} <= found
