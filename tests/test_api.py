"""The package as Python users meet it: names, conversions, representations, scikit-learn."""

import ast
import subprocess
import sys
from contextlib import nullcontext
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from small_league import SKILLS, WIDTH, make_small_league, video_id

import basket
from basket.errors import CacheError, MissingDependencyError, UsageError
from basket.heads.pooling import pool
from basket.predict.predictor import Prediction

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def league(tmp_path_factory):
    return make_small_league(tmp_path_factory.mktemp("league"), random_weights=True)


@pytest.fixture(scope="module")
def feature_set(league):
    return basket.open_cache(league.cache)["motion"]


@pytest.fixture(scope="module")
def fitted(league, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "ridge"
    return basket.fit_head(cache=league.cache, train=league.train, val=league.val, out=out)


# Names


@pytest.mark.parametrize("name", basket.__all__)
def test_every_public_name_is_there_and_documented(name):
    found = getattr(basket, name)
    assert name in dir(basket)
    if name != "__version__":
        assert (found.__doc__ or "").strip()


def test_no_public_name_is_also_a_module():
    folder = Path(basket.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} | {path.name for path in folder.iterdir()}
    assert not modules & set(basket.__all__)


def test_type_checkers_see_the_names_that_are_there():
    tree = ast.parse(Path(basket.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module != "basket"
        for alias in node.names
    }
    assert typed == basket._HOME_OF
    assert {"__version__", *typed} == set(basket.__all__)


def test_errors_heads_and_metrics_need_no_import_of_their_own():
    """Someone who catches ``basket.errors.BasketError`` has imported ``basket`` alone."""
    names = "errors.BasketError, basket.heads.make_head, basket.metrics.accuracy"
    subprocess.run([sys.executable, "-c", f"import basket; basket.{names}"], check=True)
    assert {"errors", "heads", "metrics"} <= set(dir(basket))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'extract_everything'"):
        basket.extract_everything  # noqa: B018


def test_every_command_has_its_call():
    # Command to the public name that does the same.
    calls = {
        "labels": "describe_labels", "extract": "extract_features", "models": "model_table",
        "doctor": "examine", "fit-head": "fit_head", "combine": "combine_runs",
        "evaluate": "evaluate_run", "predict": "predict_videos", "demo": "run_demo",
        "sweep": "run_sweep", "leaderboard": "leaderboard",
        "cache ls": "list_cache", "cache status": "list_cache", "cache verify": "verify_cache",
        "cache repair": "repair_cache", "cache pack": "pack_cache",
        "cache export": "export_features", "cache import": "import_features",
        "cache push": "push_cache", "cache pull": "pull_cache",
        "run push": "push_run", "run pull": "pull_run",
    }  # fmt: skip
    assert set(calls.values()) <= set(basket.__all__)
    from basket.cli import app

    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    for group in app.registered_groups:
        commands |= {
            f"{group.name} {command.name or command.callback.__name__}"
            for command in group.typer_instance.registered_commands
        }
    assert {"fit-head", "cache ls"} <= commands
    assert set(calls) <= commands


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, basket; basket.__version__; print([m for m in ('numpy', 'torch', 'h5py', "
        "'sklearn', 'typer', 'rich', 'huggingface_hub') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


# Features as other libraries want them


def test_numpy_has_a_row_per_video_as_fitting_pools_them(feature_set):
    ids = feature_set.video_ids[::-1]
    expected = pool(feature_set.ragged(ids, "pooled"), "mean+std")
    found = feature_set.to_numpy(ids, pool="mean+std")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert feature_set.to_numpy().shape == (60, WIDTH)


def test_numpy_without_pooling_is_the_segments(feature_set):
    ids = [video_id(5), video_id(3)]
    found = feature_set.to_numpy(ids, pool=None)
    assert (found == feature_set.ragged(ids, "pooled").values).all()


def test_pandas_is_indexed_by_video_or_by_segment(feature_set):
    pytest.importorskip("pandas")
    ids = [video_id(5), video_id(3)]
    frame = feature_set.to_pandas(ids, pool="max")
    assert list(frame.index) == ids
    assert frame.index.name == "video_id"
    assert (frame.to_numpy() == feature_set.to_numpy(ids, pool="max")).all()
    segments = feature_set.to_pandas(ids, pool=None)
    assert segments.index.names == ["video_id", "start_s", "end_s"]
    assert segments.loc[ids[1]].index.get_level_values("start_s").tolist() == [0.0, 2.0]
    assert (segments.loc[ids[0]].to_numpy() == feature_set.to_numpy(ids[:1], pool=None)).all()


def test_arrow_carries_the_identity_and_goes_through_parquet(feature_set, tmp_path):
    import pyarrow.parquet as pq

    ids = [video_id(5), video_id(3)]
    table = feature_set.to_arrow(ids, pool=None)
    assert table["video_id"].to_pylist() == [ids[0]] * 4 + [ids[1]] * 2
    assert table["end_s"].to_pylist() == [2.0, 4.0, 6.0, 8.0, 2.0, 4.0]
    assert table["frames_valid"].to_pylist() == [16] * 6
    pq.write_table(table, tmp_path / "x.parquet")
    again = pq.read_table(tmp_path / "x.parquet")
    values = np.array(again["features"].to_pylist(), dtype=np.float32)
    assert (values == feature_set.to_numpy(ids, pool=None)).all()
    assert again.schema.metadata[b"feature_set"].decode() == feature_set.spec.to_json()
    pooled = feature_set.to_arrow(ids, pool="mean")
    assert pooled.column_names == ["video_id", "features"]
    assert pooled["features"].to_pylist()[1] == feature_set.to_numpy(ids)[1].tolist()


def test_torch_gives_pooled_rows_with_targets(feature_set):
    from torch.utils.data import DataLoader

    targets = np.arange(60)[:, None].repeat(3, axis=1)
    data = feature_set.to_torch(targets=targets)
    assert len(data) == 60
    features, target = data[-1]
    assert features.numpy().tolist() == feature_set.to_numpy()[-1].tolist()
    assert target.tolist() == [59] * 3
    batches = list(DataLoader(data, batch_size=32))
    assert [tuple(x.shape) for x, _ in batches] == [(32, WIDTH), (28, WIDTH)]
    with pytest.raises(IndexError):
        data[60]
    with pytest.raises(ValueError, match="2 targets for 60 videos"):
        feature_set.to_torch(targets=[1, 2])


def test_torch_gives_segments_ragged_and_in_the_order_asked_for(feature_set):
    from torch.utils.data import DataLoader

    ids = [video_id(p) for p in (40, 2, 17, 9)]
    data = feature_set.to_torch(ids, pool=None, targets=[40, 2, 17, 9])
    loader = DataLoader(data, batch_size=3, collate_fn=data.collate)
    (values, offsets, targets), (rest, *_) = list(loader)
    assert targets.tolist() == [40, 2, 17]
    expected = feature_set.ragged(ids[:3], "pooled")
    assert (values.numpy() == expected.values).all()
    assert offsets.tolist() == expected.offsets.tolist()
    assert len(rest) == 2
    plain = feature_set.to_torch(ids, pool=None)
    assert plain[1].shape == (4, WIDTH)
    assert len(plain.collate([plain[0], plain[1]])) == 2


def test_conversions_name_what_is_wrong(feature_set, monkeypatch):
    with pytest.raises(UsageError, match="did you mean 'mean'"):
        feature_set.to_numpy(pool="maen")
    with pytest.raises(UsageError, match="keeps segments"):
        feature_set.to_arrow(pool="segments")
    with pytest.raises(UsageError, match="no stream 'layer-4'"):
        feature_set.to_torch(stream="layer-4", pool=None)
    with pytest.raises(CacheError, match="it failed"):
        feature_set.to_numpy(["18-19/NBA/99_18_19.mp4"])
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match=r"basket\[pandas\]"):
        feature_set.to_pandas()


def test_a_feature_set_without_videos_converts_to_nothing(tmp_path, feature_set):
    empty = basket.open_cache(tmp_path / "c", create=True).feature_set(feature_set.spec)
    assert empty.to_numpy().shape == (0, WIDTH)
    assert empty.to_arrow(pool=None).num_rows == 0
    assert len(empty.to_torch()) == 0


# What notebooks and the prompt show


def test_representations_are_short_and_tables_are_escaped(league, fitted, feature_set):
    cache = basket.open_cache(league.cache)
    assert list(cache) == [feature_set.name]
    assert "<td>" + feature_set.name + "</td>" in cache._repr_html_()
    assert ">60</td>" in cache._repr_html_()
    assert "60 videos, 1 failed" in repr(feature_set)
    assert "motion" in feature_set._repr_html_()
    assert repr(basket.open_cache(league.cache)["motion"]).count(",") == 0  # nothing was read
    labels = basket.read_labels(league.train)
    listed = basket.list_cache(league.cache, labels=league.train)
    counted = basket.describe_labels([league.train, league.val])
    assert all(len(repr(each)) < 300 for each in (labels, listed, counted))
    assert "36 videos, 3 skills of 5 levels" in repr(labels)
    assert ">36</td>" in counted._repr_html_()
    assert f"{feature_set.name} has random weights" in listed._repr_html_()
    assert "ridge on motion.dense" in repr(fitted)
    assert len(repr(fitted)) < 300
    assert "Random weights:" in fitted._repr_html_()
    accuracy = fitted.metrics["val"]["head"]["accuracy"]["mean"]
    assert f"{accuracy:.4f}" in fitted._repr_html_()
    report = basket.evaluate_run([fitted.path], tests={"a<b": league.test})
    assert repr(report) == "EvaluationReport(ridge on a<b)"
    assert "a&lt;b" in report._repr_html_()
    assert "<script" not in report._repr_html_()
    assert "Random weights:" in feature_set._repr_html_()
    assert "Random weights:" in Prediction(fitted, (), {}, features=None)._repr_html_()


def test_a_sweep_shows_its_leaderboard(league, tmp_path):
    space = basket.Space(pools=("mean", "max"))
    found = basket.run_sweep(
        space, cache=league.cache, train=league.train, val=league.val, out=tmp_path / "s"
    )
    assert "2 configurations" in repr(found)
    board = basket.leaderboard(tmp_path / "s")
    assert len(repr(board)) < 300
    html = found._repr_html_()
    assert html == board._repr_html_()
    assert "<td>max</td>" in html
    for page in (html, board.to_html()):
        assert "Random weights: motion was never trained and is a control." in page


def test_an_extraction_and_a_prediction_show_what_could_not_be_read(make_video, tmp_path):
    for player in range(6):
        make_video(tmp_path / "v" / f"{player}.mp4", frames=12 + player)
    (tmp_path / "v" / "bad.mp4").touch()
    cache, labels = tmp_path / "c", tmp_path / "labels.csv"
    labels.write_text("path,Steals\n" + "".join(f"{n}.mp4,{n % 5}\n" for n in range(6)))
    summary = basket.extract_features([tmp_path / "v"], models=["motion"], cache=cache)
    assert "bad.mp4: the file is empty" in summary._repr_html_()
    run = basket.fit_head(cache=cache, train=labels, head="prior", out=tmp_path / "r")
    found = run.predict(tmp_path / "v", cache=cache)
    assert repr(found) == f"Prediction(6 videos, 1 failed, by '{tmp_path}/r')"
    assert "<th>3.mp4</th>" in found._repr_html_()
    assert "bad.mp4: the file is empty" in found._repr_html_()


def test_long_tables_are_cut_and_say_so():
    from basket.notebook import SHOWN_ROWS, html_table

    html = html_table("t", ["n"], [[float("nan")], *([n] for n in range(SHOWN_ROWS + 4))])
    assert html.count("<tr>") == SHOWN_ROWS + 1
    assert "and 5 more" in html
    assert "<td>-</td>" in html


def test_progress_takes_what_any_call_reports(league, monkeypatch, capsys):
    from basket.extract.summary import Progress

    monkeypatch.setattr("basket.console.output._PLAIN_PROGRESS_S", 0.0)
    with basket.progress_bar("Verifying") as report:
        basket.verify_cache(league.cache, tell=report)
    assert "Verifying: 4 of 4" in capsys.readouterr().err
    with basket.progress_bar("Extracting") as report:
        report(Progress(3, 9, 1, 30, 60.0, 2.0, {"decode": 1.0, "forward": 0.5}))
    said = " ".join(capsys.readouterr().err.split())
    assert "Extracting: 3 of 9 videos, 1 failed, 15 clips/s" in said


def test_progress_in_a_notebook_is_a_bar(monkeypatch):
    from rich.console import Console

    from basket.console import Output

    output = Output()
    output.err = Console(file=StringIO(), force_jupyter=True)
    shown = []

    def bar(_output, what):
        shown.append(what)
        return nullcontext(lambda *_: None)

    monkeypatch.setattr(Output, "_bar", bar)
    with output.progress("Fitting") as report:
        report(1, 2, "")
    assert shown == ["Fitting"]


# scikit-learn


@pytest.mark.parametrize("name", ["ridge", "cumulative"])
def test_heads_work_in_pipelines_and_cross_validation(league, feature_set, name):
    from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels = basket.read_labels(league.train)
    X, y = feature_set.to_numpy(labels.video_ids), labels.levels[:, 0].astype(int)
    model = make_pipeline(StandardScaler(), basket.make_head(name))
    folds = GroupKFold(3)
    scores = cross_val_score(model, X, y, groups=np.array(labels.players), cv=folds)
    assert scores.min() > 0.6  # the level is in the features; chance is 0.2
    last = model.steps[-1][0]
    grid = GridSearchCV(model, {f"{last}__standardize": [True, False]}, cv=3).fit(X, y)
    assert set(grid.predict(X)) <= set(y)


def test_all_skills_at_once_from_a_pipeline(league, feature_set):
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels = basket.read_labels(league.train)
    X = feature_set.to_numpy(labels.video_ids, pool="mean+std")
    model = make_pipeline(StandardScaler(), basket.make_head("ridge", n_levels=5))
    proba = model.fit(X, labels.levels).predict_proba(X)
    assert proba.shape == (36, len(SKILLS), 5)
    np.testing.assert_allclose(proba.sum(axis=2), 1)


# Calls that the command line shares


def test_a_demo_needs_nothing_but_a_folder():
    import inspect

    parameters = inspect.signature(basket.run_demo).parameters.values()
    assert [each.name for each in parameters if each.default is each.empty] == ["out"]


def test_every_workflow_is_found_under_its_name():
    from basket import workflows

    assert dir(workflows) == sorted(workflows._FILE_OF)
    assert all(getattr(workflows, name).__name__ == name for name in workflows.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        workflows.nonsense  # noqa: B018 - being asked for is what is tested
