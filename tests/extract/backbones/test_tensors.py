"""The digest of weights: what changes it, what must not."""

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import save_file

from basket.errors import WeightsError
from basket.extract.backbones.tensors import digest_tensors, index_tensors, read_tensor

TENSORS = {
    "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "a.bias": np.arange(3, dtype=np.float16),
    "empty": np.zeros((0, 2), dtype=np.float32),
    "b": np.arange(6, dtype=np.int64),
}


def digest(tmp_path, *parts, name="weights"):
    files = []
    for number, part in enumerate(parts):
        file = tmp_path / f"{name}-{number}.safetensors"
        save_file(part, file)
        files.append(file)
    return digest_tensors(index_tensors(files))


@pytest.fixture
def reference(tmp_path):
    return digest(tmp_path, TENSORS, name="reference")


def test_it_ignores_sharding_file_order_and_metadata(tmp_path, reference):
    first = {name: TENSORS[name] for name in ("b", "a.bias")}
    second = {name: TENSORS[name] for name in ("empty", "a.weight")}
    assert digest(tmp_path, first, second) == reference
    assert digest(tmp_path, second, first) == reference
    save_file(TENSORS, tmp_path / "noted.safetensors", metadata={"format": "pt"})
    assert digest_tensors(index_tensors([tmp_path / "noted.safetensors"])) == reference


@pytest.mark.parametrize(
    "change",
    [
        {"a.weight": TENSORS["a.weight"] + np.float32(1e-6)},
        {"a.weight": TENSORS["a.weight"].reshape(4, 3)},
        {"a.bias": TENSORS["a.bias"].view(np.int16)},
        {"a.bias": TENSORS["a.bias"][::-1].copy()},
        {"empty": np.zeros((2, 0), dtype=np.float32)},
        {"extra": np.zeros(1, dtype=np.float32)},
    ],
)
def test_every_change_to_a_tensor_changes_it(tmp_path, reference, change):
    assert digest(tmp_path, {**TENSORS, **change}) != reference


def test_a_new_name_or_a_swap_of_values_changes_it(tmp_path, reference):
    renamed = {name.replace("b", "c"): value for name, value in TENSORS.items()}
    assert digest(tmp_path, renamed) != reference
    one, other = np.zeros(2, dtype=np.float32), np.ones(2, dtype=np.float32)
    assert digest(tmp_path, {"x": one, "y": other}) != digest(tmp_path, {"x": other, "y": one})


def test_long_tensors_are_read_to_the_end(tmp_path):
    long = np.zeros(3_000_000, dtype=np.float32)  # several pieces
    before = digest(tmp_path, {"long": long})
    long[-1] = 1
    assert digest(tmp_path, {"long": long}) != before


def test_reading_gives_the_stored_values(tmp_path):
    save_file(TENSORS, tmp_path / "w.safetensors")
    index = index_tensors([tmp_path / "w.safetensors"])
    np.testing.assert_array_equal(read_tensor(index["a.weight"]).numpy(), TENSORS["a.weight"])
    assert index["a.weight"].shape == (3, 4) and index["a.weight"].dtype == "F32"


def header(document) -> bytes:
    text = json.dumps(document).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\x01",
        struct.pack("<Q", 1 << 60) + b"{}",
        struct.pack("<Q", 4) + b"[1]]",
        header([1]),
        header({"a": 3}),
        header({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}) + b"\x00" * 8,
        header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}) + b"\x00" * 8,
        header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [-40, 8]}}) + b"\x00" * 8,
    ],
)
def test_a_damaged_file_is_refused_in_one_sentence(tmp_path, content):
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged or no safetensors file") as caught:
        index_tensors([file])
    assert "\n" not in str(caught.value)


def test_a_git_lfs_pointer_is_recognised(tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")
    with pytest.raises(WeightsError, match="git lfs pull"):
        index_tensors([file])


def test_overlapping_shards_are_refused(tmp_path):
    for name in ("one", "two"):
        save_file(TENSORS, tmp_path / f"{name}.safetensors")
    with pytest.raises(WeightsError, match="both hold"):
        index_tensors([tmp_path / "one.safetensors", tmp_path / "two.safetensors"])
