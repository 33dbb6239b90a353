"""A run read back is the run that was written, to the last bit; anything else is refused."""

import hashlib
import json
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from basket.errors import BasketError, IntegrityError, NotThereError, RunError, UsageError
from basket.heads import HEADS
from basket.heads.booster_text import check_booster_text
from basket.heads.fit import fit_run
from basket.heads.persist import load_run, publish_run

PARAMS = {
    "mlp": {"epochs": 8, "hidden": 16, "depth": 2},
    "gbdt": {"rounds": 30},
    "attention": {"epochs": 3},
    "prompts": {"columns": None},  # not text scores, so their names are left out
}
CASES = [*HEADS, "cumulative-corn", "mlp-ce", "mlp-coral", "mlp-corn"]
CASES += ["gbdt-frank-hall", "gbdt-multiclass", "ridge-thresholds"]


@pytest.fixture(scope="module")
def runs(league, tmp_path_factory):
    """One run of each head."""
    folder = tmp_path_factory.mktemp("runs")
    out = {}
    for case in CASES:
        name, _, loss = case.partition("-")
        params = {**PARAMS.get(name, {}), **variant(name, loss)}
        out[case] = fit_run(
            league.matrix,
            league.matrix,
            head=name,
            params=params,
            seed=3,
            pooling="mean+std",
            feature_sets=[{"name": "motion", "stream": "pooled", "spec": league.source.spec}],
            out=folder / case,
            labels={},
        )
    return out


@pytest.fixture
def copy_of(runs, tmp_path):
    def copy(case):
        return Path(shutil.copytree(runs[case].path, tmp_path / "copy"))

    return copy


def variant(name, value):
    option = {"gbdt": "objective", "ridge": "target"}.get(name, "loss")
    return {option: value} if value else {}


def forge(folder, name, data):
    """Replace a file and its hash, as somebody would who means harm."""
    (folder / name).write_bytes(data)
    config = json.loads((folder / "run.json").read_text())
    config["files"][name] = hashlib.sha256(data).hexdigest()
    (folder / "run.json").write_text(json.dumps(config))


@pytest.mark.parametrize("case", CASES)
def test_fit_save_load_predict_is_identical_to_the_last_bit(case, runs, league):
    from basket.heads import make_head

    run = runs[case]
    seeded = {} if case in ("prior", "prompts") else {"seed": 3}
    fresh = make_head(run.config["head"], **seeded, **run.config["params"])
    fresh.fit(
        league.matrix.X,
        league.matrix.Y,
        groups=league.matrix.groups,
        validation=(league.matrix.X, league.matrix.Y),
    )
    loaded = load_run(run.path)
    expected = fresh.predict_proba(league.matrix.X)
    assert np.array_equal(loaded.predict_proba(league.matrix.X), expected)
    assert np.array_equal(loaded.head.latent(league.matrix.X), fresh.latent(league.matrix.X))
    assert loaded.decision == run.decision
    assert loaded.feature_sets[0].spec == league.source.spec
    for metric in ("accuracy", "mae", "qwk"):
        levels = loaded.predict(league.matrix.X, metric)
        assert np.array_equal(levels, run.decision.predict(expected, metric))


@pytest.mark.parametrize("case", CASES)
def test_skills_without_anything_to_learn_survive(case, league, tmp_path):
    from dataclasses import replace

    name, _, loss = case.partition("-")
    for constant in ([1], [0, 1, 2]):
        Y = league.matrix.Y.copy()
        Y[:, constant] = [3, -1, 2][: len(constant)]
        matrix = replace(league.matrix, Y=Y)
        run = fit_run(
            matrix,
            matrix,
            head=name,
            params={
                **PARAMS.get(name, {}),
                **variant(name, loss),
            },
            seed=0,
            pooling="mean+std",
            feature_sets=[{"name": "m", "stream": "pooled", "spec": league.source.spec}],
            out=tmp_path / f"{len(constant)}",
            labels={},
        )
        proba = run.predict_proba(matrix.X)
        assert np.abs(proba.sum(axis=2) - 1).max() <= 1e-6


@pytest.mark.parametrize("case", CASES)
def test_a_truncated_or_changed_file_is_refused(case, copy_of):
    folder = copy_of(case)
    names = ["head.json", "head.safetensors", "decision.json", "run.json"]
    names += sorted(path.name for path in folder.glob("booster_*.txt"))[:1]
    for name in names:
        whole = (folder / name).read_bytes()
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        for damaged in (b"", whole[:middle], whole[:-1], flipped):
            (folder / name).write_bytes(damaged)
            if name == "run.json" and damaged in (whole[:-1], flipped):
                continue  # A trailing newline, or a letter of a note, changes nothing read here.
            with pytest.raises(BasketError) as caught:
                load_run(folder)
            assert isinstance(caught.value, IntegrityError | RunError)
            assert "\n" not in str(caught.value)
        (folder / name).write_bytes(whole)
        load_run(folder)
        (folder / name).unlink()
        with pytest.raises((IntegrityError, RunError, NotThereError)):
            load_run(folder)
        (folder / name).write_bytes(whole)


@pytest.mark.parametrize("name", ["head.safetensors", "head.json", "decision.json", "run.json"])
def test_a_pickle_is_refused_and_not_run(name, copy_of, tmp_path):
    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    folder = copy_of("ridge")
    if name == "run.json":
        (folder / name).write_bytes(pickle.dumps(Harm()))
    else:
        forge(folder, name, pickle.dumps(Harm()))
    with pytest.raises(IntegrityError):
        load_run(folder)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("head.json", {"format": "other"}),
        ("head.json", {"version": 2}),
        ("head.json", {"head": "os:system"}),
        ("head.json", {"params": {"evil": 1}}),
        ("head.json", {"params": {"depth": 10**9}}),
        ("head.json", {"params": {"hidden": 17}}),
        ("head.json", {"params": {"hidden": "a"}}),
        ("head.json", {"n_features": 7}),
        ("head.json", {"n_features": "8"}),
        ("head.json", {"classes": [0, 1]}),
        ("head.json", {"classes": []}),
        ("head.json", {"boosters": ["../../x"]}),
        ("head.json", {"boosters": [7]}),
        ("head.json", {"values": None}),
        ("run.json", {"format": "basket-cache"}),
        ("run.json", {"version": 2}),
        ("run.json", {"files": None}),
        ("run.json", {"skills": ["a"]}),
        ("run.json", {"skills": [1, 2, 3]}),
        ("run.json", {"n_levels": 4}),
        ("run.json", {"pooling": "mean"}),
        ("run.json", {"pooling": 3}),
        ("run.json", {"train": {}}),
        ("run.json", {"train": {"level_counts": [[1, 2]]}}),
        ("run.json", {"labels": []}),
        ("run.json", {"seed": None}),
        ("run.json", {"feature_sets": []}),
        ("run.json", {"feature_sets": [{"name": "a", "stream": "b", "spec": {}}]}),
        ("decision.json", {"cuts": [[0.5, 1.5, 2.5, 3.5]]}),
        ("decision.json", {"cuts": [[0.5], [0.5], [0.5]]}),
    ],
)
def test_documents_that_do_not_fit_are_refused(name, change, copy_of):
    folder = copy_of("mlp")
    document = json.loads((folder / name).read_text())
    document |= change
    if name == "run.json":
        (folder / name).write_text(json.dumps(document))
    else:
        forge(folder, name, json.dumps(document).encode())
    with pytest.raises(BasketError) as caught:
        load_run(folder)
    assert "\n" not in str(caught.value)


def test_arrays_that_do_not_fit_are_refused(copy_of):
    from safetensors.numpy import load, save

    folder = copy_of("ridge")
    whole = load((folder / "head.safetensors").read_bytes())
    bad = {
        "coef": [whole["coef"][1:], whole["coef"] * np.nan, whole["coef"].astype(np.int64)],
        "prior_": [whole["prior_"] * -1, whole["prior_"][:, 1:].copy(), whole["prior_"] * 2],
        "active_": [whole["active_"] + 1, whole["active_"][::-1].copy(), whole["active_"] * 1.0],
        "thresholds": [None],
    }
    for name, arrays in bad.items():
        for array in arrays:
            changed = {key: value for key, value in whole.items() if key != name}
            if array is not None:
                changed[name] = np.ascontiguousarray(array)
            forge(folder, "head.safetensors", save(changed))
            with pytest.raises(IntegrityError):
                load_run(folder)


BOOSTER_CHANGES = [
    (r"split_feature=\d+", "split_feature=8"),
    (r"split_feature=\d+", "split_feature=-1"),
    (r"left_child=-?\d+", "left_child=900"),
    (r"left_child=-?\d+", "left_child=-900"),
    (r"left_child=-?\d+", "left_child=0"),
    (r"right_child=-?\d+", "right_child=99999999999999999999"),
    (r"num_leaves=\d+", "num_leaves=400"),
    (r"num_leaves=\d+", "num_leaves=0"),
    (r"num_leaves=\d+", "num_leaves=-3"),
    (r"leaf_value=\S+", "leaf_value=nan"),
    (r"leaf_value=\S+ ", "leaf_value="),
    (r"threshold=\S+", "threshold=1e999"),
    (r"decision_type=\d+", "decision_type=1"),
    (r"num_cat=0", "num_cat=1"),
    (r"is_linear=0", "is_linear=1"),
    (r"max_feature_idx=\d+", "max_feature_idx=70"),
    (r"tree_sizes=\d+", "tree_sizes=99"),
    (r"tree_sizes=.*", "tree_sizes="),
    (r"feature_names=Column_0", "feature_names=x"),
    (r"feature_infos=\S+ ", "feature_infos="),
    (r"num_class=1", "num_class=3"),
    (r"version=v4", "version=v9"),
    (r"shrinkage=\S+", "shrinkage=a"),
    (r"end of trees\n", "end of trees\nparameters:\n[input_model: /etc/passwd]\n"),
    (r"Tree=0\n", "Tree=1\n"),
    (r"Tree=0\n", "Tree=0\nTree=0\n"),
]


@pytest.mark.parametrize(("pattern", "replacement"), BOOSTER_CHANGES)
def test_hostile_booster_texts_never_reach_lightgbm(pattern, replacement, copy_of, monkeypatch):
    import lightgbm

    folder = copy_of("gbdt")
    text = (folder / "booster_0.txt").read_text()
    changed = re.sub(pattern, replacement, text, count=1)
    assert changed != text
    # Sizes that agree with the change, so that it is the change that is caught.
    if not pattern.startswith("tree_sizes"):
        grown = len(changed) - len(text)
        changed = re.sub(
            r"tree_sizes=(\d+)", lambda found: f"tree_sizes={int(found[1]) + grown}", changed
        )
    forge(folder, "booster_0.txt", changed.encode())

    def reached(*args, **kwargs):
        raise AssertionError("LightGBM was given the text")

    monkeypatch.setattr(lightgbm, "Booster", reached)
    with pytest.raises(IntegrityError, match="booster"):
        load_run(folder)


def test_every_truncation_of_a_booster_is_refused(runs):
    text = (runs["gbdt"].path / "booster_0.txt").read_text()
    check_booster_text(text, n_features=8)
    for end in range(0, len(text) - 1, 37):
        with pytest.raises(ValueError, match=r"booster|tree"):
            check_booster_text(text[:end], n_features=8)


def test_children_that_run_in_circles_are_refused(runs):
    text = (runs["gbdt"].path / "booster_0.txt").read_text()
    found = re.search(r"left_child=1 \S+ \S+ [^\n]*\nright_child=[^\n]*", text)
    assert found, "some tree of at least five leaves splits its first child"
    # Split 1 becomes its own child; the leaf that hung there is reachable twice.
    circular = text.replace(found[0], found[0].replace("=1 ", "=2 ", 1), 1)
    with pytest.raises(ValueError, match="do not form a tree"):
        check_booster_text(circular, n_features=8)


def test_other_places_are_no_runs(tmp_path, runs):
    with pytest.raises(NotThereError, match="no run folder"):
        load_run(tmp_path / "absent")
    with pytest.raises(NotThereError, match="no run folder"):
        load_run(tmp_path)
    (tmp_path / "run.json").write_text('{"format": "basket-run", "version": 9}')
    with pytest.raises(RunError, match="version 9"):
        load_run(tmp_path)
    with pytest.raises(RunError, match="fitted on 8 columns"):
        runs["ridge"].predict(np.zeros((1, 9)))


def test_a_run_is_seen_whole_or_not_at_all(tmp_path, monkeypatch):
    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(RunError, match="No space left"):
        publish_run(tmp_path / "run", {}, {"a": b"1"})
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    publish_run(tmp_path / "new" / "run", {}, {"a": b"1"})
    assert sorted(path.name for path in (tmp_path / "new" / "run").iterdir()) == ["a", "run.json"]
    with pytest.raises(UsageError, match="exists already"):
        publish_run(tmp_path / "new" / "run", {}, {})
