"""Shards from elsewhere: well-formed HDF5 that is made to mislead is refused with a sentence."""

import h5py
import numpy as np
import pytest

from basket.cache.shard import ShardFile
from basket.errors import FormatVersionError, IntegrityError


def replaced(file, name, **options):
    """Write a data set anew with other options, and the same content unless told otherwise."""
    content = options.pop("data", None)
    content = file[name][...] if content is None else content
    del file[name]
    file.create_dataset(name, data=content, **options)


def edit_videos(column, value):
    def edit(file):
        table = file["videos"][...]
        table[column][0] = value
        file["videos"][...] = table

    return edit


def external_link(file):
    del file["features/pooled"]
    file["features/pooled"] = h5py.ExternalLink("/etc/passwd", "/x")


def external_group(file):
    del file["features"]
    file["features"] = h5py.ExternalLink("other.h5", "/features")


def soft_link(file):
    file.move("features/pooled", "features/layer-5")
    file["features/pooled"] = h5py.SoftLink("/features/layer-5")


def soft_link_to_table(file):
    del file["segments"]
    file["segments"] = h5py.SoftLink("/videos")


def virtual(file):
    shape = file["features/pooled"].shape
    del file["features/pooled"]
    layout = h5py.VirtualLayout(shape, "<f2")
    layout[...] = h5py.VirtualSource("other.h5", "x", shape=shape)
    file.create_virtual_dataset("features/pooled", layout)


def external_storage(file):
    data = file["features/pooled"][...]
    del file["features/pooled"]
    file.create_dataset(
        "features/pooled", data.shape, "<f2", external=[("stolen.bin", 0, data.nbytes)]
    )


def huge_and_unwritten(file):
    del file["features/pooled"]
    file.create_dataset("features/pooled", (2**45, 6), "<f2", chunks=(1024, 6), fletcher32=True)


def with_id_type(file, kind):
    fields = file["videos"].dtype.fields
    return [(name, kind if name == "video_id" else fields[name][0]) for name in fields]


def huge_text(file):
    kind = with_id_type(file, h5py.string_dtype("utf-8", 2**20))
    replaced(file, "videos", data=np.zeros(2, kind), chunks=(1,), fletcher32=True)


def unwritten_chunk(file):
    shape = file["features/pooled"].shape
    del file["features/pooled"]
    dataset = file.create_dataset("features/pooled", shape, "<f2", chunks=(3, 6), fletcher32=True)
    dataset[:3] = 1.0


def variable_length(file):
    table = file["videos"][...].astype(with_id_type(file, h5py.string_dtype()))
    replaced(file, "videos", data=table, chunks=True, fletcher32=True)


def other_columns(file):
    table = file["videos"][...]
    names = [f"x{i}" for i in range(len(table.dtype.names))]
    table.dtype.names = names
    replaced(file, "videos", data=table, chunks=True, fletcher32=True)


def not_utf8(file):
    edit_videos("video_id", b"caf\xe9")(file)


CASES = {
    "external link": external_link,
    "external group": external_group,
    "soft link": soft_link,
    "soft link to a table": soft_link_to_table,
    "virtual layout": virtual,
    "external storage": external_storage,
    "huge and unwritten": huge_and_unwritten,
    "huge text": huge_text,
    "unwritten chunk": unwritten_chunk,
    "variable-length text": variable_length,
    "other columns": other_columns,
    "unknown filter": lambda f: replaced(f, "features/pooled", compression=1, fletcher32=True),
    "no checksum": lambda f: replaced(f, "features/pooled", chunks=(2, 6)),
    "contiguous": lambda f: replaced(f, "features/pooled"),
    "wrong type": lambda f: replaced(
        f, "features/pooled", data=np.zeros((6, 6), "<f4"), chunks=(6, 6), fletcher32=True
    ),
    "wrong rank": lambda f: replaced(
        f, "features/pooled", data=np.zeros(36, "<f2"), chunks=(36,), fletcher32=True
    ),
    "missing rows": lambda f: replaced(
        f, "features/pooled", data=np.zeros((5, 6), "<f2"), chunks=(5, 6), fletcher32=True
    ),
    "no features": lambda f: f.__delitem__("features"),
    "group for a stream": lambda f: f.create_group("features/pooled@2"),
    "group for a table": lambda f: (f.__delitem__("segments"), f.create_group("segments")),
    "extra member": lambda f: f.create_group("more"),
    "odd stream": lambda f: f.move("features/pooled", "features/a b"),
    "id that climbs": edit_videos("video_id", b"../../etc/passwd"),
    "absolute id": edit_videos("video_id", b"/etc/passwd"),
    "empty id": edit_videos("video_id", b""),
    "id with a NUL": edit_videos("video_id", b"a\0b"),
    "id with a backslash": edit_videos("video_id", b"a\\b"),
    "id twice": edit_videos("video_id", b"b.mp4"),
    "id not UTF-8": not_utf8,
    "offset not zero": edit_videos("offset", 1),
    "offset falling": edit_videos("offset", 99),
    "negative offset": edit_videos("offset", -4),
    "failed with features": edit_videos("status", 1),
    "unknown status": edit_videos("status", 7),
    "absurd commit time": edit_videos("committed_ns", 2**63 - 1),
    "infinite duration": edit_videos("duration_s", np.inf),
    "provenance not JSON": edit_videos("provenance", b"{"),
    "provenance not an object": edit_videos("provenance", b"[]"),
    "foreign format": lambda f: f.attrs.__setitem__("format", np.bytes_(b"other")),
    "no format": lambda f: f.attrs.__delitem__("format"),
    "format of any length": lambda f: f.attrs.__setitem__("format", "basket-shard"),
    "format in a list": lambda f: f.attrs.__setitem__("format", [np.bytes_(b"basket-shard")]),
    "version no number": lambda f: f.attrs.__setitem__("version", np.bytes_(b"1")),
}


@pytest.fixture(scope="module")
def image(making):
    ids = ["a" * 20 + ".mp4", "b.mp4"]
    return making.shard([(making.row(i), making.features(i)) for i in ids], making.streams)


def read_all(path):
    with ShardFile(path) as shard:
        shard.index()
        for stream, dim in (("pooled", 6), ("layer-4", 3)):
            shard.features(stream, 0, 6, dim=dim)
        shard.segments(0, 6)


@pytest.mark.parametrize("case", CASES)
def test_a_shard_made_to_mislead_is_refused(case, image, tmp_path):
    path = tmp_path / "x.h5"
    path.write_bytes(image)
    read_all(path)
    with h5py.File(path, "r+") as file:
        CASES[case](file)
    with pytest.raises(IntegrityError, match=r"shard x\.h5"):
        read_all(path)


def test_features_are_checked_even_where_the_index_is_not_read(image, tmp_path):
    path = tmp_path / "x.h5"
    path.write_bytes(image)
    with h5py.File(path, "r+") as file:
        virtual(file)
    with ShardFile(path) as shard, pytest.raises(IntegrityError, match="chunks of its own file"):
        shard.features("pooled", 0, 1, dim=6)


def test_rows_beyond_the_end_and_other_widths_are_refused(image):
    with ShardFile(image) as shard:
        for start, stop, dim in [(0, 7, 6), (-1, 2, 6), (3, 2, 6), (0, 6, 5)]:
            with pytest.raises(IntegrityError):
                shard.features("pooled", start, stop, dim=dim)
        with pytest.raises(IntegrityError):
            shard.segments(0, 7)


def test_another_version_of_the_format_is_told(image, tmp_path):
    path = tmp_path / "x.h5"
    path.write_bytes(image)
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = np.int64(3)
    with pytest.raises(FormatVersionError, match="version 3"):
        ShardFile(path)
