"""Label files are read strictly: what cannot be meant is refused with file, line and reason."""

import numpy as np
import pytest

from basket.dataset import (
    SKILLS,
    guess_video_root,
    read_labels,
    read_splits,
    read_tables,
    shared_players,
)
from basket.errors import LabelError, NotThereError, UsageError

HEADER = "path," + ",".join(skill.name for skill in SKILLS)


def write(path, *rows, header=HEADER):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def row(video="18-19/NBA/1_18_19.mp4", level="3"):
    return ",".join([video, *[level] * 20])


def test_reads_basket_files(tmp_path):
    file = write(tmp_path / "a.csv", row(), row("19-20/WNBA/7_19_20.mp4", "0"))
    table = read_labels(file)
    assert table.video_ids == ("18-19/NBA/1_18_19.mp4", "19-20/WNBA/7_19_20.mp4")
    assert table.skills[9] == "Turnovers"
    assert table.levels.tolist() == [[3] * 20, [0] * 20]
    assert table.players == ("NBA/1", "WNBA/7")
    assert table.n_levels == 5


def test_skill_names_and_their_order_come_from_the_header(tmp_path):
    table = read_labels(write(tmp_path / "a.csv", "x.mp4,2,0", header="path,Steals,Assists"))
    assert table.skills == ("Steals", "Assists")
    assert table.levels.tolist() == [[2, 0]]


def test_empty_and_minus_one_are_missing(tmp_path):
    table = read_labels(
        write(tmp_path / "a.csv", "x.mp4,,-1,4", "y.mp4,nan,1.0,0", header="p,a,b,c")
    )
    assert table.levels.tolist() == [[-1, -1, 4], [-1, 1, 0]]
    assert table.level_counts().tolist() == [[0] * 5, [0, 1, 0, 0, 0], [1, 0, 0, 0, 1]]


def test_other_scales(tmp_path):
    file = write(tmp_path / "a.csv", "x.mp4,6", header="path,a")
    assert read_labels(file, n_levels=7).levels.tolist() == [[6]]
    with pytest.raises(LabelError, match=r"line 2, a: '6' is not a level; expected .* 0 to 4"):
        read_labels(file)


@pytest.mark.parametrize("cell", ["5", "-2", "2.5", "high", "1e99", "inf"])
def test_what_is_no_level_is_refused(tmp_path, cell):
    file = write(tmp_path / "a.csv", f"x.mp4,{cell}", header="path,a")
    with pytest.raises(LabelError, match="is not a level"):
        read_labels(file)


def test_wrong_column_count_names_the_line(tmp_path):
    file = write(tmp_path / "a.csv", row(), row() + ",1")
    with pytest.raises(LabelError, match=r"line 3 has 22 columns, the header has 21"):
        read_labels(file)


@pytest.mark.parametrize("video", ["../x.mp4", "a/../../x.mp4", "a\\..\\..\\x.mp4", ""])
def test_paths_that_leave_the_root_are_refused(tmp_path, video):
    file = write(tmp_path / "a.csv", f"{video},1", header="path,a")
    with pytest.raises(LabelError, match=r"line 2: .* is not a path below the video root"):
        read_labels(file)


def test_absolute_paths_below_the_given_root_become_relative(tmp_path):
    file = write(tmp_path / "a.csv", f"{tmp_path}/v/x.mp4,1", header="path,a")
    assert read_labels(file, video_root=tmp_path).video_ids == ("v/x.mp4",)
    with pytest.raises(LabelError, match="does not lie under the video root"):
        read_labels(file, video_root=tmp_path / "elsewhere")


def test_the_root_of_absolute_basket_paths_is_inferred(tmp_path):
    rows = [
        f"/data/BASKET/{row('18-19/NBA/1_18_19.mp4')}",
        f"/data/BASKET/{row('19-20/A/2_19_20.mp4')}",
    ]
    table = read_labels(write(tmp_path / "a.csv", *rows))
    assert str(table.video_root) == "/data/BASKET"
    assert table.video_ids == ("18-19/NBA/1_18_19.mp4", "19-20/A/2_19_20.mp4")


def test_a_repeated_row_is_kept_once_and_told(tmp_path):
    table = read_labels(write(tmp_path / "a.csv", row(), row()))
    assert len(table) == 1
    assert table.duplicates == ("18-19/NBA/1_18_19.mp4",)


def test_contradicting_rows_are_refused(tmp_path):
    with pytest.raises(LabelError, match=r"lines 2 and 3 give .* different levels"):
        read_labels(write(tmp_path / "a.csv", row(), row(level="1")))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"path,a\n", "has a header and no rows"),
        (b"path\nx.mp4\n", "has one column"),
        (b"x.mp4,1,2\ny.mp4,1,2\n", "no header line"),
        (b"path,a,a\nx.mp4,1,2\n", "names a skill twice"),
        (b"path,a\nm\xfcller.mp4,1\n", "not UTF-8"),
        (b"path,a\x1b[2J\nx.mp4,1\n", r"line 1: 'a\\x1b\[2J' contains a control character"),
        (b"path,a\n\x1b]0;x\x07.mp4,1\n", "line 2: .* contains a control character"),
    ],
)
def test_files_that_are_no_label_tables_are_refused(tmp_path, content, message):
    file = tmp_path / "a.csv"
    file.write_bytes(content)
    with pytest.raises(LabelError, match=message):
        read_labels(file)


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(NotThereError, match="There is no label file"):
        read_labels(tmp_path / "none.csv")


def test_shared_players_are_found_across_seasons(tmp_path):
    train = read_labels(write(tmp_path / "train.csv", row("18-19/NBA/1_18_19.mp4")))
    test = read_labels(
        write(tmp_path / "test.csv", row("19-20/NBA/1_19_20.mp4"), row("19-20/NBA/2_19_20.mp4"))
    )
    assert shared_players([train, test]) == {(0, 1): ["NBA/1"]}
    other = read_labels(write(tmp_path / "other.csv", row("19-20/NBA/2_19_20.mp4")))
    assert shared_players([train, other]) == {}


def test_files_that_cannot_be_extracted_are_listed(tmp_path):
    root = tmp_path / "videos"
    root.mkdir()
    (root / "good.mp4").write_bytes(b"x")
    (root / "empty.mp4").touch()
    (tmp_path / "elsewhere.mp4").write_bytes(b"x")
    (root / "out.mp4").symlink_to(tmp_path / "elsewhere.mp4")
    (root / "within.mp4").symlink_to(root / "good.mp4")
    names = ("good", "empty", "none", "out", "within")
    table = read_labels(
        write(tmp_path / "a.csv", *(f"{name}.mp4,1" for name in names), header="path,a")
    )
    assert table.missing_files(root) == ["empty.mp4", "none.mp4", "out.mp4"]


def test_the_video_root_is_found_above_the_label_file(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    monkeypatch.delenv("BASKET_ROOT", raising=False)
    (tmp_path / "18-19" / "NBA").mkdir(parents=True)
    (tmp_path / "18-19" / "NBA" / "1_18_19.mp4").write_bytes(b"x")
    folder = tmp_path / "BASKET_Labels" / "BASKET"
    folder.mkdir(parents=True)
    table = read_labels(write(folder / "train.csv", row()))
    assert guess_video_root([table]) == tmp_path


def test_levels_are_small_integers(tmp_path):
    assert read_labels(write(tmp_path / "a.csv", row())).levels.dtype == np.int8


def test_a_folder_is_no_label_file(tmp_path):
    with pytest.raises(NotThereError, match=r"is a folder; name its label files"):
        read_labels(tmp_path)


TWO_SKILLS = ("Bow", "Pitch")


@pytest.mark.parametrize(
    ("text", "skills"),
    [
        ("\n \npath;Bow;Pitch\nanna/1.mp4;3;2\n", TWO_SKILLS),
        ('path;"Shot, contested, far";Pitch\nanna/1.mp4;3;2\n', ("Shot, contested, far", "Pitch")),
        ("path;Shot, contested, far;Pitch\nanna/1.mp4;3;2\n", ("Shot, contested, far", "Pitch")),
        ("sep=;\npath;Bow;Pitch\nanna/1.mp4;3;2\n", TWO_SKILLS),
        ('"sep=\t"\r\npath\tBow\tPitch\r\nanna/1.mp4\t3\t2\r\n', TWO_SKILLS),
        (
            "path\tBow, left hand, right hand\tPitch\nanna/1.mp4\t3\t2\n",
            ("Bow, left hand, right hand", "Pitch"),
        ),
        ("path|Bow|Pitch\nanna/1.mp4|3|2\n", TWO_SKILLS),
        ("path:Bow:Pitch\nanna/1.mp4:3:2\n", TWO_SKILLS),
        ('path,"Bow\nleft",Pitch\nanna/1.mp4,3,2\n', None),
        ("path\rBow", None),
        ("path,Bow,Pitch\ranna/1.mp4,3,2\r", TWO_SKILLS),
        ("path;Bow;Pitch\nanna/1.mp4;3,0;2.0\n", TWO_SKILLS),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_delimiters_and_encodings_of_spreadsheets_are_read(tmp_path, text, skills, encoding):
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    if skills is None:
        with pytest.raises(LabelError, match=r"one column|control character"):
            read_labels(tmp_path / "a.csv")
        return
    table = read_labels(tmp_path / "a.csv")
    assert (table.skills, table.video_ids) == (skills, ("anna/1.mp4",))
    assert table.levels.tolist() == [[3, 2]]


@pytest.mark.parametrize(
    ("name", "skills", "levels"),
    [
        ("leading_blank_semi", TWO_SKILLS, [3, 2]),
        ("semicolon_commahdr", ("Shot, contested, far", "Pitch"), [3, 2]),
        ("sep_excel", TWO_SKILLS, [3, 2]),
        ("tabs_mixed", ("Bow, left hand, right hand", "Pitch"), [1, 2]),
    ],
)
def test_the_label_files_of_strangers_are_read(shared_data, name, skills, levels):
    table = read_labels(shared_data / "cases" / "labels" / f"{name}.csv")
    assert table.skills == skills
    assert table.levels[0].tolist() == levels


@pytest.mark.parametrize(
    "listed", [r"\\nas\data\1.mp4", r"C:\data\1.mp4", "file:///data/1.mp4", "~/1.mp4"]
)
def test_what_is_no_path_here_is_refused_with_what_to_do(tmp_path, listed):
    file = write(tmp_path / "a.csv", f"{listed},1", header="path,a")
    with pytest.raises(
        LabelError, match=r"line 2: .*write the path relative to the folder .*--video-root"
    ):
        read_labels(file)


@pytest.mark.parametrize(("n_levels", "dtype"), [(128, np.int8), (129, np.int16), (1000, np.int16)])
def test_scales_of_many_levels(tmp_path, n_levels, dtype):
    file = write(tmp_path / "a.csv", f"x.mp4,{n_levels - 1}", "y.mp4,-1", header="path,a")
    table = read_labels(file, n_levels=n_levels)
    assert table.levels.tolist() == [[n_levels - 1], [-1]]
    assert table.levels.dtype == dtype
    assert table.level_counts().shape == (1, n_levels)
    with pytest.raises(UsageError, match="A scale has 2 to 32768 levels"):
        read_labels(file, n_levels=40_000)


def test_a_column_may_name_the_players(tmp_path):
    file = write(
        tmp_path / "a.csv",
        "x.mp4,anna,2,0",
        "y.mp4,ben,1,1",
        "x.mp4,anna,2,0",
        header="path,who,a,b",
    )
    table = read_labels(file, player="who")
    assert (table.players, table.skills) == (("anna", "ben"), ("a", "b"))
    assert table.levels.tolist() == [[2, 0], [1, 1]]
    with pytest.raises(LabelError, match=r"no column 'wo' \(--player\); did you mean 'who'"):
        read_labels(file, player="wo")
    with pytest.raises(LabelError, match=r"'anna' is not a level.*--player COLUMN"):
        read_labels(file)
    # Whoever wants the videos alone need not say which column is no skill.
    (listed,) = read_tables([file], ids_only=True)
    assert (listed.video_ids, listed.skills) == (("x.mp4", "y.mp4"), ("a", "b"))


def test_one_video_of_two_players_and_a_nameless_one_are_refused(tmp_path):
    two = write(tmp_path / "a.csv", "x.mp4,anna,2", "x.mp4,ben,2", header="path,who,a")
    with pytest.raises(LabelError, match="lines 2 and 3"):
        read_labels(two, player="who")
    nameless = write(tmp_path / "b.csv", "x.mp4,,2", header="path,who,a")
    with pytest.raises(LabelError, match="line 2 names no who"):
        read_labels(nameless, player="who")


def test_columns_of_splits_are_matched_by_name(tmp_path):
    train = write(tmp_path / "train.csv", "x.mp4,0,1", header="path,Steals,Fouls")
    val = write(tmp_path / "val.csv", "y.mp4,2,3", header="path,Fouls,Steals")
    splits = read_splits({"train": train, "val": val, "test": None})
    assert splits["val"].skills == ("Steals", "Fouls")
    assert splits["val"].levels.tolist() == [[3, 2]]
    wrong = write(tmp_path / "wrong.csv", "y.mp4,2,3", header="path,Fouls,Stels")
    with pytest.raises(UsageError, match="missing: Steals; unknown: Stels; did you mean 'Steals'"):
        read_splits({"train": train, "val": wrong})
