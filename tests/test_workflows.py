"""What the composed calls say and refuse, beside what the commands show."""

import csv
import json
import shutil

import pytest
from small_league import SKILLS, video_id

import basket
from basket.errors import LabelError, RunError, UsageError


@pytest.fixture
def layout(league, tmp_path, monkeypatch):
    """A folder with BASKET's own label files and none of its videos, at work in it."""
    folder = tmp_path / "BASKET_Labels" / "BASKET"
    folder.mkdir(parents=True)
    for name in ("train", "val", "test"):
        shutil.copy(getattr(league, name), folder)
    monkeypatch.delenv("BASKET_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    return folder


def rewritten(source, target, change):
    """A label file again, its rows changed."""
    with source.open(newline="") as file:
        rows = list(csv.reader(file))
    with target.open("w", newline="") as file:
        csv.writer(file).writerows(change(rows))
    return target


def rewritten_rows(source):
    with source.open(newline="") as file:
        return list(csv.reader(file))[1:]


def test_skills_in_another_order_score_the_same(league, fitted, tmp_path):
    swapped = rewritten(
        league.test, tmp_path / "swapped.csv", lambda rows: [[r[0], *r[:0:-1]] for r in rows]
    )
    first = basket.evaluate_run([fitted.path], tests={"t": league.test})
    second = basket.evaluate_run([fitted.path], tests={"t": swapped})
    assert basket.read_labels(swapped).skills == SKILLS[::-1]
    assert first.results() == second.results()
    assert first.results()[0]["accuracy"] > 0.6


def test_columns_of_validation_labels_are_matched_by_name_too(league, fitted, tmp_path):
    swapped = rewritten(
        league.val, tmp_path / "swapped.csv", lambda rows: [[r[0], *r[:0:-1]] for r in rows]
    )
    again = basket.fit_head(
        cache=league.cache, train=league.train, val=swapped, out=tmp_path / "again"
    )
    assert again.metrics == fitted.metrics


def test_a_player_column_groups_videos_in_fits_scores_and_sweeps(league, tmp_path):
    def with_players(source, target, n):
        def change(rows):
            named = [[*row, f"{target.stem} {i % n}"] for i, row in enumerate(rows[1:])]
            return [[*rows[0], "who"], *named]

        return rewritten(source, target, change)

    train, test = (
        with_players(getattr(league, name), tmp_path / f"{name}.csv", n)
        for name, n in (("train", 12), ("test", 3))
    )
    run = basket.fit_head(cache=league.cache, train=train, player="who", out=tmp_path / "run")
    assert run.config["labels"]["player"] == "who"
    assert run.config["train"]["n_players"] == 12
    # An evaluation reads the column that the run was fitted with.
    assert basket.evaluate_run([run.path], tests={"t": test}).runs[0].splits["t"].n_players == 3
    with pytest.raises(LabelError, match="no column 'name'"):
        basket.evaluate_run([run.path], tests={"t": test}, player="name")
    swept = basket.run_sweep(
        basket.Space(pools=("mean",)),
        cache=league.cache,
        train=train,
        test=test,
        player="who",
        out=tmp_path / "sweep",
    )
    assert swept.run.config["labels"]["player"] == "who"
    assert swept.run.config["train"]["n_players"] < 12
    assert swept.report.runs[0].splits["test"].n_players == 3


def test_runs_of_other_levels_are_not_put_into_one_table(league, fitted, tmp_path):
    wider = basket.fit_head(
        train=league.train, cache=league.cache, head="prior", n_levels=7, out=tmp_path / "wider"
    )
    with pytest.raises(UsageError, match="fitted on label files with one header"):
        basket.evaluate_run([fitted.path, wider.path], tests={"t": league.test})


def test_one_path_or_run_is_enough_where_several_are_taken(league, fitted, tmp_path):
    """A string is a sequence of letters, and ``r is no run folder`` helped nobody."""
    tests = {"t": league.test}
    expected = basket.evaluate_run([fitted.path], tests=tests).results()
    for runs in (str(fitted.path), fitted.path, fitted, [fitted]):
        assert basket.evaluate_run(runs, tests=tests).results() == expected
    assert len(basket.describe_labels(str(league.train)).tables) == 1
    assert basket.list_cache(league.cache, labels=league.train).wanted == len(
        basket.read_labels(league.train)
    )
    with pytest.raises(UsageError, match="unknown model 'motoin'; did you mean 'motion'"):
        basket.extract_features(labels=league.train, models="motoin", video_root=tmp_path)
    with pytest.raises(UsageError, match="There is no file or folder reel"):
        basket.extract_features("reel.mp4")


def test_a_report_is_written_to_a_path_given_as_text(league, fitted, tmp_path):
    report = basket.evaluate_run(fitted, tests={"t": league.test})
    report.write(str(tmp_path / "new" / "report.html"))
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "report.html",
        "report.json",
        "report.md",
    ]


def test_fitting_remarks_on_levels_that_no_label_has(league, tmp_path):
    said = []
    basket.fit_head(
        train=league.train,
        cache=league.cache,
        head="prior",
        n_levels=9,
        out=tmp_path / "run",
        say=said.append,
    )
    assert any(sentence.startswith("No label is above") for sentence in said)


def test_runs_of_one_folder_name_and_of_other_labels_are_compared(league, tmp_path):
    fewer = rewritten(league.train, tmp_path / "fewer.csv", lambda rows: rows[:16])
    runs = [
        basket.fit_head(cache=league.cache, train=train, out=tmp_path / place / "run").path
        for place, train in {"many": league.train, "few": fewer}.items()
    ]
    [found] = basket.evaluate_run(runs, tests={"t": league.test}).comparisons
    assert (found.first, found.second, found.n_seeds) == ("run", "run (2)", (1, 1))


def test_runs_on_other_skills_are_not_put_into_one_table(league, fitted, tmp_path):
    swapped = rewritten(
        league.train, tmp_path / "swapped.csv", lambda rows: [[r[0], *r[:0:-1]] for r in rows]
    )
    other = basket.fit_head(cache=league.cache, train=swapped, pool="max", out=tmp_path / "r")
    with pytest.raises(UsageError, match="3 skills of 5 levels, in another order"):
        basket.evaluate_run([fitted.path, other.path], tests={"t": league.test})


def test_videos_without_features_are_told_and_listed(league, fitted, tmp_path):
    more = rewritten(
        league.test,
        tmp_path / "more.csv",
        lambda rows: [*rows, ["18-19/NBA/99_18_19.mp4", 1, 1, 1]],
    )
    said = []
    report = basket.evaluate_run([fitted.path], tests={"t": more}, say=said.append)
    reason = report.primary_run.splits["t"].left_out["18-19/NBA/99_18_19.mp4"]
    assert "it is empty" in reason
    assert said == [f"t: 1 labelled video is left out, e.g. 18-19/NBA/99_18_19.mp4 ({reason})"]


def test_a_report_that_cannot_be_written_is_refused_before_the_work(league, fitted, tmp_path):
    (tmp_path / "twin.md").mkdir()
    stages = []
    for report, said in {
        league.test / "r.html": "is not a folder",
        tmp_path: "is a folder",
        tmp_path / "twin.html": r"twin\.md is a folder",
    }.items():
        with pytest.raises(UsageError, match=said):
            basket.evaluate_run(
                [fitted.path], tests={"t": league.test}, report=report, on_stage=stages.append
            )
    assert stages == []
    assert [path.name for path in tmp_path.iterdir()] == ["twin.md"]


def test_an_evaluation_that_fails_leaves_no_folder(league, fitted, tmp_path):
    report = tmp_path / "reports" / "june" / "r.html"
    with pytest.raises(UsageError, match="no label file"):
        basket.evaluate_run([fitted.path], tests={"t": tmp_path / "no.csv"}, report=report)
    assert list(tmp_path.iterdir()) == []
    basket.evaluate_run([fitted.path], tests={"t": league.test}, report=report)
    assert {path.name for path in report.parent.iterdir()} == {"r.html", "r.json", "r.md"}


def test_players_that_decision_rules_were_chosen_on_are_told(league, tmp_path):
    run = basket.fit_head(
        cache=league.cache, train=league.train, val=league.val, out=tmp_path / "r"
    )
    said = []
    report = basket.evaluate_run([run.path], tests={"t": league.val}, say=said.append)
    assert said == list(report.notes)
    assert said[0].startswith("12 players in t, e.g. NBA/36, were validation players of r: ")
    assert basket.evaluate_run([run.path], tests={"t": league.test}).notes == ()
    # Predicted out of fold, training players are no validation players: memory is told apart.
    folded = basket.fit_head(cache=league.cache, train=league.train, out=tmp_path / "folded")
    assert basket.evaluate_run([folded.path], tests={"t": league.train}).notes == ()


def test_videos_with_a_note_are_counted(league, fitted, monkeypatch):
    noted = dict.fromkeys(["18-19/NBA/48_18_19.mp4", "18-19/NBA/0_18_19.mp4"], "truncated")
    monkeypatch.setattr("basket.cache.snapshot.Snapshot.notes", noted)
    said = basket.evaluate_run([fitted.path], tests={"t": league.test}).notes
    assert said[0].startswith("1 of the videos of t, e.g. 18-19/NBA/48_18_19.mp4, carry a note")


def test_what_is_known_of_no_video_is_told(league, fitted, tmp_path):
    meta = tmp_path / "meta.csv"
    ids = "\n".join(f"{video_id(p)},{'guard' if p % 2 else 'centre'}" for p in range(48, 60))
    meta.write_text(f"video,position\n{ids}\n")
    said = []
    report = basket.evaluate_run(
        [fitted.path], tests={"a": league.test, "b": league.val}, meta=meta, say=said.append
    )
    assert any(line.startswith("b: position of") for line in said), said
    assert not any(line.startswith("a: position of") for line in said)
    slices = report.to_json()
    assert "centre" in slices


def test_a_column_of_too_many_words_is_told_and_makes_no_slices(league, fitted, tmp_path):
    meta, everybody = tmp_path / "meta.csv", tmp_path / "all.csv"
    rewritten(
        league.train, everybody,
        lambda rows: rows + rewritten_rows(league.val) + rewritten_rows(league.test),
    )  # fmt: skip
    ids = "\n".join(f"{video_id(p)},coach {p}" for p in range(60))
    meta.write_text(f"video,coach\n{ids}\n")
    said = []
    report = basket.evaluate_run([fitted.path], tests={"t": everybody}, meta=meta, say=said.append)
    assert any("coach of" in line and "60 values, too many to slice by" in line for line in said)
    assert report.primary_run.splits["t"].slices == ()


def test_a_cache_that_moved_is_named_by_the_caller(league, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(league.cache, tmp_path / "first")
    run = basket.fit_head(cache=tmp_path / "first", train=league.train, out=tmp_path / "r")
    (tmp_path / "first").rename(moved)
    with pytest.raises(RunError, match="name one that has its features with --cache"):
        basket.evaluate_run([run.path], tests={"t": league.test})
    assert basket.evaluate_run([run.path], tests={"t": league.test}, cache=moved).results()
    about = run.path / "run.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "labels": {}}))
    with pytest.raises(RunError, match="name one that has its features with --cache"):
        basket.evaluate_run([run.path], tests={"t": league.test})


def test_label_files_in_the_layout_of_basket_are_found(layout, league, fitted):
    said = []
    run = basket.fit_head(cache=league.cache, say=said.append)
    assert any("train.csv and" in line and "val.csv" in line for line in said)
    assert run.path.parent.name == "runs"
    said.clear()
    report = basket.evaluate_run([run.path], say=said.append)
    assert report.split_names == ("test",)
    assert said[0] == "Test sets: test"


def test_a_layout_without_what_is_needed_says_what_to_name(layout, league, fitted):
    (layout / "test.csv").unlink()
    with pytest.raises(UsageError, match=r"No label file .*test\.csv .*--test NAME=CSV"):
        basket.evaluate_run([fitted.path])
    (layout / "train.csv").unlink()
    with pytest.raises(UsageError, match=r"No label file .*train\.csv .*--train CSV"):
        basket.fit_head(cache=league.cache)
    with pytest.raises(UsageError, match=r"No label file .*train\.csv .*--train CSV"):
        basket.run_sweep(basket.Space(), cache=league.cache)
    with pytest.raises(UsageError, match="at least one run folder"):
        basket.evaluate_run([], tests={"t": league.test})


def test_a_share_that_leaves_nothing_is_told(tmp_path):
    (tmp_path / "one.mp4").touch()
    with pytest.raises(UsageError, match="No videos are left to extract"):
        basket.extract_features([tmp_path], models=["motion"], cache=tmp_path / "c", limit=0)
    assert not (tmp_path / "c").exists()


def test_a_task_of_an_array_that_has_no_video_has_done_its_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "one.mp4").touch()
    codes, said = [], []
    for part in range(3):
        summary = basket.extract_features(
            ["v"], models=["motion"], cache="c", shard=(part, 3), say=said.append
        )
        codes.append((summary.done, len(summary.failed)))
    assert sorted(codes) == [(0, 0), (0, 0), (0, 1)]
    assert sum("None of the 1 videos falls into shard" in line for line in said) == 2


def test_players_in_training_and_validation_are_told(layout, league):
    said = []
    run = basket.fit_head(cache=league.cache, val=league.train, out="leaky", say=said.append)
    assert any(line.startswith("Leak: ") and "both train and val" in line for line in said)
    assert run.config["set_aside"] is None  # validation decides by all of them
    said.clear()
    basket.run_sweep(
        basket.Space(pools=("mean",)), cache=league.cache, train=league.train, val=league.train,
        out="s", say=said.append,
    )  # fmt: skip
    assert any(line.startswith("Leak: ") for line in said)
    said.clear()
    basket.fit_head(cache=league.cache, out="clean", say=said.append)
    assert not any("Leak" in line for line in said)


def test_a_sweep_says_what_it_chose_from_and_counts_its_looks(layout, league):
    said = []
    space = basket.Space(pools=("mean",))
    first = basket.run_sweep(space, cache=league.cache, out="s", say=said.append)
    assert any("train.csv" in line and "val.csv" in line for line in said)
    assert (first.n_computed, first.n_test_looks) == (1, 1)
    again = basket.run_sweep(space, cache=league.cache, out="s")
    assert (again.n_computed, again.n_test_looks) == (0, 1)
    assert again.report.results() == first.report.results()


def test_a_sweep_refuses_a_test_set_before_it_fits_and_before_it_looks(league, tmp_path):
    data = {"cache": league.cache, "train": league.train, "out": tmp_path / "s"}
    other = rewritten(
        league.test, tmp_path / "other.csv", lambda rows: [["path", "A", "B", "C"], *rows[1:]]
    )
    for test, said in {tmp_path / "none.csv": "no label file", other: "are not those of"}.items():
        with pytest.raises(UsageError, match=said):
            basket.run_sweep(basket.Space(pools=("mean",)), test=test, **data)
    with pytest.raises(UsageError, match="set aside must be at least 0 and below 1"):
        basket.run_sweep(basket.Space(pools=("mean",)), set_aside=1.0, **data)
    assert not data["out"].exists()


def test_a_sweep_reads_test_columns_in_any_order_and_tells_players_it_chose_by(league, tmp_path):
    swapped = rewritten(
        league.val, tmp_path / "swapped.csv", lambda rows: [[r[0], *r[:0:-1]] for r in rows]
    )
    said = []
    found = basket.run_sweep(
        basket.Space(pools=("mean",)),
        cache=league.cache,
        train=league.train,
        val=league.val,
        test=swapped,
        out=tmp_path / "s",
        say=said.append,
    )
    assert found.report.skills == SKILLS
    assert found.report.results()[0]["accuracy"] > 0.6
    assert any("Leak: 12 players are in both val and test" in line for line in said)
    assert found.report.notes[0].startswith("12 players in test, e.g. NBA/36, were validation")


def test_a_sweep_of_one_player_alone_has_nobody_to_select_on(league, tmp_path):
    one = rewritten(league.train, tmp_path / "one.csv", lambda rows: rows[:2])
    with pytest.raises(UsageError, match="one player alone, and none can be held out"):
        basket.run_sweep(basket.Space(), cache=league.cache, train=one, out=tmp_path / "s")


def test_a_sweep_without_validation_says_whom_it_holds_out(league, tmp_path):
    said = []
    basket.run_sweep(
        basket.Space(pools=("mean",)),
        cache=league.cache,
        train=league.train,
        out=tmp_path / "s",
        say=said.append,
    )
    assert "a fifth of the training players is held out" in said[0]
    with pytest.raises(UsageError, match="--jobs must be at least 1"):
        basket.run_sweep(basket.Space(), cache=league.cache, train=league.train, jobs=0)


def test_a_sweep_of_baskets_own_files_without_validation_says_so_too(layout, league):
    (layout / "val.csv").unlink()
    said = []
    basket.run_sweep(basket.Space(pools=("mean",)), cache=league.cache, out="s", say=said.append)
    assert said[0].startswith("Labels: ")
    assert "a fifth of the training players is held out" in said[1]


def test_a_damaged_record_of_looks_is_not_taken_for_none(league, tmp_path):
    arguments = {"cache": league.cache, "train": league.train, "test": league.test}
    basket.run_sweep(basket.Space(pools=("mean",)), out=tmp_path / "s", **arguments)
    (tmp_path / "s" / "tested.json").write_text("[")
    with pytest.raises(RunError, match=r"tested\.json is damaged"):
        basket.run_sweep(basket.Space(pools=("mean",)), out=tmp_path / "s", **arguments)
