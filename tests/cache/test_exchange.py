"""Out of the cache and back in, and features of other extractors, also hostile ones."""

import io
import json
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from basket.cache import export, import_features, open_cache, read_foreign_spec
from basket.cache.foreign_spec import foreign_spec
from basket.errors import CacheError, UsageError

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
    np.save(folder / "large.npy", np.full((4, 6), 1e6))
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
        "large": "65504",
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
