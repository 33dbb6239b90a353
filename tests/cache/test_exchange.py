"""Out of the cache and back in, and features of other extractors, also hostile ones."""

import io
import json
import os
import zipfile
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from basket.cache import export, import_features, open_cache, pack, read_foreign_spec, verify
from basket.cache.foreign_spec import foreign_spec
from basket.errors import CacheError, UsageError
from basket.heads.pooling import parse_pooling
from basket.heads.streaming import pool_feature_set

IDS = [f"18-19/NBA/{i}_18_19.mp4" for i in range(7)]
SPEC = {
    "backbone": "slowfast/r50",
    "extractor": "mmaction2 1.2",
    "plan": {"window_s": 2.0, "stride_s": 3.0},
    "streams": {"pooled": 6},
    "id_suffix": ".mp4",
}


@pytest.fixture
def filled(feature_set, making):
    making.fill(feature_set, IDS, per_shard=3)
    with feature_set.writer() as writer:
        writer.add(making.failed("broken.mp4"))
    return feature_set


@pytest.fixture
def target(tmp_path):
    return open_cache(tmp_path / "target", create=True)


def taken_in(target, source, **changes):
    return import_features(source, target, foreign_spec(SPEC | changes))


@pytest.mark.parametrize("name", ["x.parquet", "x.npz", "folder"])
def test_what_goes_out_comes_back_the_same(filled, making, same, tmp_path, target, name):
    report = export(filled, tmp_path / name)
    assert (report.videos, report.segments) == (7, 21)
    assert report.size_bytes > 0
    assert not [p for p in tmp_path.iterdir() if p.name.endswith(".tmp")]
    result = taken_in(target, tmp_path / name, streams=making.streams)
    assert (result.imported, result.failed) == (7, {})
    back = target[result.feature_set]
    assert back.video_ids == tuple(IDS)
    for video_id in IDS:
        assert same(back.read(video_id), making.features(video_id))
    again = taken_in(target, tmp_path / name, streams=making.streams)
    assert (again.imported, again.already_there) == (0, 7)


def test_some_videos_and_one_stream(filled, making, tmp_path):
    export(filled, tmp_path / "x.npz", streams=["layer-4"], video_ids=IDS[2:4])
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        assert found["video_ids"].tolist() == IDS[2:4]
        assert found["offsets"].tolist() == [0, 3, 6]
        assert found["start_s"].tolist() == [0, 2, 4] * 2
        assert "pooled" not in found
        assert np.array_equal(found["layer-4"][:3], making.features(IDS[2]).features["layer-4"])
        assert json.loads(str(found["feature_set"]))["family"] == "motion"


def test_a_parquet_table_is_a_row_per_segment(filled, making, tmp_path):
    export(filled, tmp_path / "x.parquet")
    table = parquet.read_table(tmp_path / "x.parquet")
    assert table.num_rows == 21
    assert table.column("segment").to_pylist()[:4] == [0, 1, 2, 0]
    row = table.slice(4, 1).to_pylist()[0]
    assert row["video_id"] == IDS[1]
    assert np.array_equal(np.float16(row["pooled"]), making.features(IDS[1]).features["pooled"][1])


def test_an_export_never_overwrites_and_says_what_is_wrong(filled, tmp_path):
    (tmp_path / "x.npz").touch()
    with pytest.raises(UsageError, match="there already"):
        export(filled, tmp_path / "x.npz")
    with pytest.raises(UsageError, match="did you mean 'npz'"):
        export(filled, tmp_path / "y", format="np")
    with pytest.raises(UsageError, match="no stream"):
        export(filled, tmp_path / "y.npz", streams=["poold"])
    with pytest.raises(CacheError, match="'zzz'"):
        export(filled, tmp_path / "y.npz", video_ids=["zzz"])
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith((".y", "y"))] == []


def test_an_empty_feature_set_is_exported_as_such(feature_set, tmp_path):
    for name in ("x.parquet", "x.npz", "x"):
        assert export(feature_set, tmp_path / name).videos == 0


def test_a_folder_of_npy_files_with_times_by_the_plan(tmp_path, target, making):
    folder = tmp_path / "features" / "18-19" / "NBA"
    folder.mkdir(parents=True)
    values = making.features("a", 4).features["pooled"]
    np.save(folder / "1_18_19.npy", values.astype(np.float32))
    np.save(folder / "2_18_19.npy", values[0].astype(np.float64))  # one vector: one segment
    np.savez(folder / "3_18_19.npz", pooled=values, start_s=np.arange(4) + 0.5)
    result = taken_in(target, tmp_path / "features")
    assert result.imported == 3
    found = target[result.feature_set]
    assert found.video_ids == tuple(f"18-19/NBA/{i}_18_19.mp4" for i in (1, 2, 3))
    read = found.read("18-19/NBA/1_18_19.mp4")
    assert np.array_equal(read.features["pooled"], values)
    assert read.start_s.tolist() == [0, 3, 6, 9]
    assert read.end_s.tolist() == [2, 5, 8, 11]
    assert found.read("18-19/NBA/2_18_19.mp4").n_segments == 1
    assert found.read("18-19/NBA/3_18_19.mp4").start_s.tolist() == [0.5, 1.5, 2.5, 3.5]
    # A file that changes is taken again; other words are another feature set.
    np.save(folder / "1_18_19.npy", values[:2])
    assert taken_in(target, tmp_path / "features").imported == 1
    assert taken_in(target, tmp_path / "features", extractor="other").feature_set != found.name


def test_of_two_files_of_one_video_the_second_is_told_and_nothing_of_it_taken(
    tmp_path, target, making
):
    folder = tmp_path / "features"
    folder.mkdir()
    values = making.features("a", 4).features["pooled"]
    np.save(folder / "a.npy", values)
    np.savez(folder / "a.npz", pooled=values[:1])
    np.save(folder / "b.mp4.npy", values[:2])
    np.save(folder / "b.npy", values[:3])
    first = taken_in(target, folder)
    assert (first.imported, first.segments) == (2, 6)
    assert set(first.failed) == {"a.npz", "b.npy"}
    assert first.failed["a.npz"].startswith("a.npz and a.npy are both video a.mp4")
    assert first.failed["b.npy"].startswith("b.npy and b.mp4.npy are both video b.mp4")
    again = taken_in(target, folder)
    assert (again.imported, again.already_there, again.failed) == (0, 2, first.failed)
    found = target[first.feature_set]
    assert found.n_segments(["a.mp4", "b.mp4"]).tolist() == [4, 2]
    assert not found.failed


@pytest.mark.parametrize("form", ["npz", "parquet"])
def test_one_video_under_two_names_in_one_file_is_told(tmp_path, target, form):
    names, pooled = ["a", "a.mp4"], np.zeros((2, 6))
    source = tmp_path / f"x.{form}"
    if form == "npz":
        np.savez(source, video_ids=np.array(names), offsets=np.arange(3), pooled=pooled)
    else:
        parquet.write_table(pa.table({"video_id": names, "pooled": pooled.tolist()}), source)
    result = taken_in(target, source)
    assert (result.imported, target[result.feature_set].video_ids) == (1, ("a.mp4",))
    (reason,) = result.failed.values()
    assert reason.startswith(f"'a.mp4' in x.{form} and 'a' in x.{form} are both video a.mp4")


def npy_that_claims(shape):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue() + bytes(100)


def test_what_cannot_be_taken_is_a_failed_row_with_a_reason(tmp_path, target, making):
    folder = tmp_path / "features"
    folder.mkdir()
    good = making.features("a", 4).features["pooled"]
    np.save(folder / "good.npy", good)
    np.save(folder / "wide.npy", np.zeros((4, 7)))
    np.save(folder / "nan.npy", np.full((4, 6), np.nan))
    np.save(folder / "large.npy", np.full((4, 6), 1e39))
    np.save(folder / "empty.npy", np.zeros((0, 6)))
    np.save(folder / "text.npy", np.array([["a"] * 6]))
    np.save(folder / "pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    (folder / "claims.npy").write_bytes(npy_that_claims((2**40, 6)))
    (folder / "noise.npy").write_bytes(b"not numpy")
    (folder / "noise2.npz").write_bytes(b"not a zip")
    np.savez(folder / "other.npz", features=good)
    np.savez(folder / "times.npz", pooled=good, start_s=np.arange(2))
    np.savez(folder / "back.npz", pooled=good, start_s=np.arange(4), end_s=np.arange(4) - 1)
    with zipfile.ZipFile(folder / "claims2.npz", "w") as archive:
        archive.writestr("pooled.npy", npy_that_claims((2**40, 6)))
    result = taken_in(target, folder)
    assert result.imported == 1
    assert len(result.failed) == 13
    now = target[result.feature_set]
    assert now.video_ids == ("good.mp4",)
    assert dict(now.failed) == dict(result.failed)
    for name, said in {
        "wide": r"(4, 7)",
        "nan": "not finite",
        "large": "3.4e38",
        "empty": "[0] segments",
        "pickle": "refused",
        "claims": "claims",
        "claims2": "claims",
        "other": "no stream 'pooled'",
        "times": "times",
        "back": "before",
    }.items():
        assert said in result.failed[f"{name}.mp4"], result.failed[f"{name}.mp4"]


def test_several_streams_lie_in_folders_of_their_own(tmp_path, target, making):
    for stream, values in making.features("a").features.items():
        (tmp_path / "in" / stream).mkdir(parents=True)
        np.save(tmp_path / "in" / stream / "a.npy", values)
    assert taken_in(target, tmp_path / "in", streams=making.streams).imported == 1
    (tmp_path / "in" / "layer-4" / "a.npy").rename(tmp_path / "in" / "pooled" / "b.npy")
    result = taken_in(target, tmp_path / "in", streams=making.streams)
    assert set(result.failed) == {"b.mp4"}


def test_rows_of_a_table_must_follow_each_other(tmp_path, target):
    table = pa.table({"video_id": ["a", "b", "a"], "pooled": [[0.0] * 6] * 3})
    parquet.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(UsageError, match="sort the table"):
        taken_in(target, tmp_path / "x.parquet")
    for nobody in ("", None):
        rows = {"video_id": ["a.mp4", nobody], "pooled": [[1.0], [2.0]]}
        parquet.write_table(pa.table(rows), tmp_path / "v.parquet")
        with pytest.raises(UsageError, match="row 2 has no video_id"):
            taken_in(target, tmp_path / "v.parquet")
    parquet.write_table(pa.table({"x": [1]}), tmp_path / "y.parquet")
    with pytest.raises(UsageError, match="no column video_id"):
        taken_in(target, tmp_path / "y.parquet")
    (tmp_path / "z.parquet").write_bytes(b"no parquet")
    with pytest.raises(UsageError, match="cannot be imported"):
        taken_in(target, tmp_path / "z.parquet")
    uneven = pa.table({"video_id": ["a", "b"], "pooled": [[0.0] * 6, [0.0] * 5]})
    parquet.write_table(uneven, tmp_path / "w.parquet")
    assert set(taken_in(target, tmp_path / "w.parquet").failed) == {"b.mp4"}


def lists(*rows, kind=None):
    return pa.array(rows, type=pa.list_(kind or pa.float32()))


ROW = [1.0] * 6
WRONG_ROWS = {
    "null": (lists(ROW, None, ROW), "'pooled' is null in row 2 of the table"),
    "null-first": (lists(None, ROW, ROW), "'pooled' is null in row 1 of the table"),
    "all-null": (pa.nulls(3), "'pooled' is null in row 1"),
    "ragged": (lists(ROW, [1.0], ROW), "'pooled' has 1 numbers in row 2 of the table and 6 in"),
    "null-inside": (lists(ROW, [*ROW[:5], None], ROW), "holds nulls among its numbers"),
    "empty": (lists([], [], []), "float32 of shape (3, 0)"),
    "numbers": (pa.array([1.0, 2.0, 3.0]), "shape (3, 1), expected (segments, 6)"),
    "text": (pa.array([["a"] * 6] * 3), "'pooled' is list<element: string>, expected numbers"),
    "bool": (pa.array([[True] * 6] * 3), "bool>, expected numbers"),
    "nested": (pa.array([[ROW]] * 3), "double>>, expected numbers"),
    "nan": (lists(ROW, ROW, [np.nan] * 6), "not finite"),
    "huge": (lists(ROW, ROW, [1e300] * 6, kind=pa.float64()), "not finite as float32"),
}


@pytest.mark.parametrize("name", WRONG_ROWS)
@pytest.mark.parametrize("batch_rows", [4096, 1])
def test_a_wrong_row_of_a_table_costs_its_own_video(
    name, batch_rows, tmp_path, target, monkeypatch
):
    monkeypatch.setattr("basket.cache.foreign_files._BATCH_ROWS", batch_rows)
    column, said = WRONG_ROWS[name]
    wrong = pa.table({"video_id": ["a"] * 3, "pooled": column})
    right = pa.table({"video_id": ["b"] * 3, "pooled": lists(ROW, ROW, ROW)})
    if column.type != right["pooled"].type:  # a table has one type, so another video's turn is ours
        right = wrong.slice(0, 0)
    parquet.write_table(pa.concat_tables([wrong, right]), tmp_path / "x.parquet")
    for _ in range(2):  # told again, and not written again
        result = taken_in(target, tmp_path / "x.parquet")
        assert set(result.failed) == {"a.mp4"}
        if batch_rows > 1:
            assert said in result.failed["a.mp4"]
        found = target[result.feature_set]
        assert dict(found.failed) == dict(result.failed)
        assert found.video_ids == (("b.mp4",) if right.num_rows else ())
    assert len(found.snapshot.shards) == 1


@pytest.mark.parametrize("name", ["p_nullrow", "p_nullfirst", "p_ragged", "p_intid", "p_empty"])
def test_tables_that_people_have(name, shared_data, target):
    source = shared_data / "cases" / "labels" / f"{name}.parquet"
    if name == "p_empty":
        with pytest.raises(UsageError, match="nothing there to import"):
            taken_in(target, source, streams={"pooled": 16}, id_suffix="")
        assert target.feature_sets == ()
        return
    result = taken_in(target, source, streams={"pooled": 16}, id_suffix="")
    ids = target[result.feature_set].video_ids
    assert ids == (("0", "1") if name == "p_intid" else ("b.mp4",))
    assert set(result.failed) == (set() if name == "p_intid" else {"a.mp4"})


@pytest.mark.parametrize(
    ("ids", "taken"),
    [
        (pa.array([0, 1], pa.int64()), ("0.mp4", "1.mp4")),
        (pa.array([b"a", b"b"]), ("a.mp4", "b.mp4")),
        (pa.array(["a", "b"]).dictionary_encode(), ("a.mp4", "b.mp4")),
        (pa.array(["a", "b"], pa.large_string()), ("a.mp4", "b.mp4")),
        (pa.array([0.0, 1.0]), "video_id is double; make it text"),
        (pa.array([True, False]), "video_id is bool; make it text"),
        (pa.array(["a", "x\0y"]), ("a.mp4",)),
        (pa.array(["a", "/etc/b"]), ("a.mp4",)),
    ],
)
def test_ids_of_a_table(ids, taken, tmp_path, target):
    parquet.write_table(
        pa.table({"video_id": ids, "pooled": lists(ROW, ROW)}), tmp_path / "x.PARQUET"
    )
    if isinstance(taken, str):
        with pytest.raises(UsageError, match=taken):
            taken_in(target, tmp_path / "x.PARQUET")
        return
    result = taken_in(target, tmp_path / "x.PARQUET")
    assert target[result.feature_set].video_ids == taken
    assert len(result.failed) == 2 - len(taken)


@pytest.mark.parametrize(
    ("values", "taken"),
    [(np.array([0, 1]), ("0.mp4", "1.mp4")), (np.array([b"a", b"b"]), ("a.mp4", "b.mp4")),
     (np.array([0.0, 1.0]), "must list texts"), (np.array([["a"], ["b"]]), "must list texts"),
     (np.array(["a", None]), "refused")],
)  # fmt: skip
def test_ids_of_an_archive(values, taken, tmp_path, target):
    source = tmp_path / "x.npz"
    np.savez(source, video_ids=values, offsets=np.arange(3), pooled=np.ones((2, 6), order="F"))
    if isinstance(taken, str):
        with pytest.raises(UsageError, match=taken):
            taken_in(target, source)
    else:
        assert target[taken_in(target, source).feature_set].video_ids == taken


def test_numbers_in_a_column_of_an_archive_are_a_segment_each(tmp_path, target):
    source = tmp_path / "x.npz"
    np.savez(source, video_ids=["a"], offsets=[0, 3], pooled=np.arange(3.0), frames_valid=[1, 2, 3])
    result = taken_in(target, source, streams={"pooled": 1})
    read = target[result.feature_set].read("a.mp4")
    assert read.features["pooled"].tolist() == [[0], [1], [2]]
    assert "shape (3, 1)" in taken_in(target, source, streams={"pooled": 3}).failed["a.mp4"]


def test_what_is_no_file_is_told_and_does_not_hang(tmp_path, target):
    os.mkfifo(tmp_path / "fifo.npy")
    os.mkfifo(tmp_path / "fifo2.npz")
    (tmp_path / "nowhere.npy").symlink_to(tmp_path / "absent")
    (tmp_path / "itself.npy").symlink_to(tmp_path / "itself.npy")
    (tmp_path / "zero.npy").symlink_to("/dev/zero")
    (tmp_path / "UP.NPY").write_bytes(npy_that_claims((4, 6))[:-4])
    with (tmp_path / "Up2.Npz").open("wb") as file:
        np.savez(file, pooled=np.ones((2, 6)))
    away = tmp_path.with_name("away")
    away.mkdir(exist_ok=True)
    np.save(away / "a.npy", np.ones((2, 6)))
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "b.npy", np.ones((2, 6)))
    for name, folder in {"again": "in", "in/linked": "../away", "in/round": "in"}.items():
        (tmp_path / name).symlink_to(tmp_path / folder)
    result = taken_in(target, tmp_path)
    assert target[result.feature_set].video_ids == (
        "UP.mp4",
        "Up2.mp4",
        "in/b.mp4",
        "in/linked/a.mp4",
    )
    assert {name for name, why in result.failed.items() if "not a regular file" in why} == {
        f"{name}.mp4" for name in ("fifo", "fifo2", "nowhere", "itself", "zero")
    }
    os.mkfifo(tmp_path / "x.npz")
    with pytest.raises(UsageError, match="neither"):
        taken_in(target, tmp_path / "x.npz")


def test_what_expands_beyond_measure_is_refused(tmp_path, target, monkeypatch):
    monkeypatch.setattr("basket.cache.foreign_files.MAX_VIDEO_BYTES", 1 << 18)
    rows = 20_000
    table = pa.table({"video_id": ["a"] * rows, "pooled": pa.array([ROW] * rows)})
    parquet.write_table(table, tmp_path / "x.parquet", compression="zstd")
    with pytest.raises(UsageError, match="bytes of it unpack to"):
        taken_in(target, tmp_path / "x.parquet")
    np.savez_compressed(
        tmp_path / "x.npz", video_ids=["a"], offsets=[0, rows], pooled=np.zeros((rows, 6))
    )
    with pytest.raises(UsageError, match="it claims 960000 bytes"):
        taken_in(target, tmp_path / "x.npz")


def test_bytes_that_do_not_unpack_cost_their_file(tmp_path, target):
    np.save(tmp_path / "good.npy", np.ones((2, 6)))
    np.savez_compressed(tmp_path / "a.npz", pooled=np.random.default_rng(0).normal(size=(99, 6)))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[300:400] = bytes(100)
    (tmp_path / "a.npz").write_bytes(data)
    nested = b"{'descr': " + b"[" * 900 + b", 'shape': (1,)}"
    head = b"\x93NUMPY\x01\x00" + len(nested).to_bytes(2, "little")
    (tmp_path / "b.npy").write_bytes(head + nested)
    (tmp_path / "c.npy").write_bytes(npy_that_claims((-1, -6)))
    np.save(tmp_path / "d.npy", np.ones((2, 6), complex))
    np.save(tmp_path / "e.npy", np.ones((2, 6), bool))
    np.save(tmp_path / "f.npy", np.ones((2, 6, 1)))
    np.save(tmp_path / "g.npy", np.float32(1))
    np.savez(tmp_path / "h.npz", pooled=np.ones((2, 6)), frames_valid=[1, np.nan])
    np.savez(tmp_path / "i.npz", pooled=np.ones((2, 6)), frames_valid=[1, -1])
    result = taken_in(target, tmp_path)
    assert set(result.failed) == {f"{name}.mp4" for name in "abcdefghi"}
    assert "frames_valid" in result.failed["h.mp4"]
    assert (
        "it has no stream 'x'; it has ['pooled']"
        in taken_in(target, tmp_path, streams={"x": 6}).failed["a.mp4"]
    )


def test_a_video_that_only_a_later_stream_has_is_told(tmp_path, target, making):
    for stream, values in making.features("a").features.items():
        (tmp_path / stream).mkdir()
        np.save(tmp_path / stream / "a.npy", values)
    np.save(tmp_path / "layer-4" / "b.npy", np.ones((1, 3)))
    result = taken_in(target, tmp_path, streams=making.streams)
    assert result.imported == 1
    assert "the folder of stream 'pooled' has no such file" in result.failed["b.mp4"]


def test_specifications_that_differ_in_their_backbone_are_two_feature_sets(tmp_path, target):
    np.save(tmp_path / "a.npy", np.ones((2, 6)))
    one = taken_in(target, tmp_path)
    np.save(tmp_path / "a.npy", np.zeros((2, 6)))
    two = taken_in(target, tmp_path, backbone="slowfast/r101")
    assert one.feature_set != two.feature_set
    assert target[one.feature_set].read("a.mp4").features["pooled"].all()
    assert not target[two.feature_set].read("a.mp4").features["pooled"].any()


def test_a_feature_set_from_before_backbones_were_identity_goes_on(tmp_path, target):
    spec = foreign_spec(SPEC)
    earlier = target.feature_set(spec.earlier)
    np.save(tmp_path / "a.npy", np.ones((2, 6)))
    assert taken_in(target, tmp_path).feature_set == earlier.name
    # It was the one of this backbone; another one's is new.
    other = taken_in(target, tmp_path, backbone="other")
    assert other.feature_set != earlier.name
    assert "backbone" in target[other.feature_set].spec.preprocessing


def test_archives_that_do_not_fit_together_are_refused(tmp_path, target):
    np.savez(tmp_path / "x.npz", video_ids=np.array(["a", "b"]), offsets=np.array([0, 2]))
    np.savez(
        tmp_path / "y.npz",
        video_ids=np.array(["a", "b"]),
        offsets=np.array([0, 9, 4]),
        pooled=np.zeros((4, 6)),
    )
    for name in ("x.npz", "y.npz"):
        with pytest.raises(UsageError):
            taken_in(target, tmp_path / name)


def test_ids_that_climb_are_not_taken(tmp_path, target):
    np.savez(
        tmp_path / "x.npz",
        video_ids=np.array(["../../etc/passwd", "ok"]),
        offsets=np.array([0, 1, 2]),
        pooled=np.zeros((2, 6)),
    )
    result = taken_in(target, tmp_path / "x.npz")
    assert result.imported == 1
    assert "cannot be a video id" in result.failed["../../etc/passwd.mp4"]
    assert target[result.feature_set].video_ids == ("ok.mp4",)


def test_nothing_there_is_told(tmp_path, target):
    for name in ("absent", "file.txt", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        (tmp_path / "file.txt").touch()
        with pytest.raises(UsageError):
            taken_in(target, tmp_path / name)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"backbon": "x"}, "did you mean 'backbone'"),
        ({"plan": {"window": 2}}, "did you mean 'window_s'"),
        ({"plan": {"stride_s": 2}}, "plan.window_s"),
        ({"plan": 3}, "plan must be"),
        ({"plan": {"window_s": 2, "starts_s": 3}}, "starts_s"),
        ({"plan": {"window_s": -2}}, "above 0"),
        ({"streams": {}}, "streams must"),
        ({"streams": {"a/b": 3}}, "cannot be a stream"),
        ({"streams": {"pooled": "many"}}, "width"),
    ],
)
def test_a_specification_that_cannot_be_meant_is_told(changes, said):
    with pytest.raises(UsageError) as caught:
        foreign_spec(SPEC | changes)
    assert said in str(caught.value)


def test_specifications_are_yaml_or_json(tmp_path):
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(SPEC))
    assert read_foreign_spec(path) == foreign_spec(SPEC)
    path.write_text("[1")
    with pytest.raises(UsageError, match="no specification"):
        read_foreign_spec(path)
    path.write_text("just words")
    with pytest.raises(UsageError, match="mapping"):
        read_foreign_spec(path)
    path.write_text("backbone: x")
    with pytest.raises(UsageError, match="lacks plan, streams"):
        read_foreign_spec(path)


def test_explicit_starts_must_fit(tmp_path, target):
    np.save(tmp_path / "a.npy", np.zeros((3, 6)))
    plan = {"window_s": 2.0, "starts_s": [0, 10, 20]}
    result = taken_in(target, tmp_path, plan=plan)
    assert target[result.feature_set].read("a.mp4").start_s.tolist() == [0, 10, 20]
    result = taken_in(target, tmp_path, plan=plan | {"starts_s": [0, 10]})
    assert "3 segments" in result.failed["a.mp4"]


def test_features_are_stored_in_the_type_that_loses_nothing(tmp_path, target):
    """Small, and large beside a large offset: float16 would have one number for all of them."""
    random = np.random.default_rng(0)
    levels = random.integers(0, 5, 40)
    ids = np.array([f"{i:02}" for i in range(40)])
    signal = levels[:, None] + random.normal(size=(40, 6)) / 10
    kinds = {
        "tiny": (signal * 1e-8, np.float32),
        "offset": (4000 + signal / 10, np.float32),
        "huge": (signal * 1e6, np.float32),
        "plain": (signal, np.float16),
        "zeros": (np.zeros((40, 6)), np.float16),
    }
    for name, (values, dtype) in kinds.items():
        np.savez(tmp_path / f"{name}.npz", video_ids=ids, offsets=np.arange(41), pooled=values)
        result = taken_in(target, tmp_path / f"{name}.npz", backbone=name)
        assert (result.imported, result.failed) == (40, {})
        stored = target[result.feature_set]
        assert stored.dtype() is dtype
        ragged = stored.ragged(stored.video_ids)
        assert ragged.values.dtype == dtype
        assert np.array_equal(ragged.values, values.astype(dtype))


def test_every_reader_hands_mixed_rows_out_as_they_are(feature_set, reopened, making, tmp_path):
    making.fill(feature_set, IDS[:4], per_shard=2)
    wide = making.features("wide.mp4")
    wide = replace(wide, features={n: v * np.float32(1e6) for n, v in wide.features.items()})
    before = {path.name: path.read_bytes() for path in (feature_set.path / "shards").iterdir()}
    with reopened().writer() as writer:
        writer.add(making.row("wide.mp4"), wide)
    now = reopened()
    ids = (*IDS[:4], "wide.mp4")
    expected = [making.features(video_id).features["pooled"] for video_id in IDS[:4]]
    expected = np.concatenate([*expected, wide.features["pooled"]]).astype(np.float32)

    def check(opened):
        assert verify(opened, deep=True).problems == ()
        assert opened.ragged(ids).values.dtype == np.float32
        assert np.array_equal(opened.ragged(ids).values, expected)
        blocks = [each.values for _, each in opened.stream(ids, block_bytes=64, ordered=True)]
        assert np.array_equal(np.concatenate(blocks), expected)
        assert np.array_equal(
            np.concatenate([opened.read(each).features["pooled"] for each in ids]), expected
        )

    check(now)
    # What float16 holds is written as ever, byte for byte.
    after = {path.name: path.read_bytes() for path in (now.path / "shards").iterdir()}
    assert before.items() <= after.items()
    means = pool_feature_set(now, list(ids), "pooled", parse_pooling("mean"), keep=False)
    assert means[-1] == pytest.approx(wide.features["pooled"].mean(axis=0), rel=1e-6)
    for name in ("x.npz", "x.parquet"):
        export(now, tmp_path / name)
        target = open_cache(tmp_path / f"of {name}", create=True)
        result = taken_in(target, tmp_path / name, streams=making.streams, id_suffix="")
        assert np.array_equal(target[result.feature_set].ragged(ids).values, expected)
    pack(now)
    check(reopened())
