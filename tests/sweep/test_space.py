"""A specification is read strictly: every mistake is told with its line."""

import numpy as np
import pytest

from basket.errors import NotThereError, UsageError
from basket.sweep import HeadSpace, Range, Search, Setting, Space, read_space, space_from_flags
from basket.sweep.spec import parse_spec

SPEC = """\
features: [motion, [motion, xclip:pooled]]
pool: [mean, mean+std]
segments: [all, "every:2"]
heads:
  - ridge
  - head: mlp
    hidden: [16, 32]
    learning_rate: [1e-3, 1e-2]
seeds: 3
search: grid
metric: qwk
"""


def test_a_grid_is_every_combination_once():
    space = parse_spec(SPEC, origin="spec")
    settings = space.grid()
    assert len(settings) == len(set(settings)) == 2 * 2 * 2 * (1 + 4)
    assert space.features == (("motion",), ("motion", "xclip:pooled"))
    assert settings[0] == Setting(("motion",), "mean", "all", "ridge")
    assert {s.parameters["learning_rate"] for s in settings if s.head == "mlp"} == {1e-3, 1e-2}
    assert (space.seeds, space.metric) == (3, "qwk")
    assert len(space.with_seeds(settings)) == 3 * len(settings)


def test_pooling_and_segments_are_one_text_for_the_heads():
    assert Setting((), "mean+std", "every:2", "ridge").pooling == "mean+std/every:2"
    assert Setting((), "mean,max", "first:4", "ridge").pooling == "mean/first:4,max/first:4"
    assert Setting((), "mean", "all", "ridge").pooling == "mean"


def test_a_head_that_takes_segments_is_tried_once_whatever_the_pooling():
    space = Space(pools=("mean", "max"), heads=(HeadSpace("attention"),))
    assert [each.pool for each in space.grid()] == ["segments"]


def test_seeds_are_not_repeated_where_nothing_is_random():
    space = Space(heads=(HeadSpace("prior"),), seeds=5)
    assert len(space.with_seeds(space.grid())) == 1


def test_a_setting_survives_json():
    setting = Setting(("a", "b:c"), "mean", "all", "mlp", '{"hidden":16}', 3)
    assert Setting.from_json(setting.to_json()) == setting


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (("pool:", "pol:"), 2, "unknown key 'pol'; did you mean 'pool'"),
        (("mean+std", "mean+sdt"), 2, "unknown pooling"),
        (('"every:2"', '"evry:2"'), 3, "unknown segment subset"),
        (("- ridge", "- rigde"), 5, "did you mean 'ridge'"),
        (("head: mlp", "head: mlpp"), 6, "unknown head 'mlpp'"),
        (("hidden:", "hiden:"), 7, "did you mean 'hidden'"),
        (("[1e-3, 1e-2]", "[]"), 8, "no values"),
        (("[1e-3, 1e-2]", "[1e-3, -1]"), 8, "learning_rate must be above 0, got -1"),
        (("[1e-3, 1e-2]", "fast"), 8, "learning_rate must be a number, got 'fast'"),
        (("[1e-3, 1e-2]", "{low: 1, high: 2}"), 5, "a grid needs a list"),
        (("seeds: 3", "seeds: three"), 9, "expected a whole number"),
        (("seeds: 3", "seeds: 0"), 9, "at least 1"),
        (("search: grid", "search: gird"), 10, "unknown search 'gird'; did you mean 'grid'"),
        (("search: grid", "search: random"), 10, "needs a budget"),
        (("metric: qwk", "metric: qkw"), 11, "cannot select by 'qkw'; did you mean 'qwk'"),
        (("metric: qwk", "seeds: 2"), 11, "second time"),
        (("metric: qwk", "metric: [qwk"), 12, "not YAML"),
        (("[mean, mean+std]", "[mean/every:2]"), 2, "put that under segments"),
        (("[mean, mean+std]", "3"), 2, "expected a name"),
        (("seeds: 3", "7: 3"), 9, "expected a name before the colon"),
    ],
)
def test_a_mistake_is_told_with_its_line(change, line, message):
    with pytest.raises(UsageError, match=message) as told:
        parse_spec(SPEC.replace(*change), origin="spec.yaml")
    assert f"spec.yaml line {line}:" in str(told.value)


@pytest.mark.parametrize(
    "values",
    [
        "{low: 2, high: 1}",
        "{low: 0, high: 1, log: true}",
        "{low: 1}",
        "{low: 1, high: .inf}",
        "{low: .nan, high: 1}",
        "{low: 1, high: 2, log: 1}",
        "{low: 1.5, high: 2.4, integer: true}",
    ],
)
def test_a_range_that_makes_no_sense_is_refused(values):
    text = f"heads:\n  - head: mlp\n    dropout: {values}\n"
    with pytest.raises(UsageError, match="line 3: a range needs"):
        parse_spec(text, origin="s")


def test_files_that_are_no_specification_are_refused(tmp_path):
    with pytest.raises(NotThereError, match="There is no specification"):
        read_space(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="cannot be read"):
        read_space(tmp_path)
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    with pytest.raises(UsageError, match="is empty"):
        read_space(tmp_path / "empty.yaml")


def test_flags_make_the_space_that_a_file_would(tmp_path):
    flags = space_from_flags(
        features=["motion", "motion+xclip:pooled"],
        pools=["mean", "mean+std"],
        segments=["all", "every:2"],
        heads=["ridge", "mlp"],
        settings=["mlp.hidden=16,32", "mlp.learning_rate=[1e-3, 1e-2]"],
        seeds=3,
        metric="qwk",
    )
    assert flags == parse_spec(SPEC, origin="spec")
    with pytest.raises(UsageError, match=r"--set takes HEAD\.KEY"):
        space_from_flags(heads=["mlp"], settings=["hidden=3"])
    with pytest.raises(UsageError, match="did you mean 'hidden'"):
        space_from_flags(heads=["mlp"], settings=["mlp.hiddn=3"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("learning_rate: {low: -1, high: 1}", "learning_rate must be above 0, got -1.0"),
        ("dropout: {low: 0, high: 1}", "dropout must be .* below 1, got 1.0"),
        ("epochs: {low: 5, high: 50}", "epochs must be a whole number, got 5.0"),
        ("hidden: {low: 0, high: 8, integer: true}", "hidden must be at least 1, got 0"),
    ],
)
def test_a_range_with_an_end_that_the_head_refuses_is_told_with_its_line(values, message):
    text = f"heads:\n  - head: mlp\n    {values}\nsearch: {{kind: random, budget: 2}}\n"
    with pytest.raises(UsageError, match=f"line 3: {message}"):
        parse_spec(text, origin="s")


def test_a_larger_sample_begins_with_the_smaller_one():
    space = Space(
        pools=("mean", "max"),
        heads=(HeadSpace("mlp", {"dropout": Range(0.0, 0.9), "hidden": (8, 16)}),),
        search=Search("random", 5),
    )
    few, many = space.sample(5, seed=1), space.sample(12, seed=1)
    assert many[:5] == few
    assert len(set(many)) == 12
    assert space.sample(5, seed=2) != few
    assert len(Space(pools=("mean", "max")).sample(10, seed=0)) == 2


def test_a_budget_beyond_the_space_does_not_draw_for_ever(monkeypatch):
    drawn = []
    draw = Space.draw
    monkeypatch.setattr(Space, "draw", lambda *args: drawn.append(1) or draw(*args))
    space = Space(pools=("mean", "max"), heads=(HeadSpace("attention"), HeadSpace("prior")))
    assert len(space.sample(10**9, seed=0)) == 3
    assert len(drawn) <= 50 * 4
    whole = Space(heads=(HeadSpace("mlp", {"hidden": Range(1, 3, integer=True)}),))
    drawn.clear()
    assert len(whole.sample(10**4, seed=0)) == 3
    assert len(drawn) <= 50 * 3


def test_ranges_are_drawn_within_their_ends():
    random = np.random.default_rng(0)
    values = [Range(1e-4, 1e-1, log=True).draw(random) for _ in range(300)]
    assert min(values) >= 1e-4
    assert max(values) <= 1e-1
    assert 0.2 < np.mean(np.array(values) < 10**-2.5) < 0.8
    whole = [Range(1, 3, integer=True).draw(random) for _ in range(50)]
    assert set(whole) == {1, 2, 3}


@pytest.mark.parametrize("log", [False, True])
def test_whole_numbers_are_drawn_at_the_ends_of_a_range_too(log):
    random = np.random.default_rng(0)
    drawn = [Range(1, 4, log=log, integer=True).draw(random) for _ in range(4000)]
    counts = np.bincount(drawn, minlength=5)[1:] / len(drawn)
    edges = np.log([0.5, 1.5, 2.5, 3.5, 4.5]) if log else np.arange(5)
    wanted = np.diff(edges) / (edges[-1] - edges[0])
    assert counts == pytest.approx(wanted, abs=0.03)


def test_a_mapping_of_class_weights_is_a_value_and_no_range():
    text = "heads:\n  - head: ridge\n    class_weight: [balanced, {'4': 2.0}]\n"
    values = [s.parameters.get("class_weight") for s in parse_spec(text, origin="s").grid()]
    assert values == ["balanced", {"4": 2.0}]
