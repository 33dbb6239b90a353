"""Records: nothing lost, doubled or computed again; shared fits equal separate ones."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from basket import metrics
from basket.cache import open_cache, pack
from basket.errors import MissingDependencyError, NotThereError, RunError, UsageError
from basket.evaluate import EvaluationReport
from basket.heads import make_head
from basket.predict.stored import calibration_of_run
from basket.sweep import HeadSpace, Search, Space, fitting, read_leaderboard, run_settings, search
from basket.sweep.data import Loaded
from basket.sweep.records import Records, record_key
from basket.workflows import leaderboard, run_sweep

SMALL = Space(
    features=(("good",), ("noise",)),
    pools=("mean", "mean+std"),
    heads=(HeadSpace("ridge", {"penalties": (1.0, 100.0)}), HeadSpace("prior")),
)


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in (folder / "records").glob("*.json")
    }


@pytest.fixture
def loaded(court):
    return Loaded(court.data)


SHARED = {
    "ridge": (("penalties", (0.1, [1.0, 30.0], 1000.0)), {"class_weight": ("balanced",)}),
    "cumulative": (("penalties", (1.0, 30.0)), {}),
    "mlp": (("dropout", (0.0, 0.3)), {"epochs": (3,), "hidden": (8,)}),
    "gbdt": (("leaves", (3, 4)), {"rounds": (10,)}),
}


@pytest.mark.parametrize("head", SHARED)
def test_fits_that_share_equal_fits_alone(head, loaded):
    (name, values), common = SHARED[head]
    space = Space(features=(("good",),), heads=(HeadSpace(head, {name: values, **common}),))
    settings = space.grid()
    assert len({fitting.share_signature(setting) for setting in settings}) == 1
    train, val = loaded.matrices(settings[0])
    shared = list(fitting.fit_settings(settings, train, val))
    assert [each.setting for each in shared] == settings
    for each in shared:
        alone = make_head(head, n_levels=5, **each.setting.parameters)
        alone.fit(train.X, train.Y, groups=train.groups)
        scores = fitting.validation_scores(alone.predict_proba(val.X), val)
        for metric, expected in scores.items():
            assert each.scores[metric]["mean"] == pytest.approx(expected["mean"], abs=1e-5)


def test_seeds_that_change_nothing_are_fitted_and_scored_once(loaded, monkeypatch):
    space = Space(
        features=(("good",),), heads=(HeadSpace("cumulative", {"penalties": (3.0,)}),), seeds=3
    )
    scored = []
    score = fitting.validation_scores
    monkeypatch.setattr(
        fitting, "validation_scores", lambda *args: scored.append(1) or score(*args)
    )
    settings = space.with_seeds(space.grid())
    shared = list(fitting.fit_settings(settings, *loaded.matrices(settings[0])))
    assert [each.setting.seed for each in shared] == [0, 1, 2]
    assert len(scored) == 1


def test_one_that_fails_among_those_fitted_together_is_the_one_told(court, tmp_path, monkeypatch):
    together = fitting.fit_many

    def spoilt(heads, *data, **settings):
        if any(head.dropout == 0.3 for head in heads):
            raise ArithmeticError("no good")
        return together(heads, *data, **settings)

    monkeypatch.setattr(fitting, "fit_many", spoilt)
    space = Space(
        features=(("good",),),
        heads=(HeadSpace("mlp", {"dropout": (0.1, 0.3, 0.2), "epochs": (1,), "hidden": (4,)}),),
    )
    settings = space.grid()
    assert len({fitting.share_signature(setting) for setting in settings}) == 1
    records = run_settings(settings, data=court.data, folder=tmp_path).records
    failed = [setting.parameters["dropout"] for setting in settings if "error" in records[setting]]
    assert failed == [0.3]


@pytest.mark.parametrize(
    ("head", "params"),
    [
        ("mlp", {"hierarchy": True, "epochs": 1, "hidden": 4}),
        ("attention", {"queries": "group", "epochs": 1}),
    ],
)
def test_a_sweep_fills_in_what_the_names_of_the_skills_say(court, tmp_path, head, params):
    """The head that is tried is the one that is fitted as a run when it is chosen."""
    space = Space(
        features=(("good",),), heads=(HeadSpace(head, {k: (v,) for k, v in params.items()}),)
    )
    done = run_sweep(space, out=tmp_path, **court.files)
    assert not done.board.failures
    filled = {"mlp": "hierarchy", "attention": "queries"}[head]
    assert done.run.config["params"][filled] == [2, 2, 4]


def test_a_sweep_tells_prompts_what_its_columns_are(court, tmp_path):
    """Features that are no text scores cannot be tried, as they cannot be fitted as a run."""
    space = Space(features=(("good",),), heads=(HeadSpace("prompts"),), pools=("mean",))
    with pytest.raises(RunError, match="needs the stream prompts of an X-CLIP feature set"):
        run_sweep(space, out=tmp_path, **court.files)


def test_scores_are_of_players_the_rules_were_not_chosen_on(loaded):
    _, val = loaded.matrices(SMALL.grid()[0])
    proba = np.random.default_rng(0).dirichlet(np.ones(5), size=val.Y.shape)
    levels = fitting.cross_decided(proba, val)
    for name, formula in metrics.CONFUSION_METRICS.items():
        found = fitting.validation_scores(proba, val)[name]
        per_skill = formula(metrics.confusion_matrices(val.Y, levels[name], 5))
        assert found["mean"] == pytest.approx(per_skill.mean())
        assert found["low"] <= found["mean"] <= found["high"]
    np.testing.assert_array_equal(levels["accuracy"], proba.argmax(-1))


def test_nothing_is_done_twice_and_only_what_is_new_is_done(court, tmp_path):
    settings = SMALL.grid()
    first = run_settings(settings, data=court.data, folder=tmp_path)
    assert first.n_computed == len(settings) == 12
    before = stamps(tmp_path)
    again = run_settings(settings, data=court.data, folder=tmp_path)
    assert again.n_computed == 0
    assert again.records == first.records
    more = SMALL.grid() + Space(features=(("good",),), pools=("max",)).grid()
    assert run_settings(more, data=court.data, folder=tmp_path).n_computed == 1
    assert {name: stamp for name, stamp in stamps(tmp_path).items() if name in before} == before


def test_the_key_is_of_code_settings_labels_and_features(court, loaded, tmp_path, monkeypatch):
    setting = SMALL.grid()[0]
    data = loaded.digest(setting.features)
    keys = {
        record_key(setting, data),
        record_key(setting.with_parameters(folds=3), data),
        record_key(setting, loaded.digest(("noise",))),
    }
    fewer = tmp_path / "train.csv"
    fewer.write_text("\n".join(court.train.read_text().splitlines()[:-1]) + "\n")
    other = Loaded(type(court.data)(court.cache, fewer, court.val))
    keys.add(record_key(setting, other.digest(setting.features)))
    monkeypatch.setattr("basket.sweep.records.code_version", lambda: "another")
    keys.add(record_key(setting, data))
    assert len(keys) == 5


def made_anew(court, cache, rows):
    """Write rows of ``good`` again, with the same values, as an extraction would."""
    shutil.copytree(court.cache, cache)
    opened = open_cache(cache)
    (good,) = (opened[name] for name in opened.feature_sets if name.startswith("good"))
    with good.writer() as writer:
        for video in rows(good.video_ids):
            row = replace(good.row(video), source_mtime_ns=2)
            writer.add(row, good.read(video))
    return replace(court.data, cache=cache)


def test_a_sweep_on_features_made_anew_or_on_another_scale_is_another(court, tmp_path, capsys):
    space = Space(features=(("good",),), heads=(HeadSpace("prior"), HeadSpace("ridge")))
    said = []
    files = court.files | {"out": tmp_path / "sweep", "say": said.append}
    first = run_sweep(space, **files)
    assert (first.n_computed, run_sweep(space, **files).n_computed) == (2, 0)
    assert not [each for each in said if "records" in each]
    wider = run_sweep(space, **files, n_levels=7)
    assert (wider.n_computed, wider.run.n_levels) == (2, 7)
    assert "Of 2 records, 2 from other labels, levels or features were fitted" in said[-2]
    data = made_anew(court, tmp_path / "cache", lambda ids: ids[:1])
    again = run_sweep(space, **files | {"cache": data.cache})
    assert again.n_computed == 2
    assert again.run.path not in (first.run.path, wider.run.path)
    assert run_sweep(space, **files | {"cache": data.cache}).n_computed == 0


def test_a_packed_cache_is_the_same_data(court, loaded, tmp_path):
    data = made_anew(court, tmp_path / "cache", lambda ids: ids)
    before = Loaded(data).digest(("good",))
    assert before != loaded.digest(("good",))
    opened = open_cache(data.cache)
    for name in opened.feature_sets:
        pack(opened[name])
    assert Loaded(data).digest(("good",)) == before


def test_processes_divide_the_work_and_the_cores(court, tmp_path):
    settings = SMALL.grid()
    done = run_settings(settings, data=court.data, folder=tmp_path, jobs=2)
    assert done.n_computed == len(settings)
    alone = run_settings(settings, data=court.data, folder=tmp_path / "alone")
    for setting in settings:
        ours, theirs = done.records[setting]["scores"], alone.records[setting]["scores"]
        assert ours["qwk"]["mean"] == pytest.approx(theirs["qwk"]["mean"], abs=1e-9, nan_ok=True)


def test_a_setting_that_fails_is_a_record_and_stops_nobody(court, tmp_path):
    space = Space(
        features=(("good",),), heads=(HeadSpace("ridge", {"folds": (1, 3)}), HeadSpace("prior"))
    )
    done = run_settings(space.grid(), data=court.data, folder=tmp_path)
    errors = [record["error"] for record in done.records.values() if "error" in record]
    assert len(errors) == 1
    assert "at least 2 folds" in errors[0]
    assert run_settings(space.grid(), data=court.data, folder=tmp_path).n_computed == 0


@pytest.mark.parametrize("step", ["fit_many", "validation_scores"])
def test_whatever_a_fit_raises_is_a_record_but_want_of_memory_is_not(
    court, tmp_path, monkeypatch, step
):
    space = Space(features=(("good",),), heads=(HeadSpace("ridge", {"penalties": (1.0, 100.0)}),))
    first, second = space.grid()

    class Broken(Exception):
        pass

    def failing(error):
        calls = []
        work = getattr(fitting, step)

        def fails(*args, **kwargs):
            calls.append(args)
            # The first is what both share (and is tried apart), or the scoring of the first.
            if len(calls) <= (2 if step == "fit_many" else 1):
                raise error
            return work(*args, **kwargs)

        return fails

    for passing in (MemoryError(), MissingDependencyError("no such package")):
        with monkeypatch.context() as patch, pytest.raises(type(passing)):
            patch.setattr(fitting, step, failing(passing))
            run_settings(space.grid(), data=court.data, folder=tmp_path)
    assert not list((tmp_path / "records").glob("*.json"))
    monkeypatch.setattr(fitting, step, failing(Broken("no idea")))
    records = run_settings(space.grid(), data=court.data, folder=tmp_path).records
    assert records[first]["error"] == "Broken: no idea"
    assert "scores" in records[second]


@pytest.mark.parametrize(
    ("head", "name", "values", "search"),
    [
        ("gbdt", "learning_rate", (-1, 0.1), Search()),
        ("mlp", "batch_size", ("abc", 32), Search()),
        ("gbdt", "rounds", ("abc", 3), Search("halving", rungs=1)),
    ],
)
def test_a_value_that_a_head_refuses_is_told_and_the_others_are_fitted(
    court, tmp_path, head, name, values, search
):
    quick = {"mlp": {"epochs": (1,)}, "gbdt": {"patience": (0,)}}[head]
    space = Space(
        features=(("good",),),
        heads=(HeadSpace(head, {**quick, name: values}),),
        search=search,
    )
    board = run_sweep(space, out=tmp_path, **court.files).board
    assert [row.setting.parameters[name] for row in board.rows] == [values[1]]
    assert [f"UsageError: {name} must be" in reason for reason in board.failures.values()] == [True]


def test_where_all_fail_the_different_reasons_are_told(court, tmp_path):
    space = Space(
        features=(("good",),),
        heads=(
            HeadSpace("ridge", {"folds": (0, 1, "x"), "penalties": (1.0, 2.0)}),
            HeadSpace("gbdt", {"leaves": (1,)}),
        ),
        seeds=2,
    )
    with pytest.raises(
        RunError, match=r"None of the 7 configurations in .* could be fitted"
    ) as told:
        run_sweep(space, out=tmp_path, **court.files)
    reasons = str(told.value).split("could be fitted: ")[1].split("; ")
    assert len(set(reasons)) == 4
    assert reasons[3] == "and 1 more"


def test_a_record_that_is_there_stays(tmp_path):
    records = Records(tmp_path)
    failed = {"setting": SMALL.grid()[0].to_json(), "code": "c", "data": "d"}
    assert records.publish("k", {**failed, "error": "first"})
    assert not records.publish("k", {**failed, "error": "second"})
    assert records.get("k")["error"] == "first"


@pytest.mark.parametrize(
    "change",
    [
        {"setting": {}},
        {"setting": None},
        {"data": 3},
        {"seconds": "long"},
        {"scores": {}},
        {"scores": {name: {"mean": "a"} for name in metrics.CONFUSION_METRICS}},
    ],
)
def test_a_damaged_record_is_one_sentence(court, tmp_path, change):
    run_settings(SMALL.grid()[:1], data=court.data, folder=tmp_path)
    (file,) = (tmp_path / "records").glob("*.json")
    whole = file.read_text()
    assert Records(tmp_path).all()
    for text in (json.dumps({**json.loads(whole), **change}), whole[:90], "[]", "null"):
        file.write_text(text)
        with pytest.raises(RunError, match=r"no record of a sweep.*remove it to have it redone"):
            Records(tmp_path).all()


def test_a_lock_is_held_by_one(tmp_path):
    records = Records(tmp_path)
    with records.claim("x") as mine, Records(tmp_path).claim("x") as theirs:
        assert (mine, theirs) == (True, False)
    with records.claim("x") as free:
        assert free


def _sweep_process(court, folder, *, delay_s=0.0):
    script = f"""
import time
from pathlib import Path
from basket.sweep import HeadSpace, Space, fitting, run_settings
from basket.sweep.data import SweepData
slow = fitting.validation_scores
def scores(*args):
    time.sleep({delay_s})
    return slow(*args)
fitting.validation_scores = scores
space = Space(
    features=(("good",), ("noise",)), pools=("mean", "mean+std", "max"),
    heads=(HeadSpace("ridge", {{"penalties": (1.0, 10.0, 100.0)}}), HeadSpace("prior")),
)
data = SweepData(Path({str(court.cache)!r}), Path({str(court.train)!r}), Path({str(court.val)!r}))
done = run_settings(space.grid(), data=data, folder=Path({str(folder)!r}))
print(done.n_computed)
"""
    return subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=os.environ
    )


def test_ctrl_c_ends_a_worker_without_a_word(court, tmp_path):
    script = f"""
import os, signal
from pathlib import Path
from basket.sweep import runner
from basket.sweep.data import SweepData
data = SweepData(Path({str(court.cache)!r}), Path({str(court.train)!r}))
runner._start_worker(data, Path({str(tmp_path)!r}), 1, os.getppid())
os.kill(os.getpid(), signal.SIGINT)
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "")


def _kill_and_resume(court, folder, n_kills, seed):
    """Kill a sweep at random moments; what was finished must stay as it was, byte for byte."""
    moments = random.Random(seed)
    known: dict[str, tuple[int, int]] = {}
    for _ in range(n_kills):
        process = _sweep_process(court, folder, delay_s=0.03)
        start = time.monotonic()
        goal = len(known) + moments.randint(1, 4)
        # A start-up takes longer than all the work: wait for some of it to happen.
        while len(stamps(folder)) < goal and process.poll() is None:
            time.sleep(0.005)
            assert time.monotonic() - start < 600
        time.sleep(moments.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        now = stamps(folder)
        assert {name: now[name] for name in known} == known
        known = now
    process = _sweep_process(court, folder)
    output, _ = process.communicate(timeout=600)
    now = stamps(folder)
    assert len(now) == 24
    assert {name: now[name] for name in known} == known
    assert int(output) == 24 - len(known)
    for record in Records(folder).all().values():
        assert "scores" in record


def test_a_killed_sweep_loses_doubles_and_recomputes_nothing(court, tmp_path):
    (tmp_path / "records").mkdir()
    _kill_and_resume(court, tmp_path, 3, seed=0)


@pytest.mark.soak
def test_a_sweep_killed_thirty_times(court, tmp_path):
    for round_ in range(10):
        (tmp_path / str(round_) / "records").mkdir(parents=True)
        _kill_and_resume(court, tmp_path / str(round_), 3, seed=round_ + 1)


def test_two_processes_share_one_sweep(court, tmp_path):
    (tmp_path / "records").mkdir()
    both = [_sweep_process(court, tmp_path, delay_s=0.03) for _ in range(2)]
    computed = [int(process.communicate(timeout=600)[0]) for process in both]
    assert sum(computed) == 24
    assert len(stamps(tmp_path)) == 24


def test_a_worker_ends_with_its_parent():
    from basket.sweep import runner

    context = multiprocessing.get_context("spawn")
    process = context.Process(target=runner._end_with, args=(1,))
    process.start()
    process.join(600)
    assert process.exitcode == 1


def test_halving_gives_the_full_resource_to_the_better_third(court, tmp_path):
    space = Space(
        features=(("good",),),
        heads=(
            HeadSpace("gbdt", {"rounds": (18,), "leaves": (2, 3, 4), "patience": (0,)}),
            HeadSpace("ridge"),
        ),
        search=Search("halving", factor=3, rungs=1),
    )
    seen = []

    def run(settings, full):
        seen.append((full, [s.parameters.get("rounds") for s in settings]))
        return {
            s: {"scores": {"accuracy": {"mean": s.parameters.get("leaves", 0) / 10}}}
            for s in settings
        }

    search.walk(space, run, folder=tmp_path)
    assert seen[0] == (False, [6, 6, 6])
    assert seen[1] == (True, [18, None])


def test_the_best_on_validation_is_tested_once(court, tmp_path):
    notes = []
    space = Space(**{**vars(SMALL), "seeds": 2, "metric": "qwk"})
    done = run_sweep(space, out=tmp_path, say=notes.append, **court.files)
    best = done.board.rows[0]
    assert best.setting.head == "ridge"
    assert best.setting.features == ("good",)
    assert done.run.config["head"] == "ridge"
    assert done.run.config["labels"]["chosen_of"] == done.board.n_tried == 12
    aside = done.run.config["set_aside"]
    assert calibration_of_run(done.run).players == aside["n_players"] > 0
    assert done.n_test_looks == 1
    text = done.report.to_markdown()
    assert "12 configurations were tried on validation players" in text
    report = next((tmp_path / "tests").glob("*.json"))
    before = report.stat().st_mtime_ns
    again = run_sweep(space, out=tmp_path, **court.files)
    assert (again.n_computed, again.n_test_looks) == (0, 1)
    assert report.stat().st_mtime_ns == before
    assert EvaluationReport.from_json(report.read_text()) == again.report
    json.dumps(again.to_json(), allow_nan=False)


def test_without_validation_labels_training_players_are_held_out(court, tmp_path):
    files = {name: path for name, path in court.files.items() if name in ("cache", "train")}
    space = Space(features=(("good",),), heads=(HeadSpace("prior"),))
    done = run_sweep(space, out=tmp_path, **files)
    train, val = Loaded(type(court.data)(court.cache, court.train)).tables
    assert set(train.players).isdisjoint(val.players)
    assert len(train) + len(val) == 100
    assert done.report is None


def test_the_leaderboard_says_what_an_axis_is_worth(court, tmp_path):
    run_sweep(SMALL, out=tmp_path, **court.files)
    board = leaderboard(tmp_path, metric="qwk", html=tmp_path / "board.html")
    effects = {(each.axis, each.value): each for each in board.effects}
    assert effects["features", "good"].effect > 0.1
    assert effects["features", "good"].interval.low > 0
    assert effects["features", "good"].effect == pytest.approx(-effects["features", "noise"].effect)
    # The grid is balanced: an effect is the plain difference of means.
    by_pool = {
        pool: np.mean([row.means["qwk"] for row in board.rows if row.setting.pool == pool])
        for pool in ("mean", "mean+std")
    }
    assert effects["pool", "mean"].effect == pytest.approx(
        (by_pool["mean"] - by_pool["mean+std"]) / 2
    )
    html = (tmp_path / "board.html").read_text()
    assert "http" not in html.replace("http-equiv", "")
    assert "<script" not in html
    for row in board.rows:
        assert f'data-value="{row.means["qwk"]!r}"' in html
    means = [row.means["qwk"] for row in board.rows]
    assert means == sorted(means, reverse=True)
    json.dumps(board.to_json(), allow_nan=False)


def test_equal_configurations_stand_in_an_order_that_no_hash_decides(court, tmp_path):
    """With one penalty no fold is dealt: the number of folds changes nothing, names decide."""
    penalties, folds = (1.0,), (9, 2, 5)
    space = Space(
        features=(("good",),),
        heads=(HeadSpace("cumulative", {"penalties": penalties, "folds": folds}),),
    )
    board = run_sweep(space, out=tmp_path, **court.files).board
    assert len({tuple(row.means.values()) for row in board.rows}) == 1
    assert [row.setting.parameters["folds"] for row in board.rows] == [2, 5, 9]


def test_a_folder_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(NotThereError, match="is no sweep"):
        read_leaderboard(tmp_path)
    with pytest.raises(UsageError, match="--jobs"):
        run_sweep(SMALL, jobs=0)
    (tmp_path / "sweep.json").write_text('{"format": "basket-sweep", "version": 1, "space": 3}')
    with pytest.raises(RunError, match="cannot be read"):
        read_leaderboard(tmp_path)


OPTUNA = Space(
    features=(("good",), ("noise",)),
    pools=("mean", "max"),
    heads=(HeadSpace("cumulative", {"penalties": (1.0, 9.0)}),),
    search=Search("optuna", budget=3),
)


def test_optuna_tries_as_many_as_it_may_and_continues_where_it_was(court, tmp_path, recwarn):
    pytest.importorskip("optuna")
    first = run_sweep(OPTUNA, out=tmp_path, **court.files)
    assert (first.board.n_tried, first.n_computed) == (3, 3)
    assert run_sweep(OPTUNA, out=tmp_path, **court.files).n_computed == 0
    more = replace(OPTUNA, search=Search("optuna", budget=6))
    found = run_sweep(more, out=tmp_path, **court.files)
    assert (found.board.n_tried, found.n_computed) == (6, 3)
    assert not list(recwarn)


def test_optuna_ends_where_there_is_nothing_left_to_try(court, tmp_path):
    pytest.importorskip("optuna")
    small = replace(OPTUNA, pools=("mean",), search=Search("optuna", budget=50))
    assert run_sweep(small, out=tmp_path, **court.files).board.n_tried == 4


def test_optuna_learns_nothing_from_another_space_metric_or_data(court, tmp_path):
    """Each is a study of its own; what they have in common is not fitted again."""
    pytest.importorskip("optuna")
    whole = replace(OPTUNA, pools=("mean",), search=Search("optuna", budget=4))
    assert run_sweep(whole, out=tmp_path, **court.files).n_computed == 4
    edited = replace(whole, pools=("mean", "min"), search=Search("optuna", budget=8))
    assert run_sweep(edited, out=tmp_path, **court.files).n_computed == 4
    by_mae = run_sweep(replace(whole, metric="mae"), out=tmp_path, **court.files)
    assert by_mae.n_computed == 0
    others = {**court.files, "train": court.val, "val": court.train}
    assert run_sweep(whole, out=tmp_path, **others).n_computed == 4


def test_optuna_is_asked_for_by_name(court, tmp_path, monkeypatch):
    from basket.errors import MissingDependencyError

    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingDependencyError, match=r"basket\[optuna\]"):
        search.walk(Space(search=Search("optuna", 2)), lambda *_: {}, folder=tmp_path)
