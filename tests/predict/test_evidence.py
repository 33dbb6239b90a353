"""Effects of segments: exact where they promise to add up, counterfactual elsewhere."""

import numpy as np
import pytest

from basket.cache import RaggedFeatures, VideoFeatures, open_cache
from basket.heads.pooling import parse_pooling, prepare
from basket.heads.sources import sources_of_run
from basket.predict.evidence import explain, method_of
from basket.predict.left_out import rows_without_each
from basket.predict.stored import reference_of_run


def features_of(run, world, names):
    sources = sources_of_run(open_cache(world.cache), run)
    return [[source.read(name) for source, _ in sources] for name in names]


BOTH = ("motion:pooled", "other:pooled")
ADDING_UP = [
    ("ridge", {"pool": "mean"}, "exact"),
    ("ridge", {"pool": "mean+std+max+min"}, "exact"),
    ("ridge", {"pool": "mean+std,max", "streams": BOTH}, "exact"),
    ("cumulative", {"pool": "mean+std/every:2"}, "exact"),
    ("attention", {"params": {"epochs": 2}}, "attention"),
    ("attention", {"params": {"epochs": 2, "pool": "topk", "top": 2}}, "attention"),
]


@pytest.mark.parametrize(("head", "settings", "method"), ADDING_UP)
def test_effects_add_up_to_the_difference_from_the_mean_prediction(
    fit, world, head, settings, method
):
    run = fit(head, **settings)
    names = world.names[:7]
    reference = reference_of_run(run)
    assert method_of(run) == method
    for each in explain(run, features_of(run, world, names), mean_latent=reference.mean_latent):
        assert each.adds_up
        assert each.effects.sum(axis=0) == pytest.approx(
            each.latent - reference.mean_latent, abs=1e-3
        )
        assert np.abs(each.latent).max() > 0.05


def test_the_mean_prediction_is_that_of_the_players_fitted_on(fit, world, labels):
    run = fit("ridge", pool="mean+std")
    ((source, stream),) = sources_of_run(open_cache(world.cache), run)
    import pyarrow.parquet as pq

    ids = pq.read_table(run.path / "training.parquet")["video_id"].to_pylist()
    pooled = prepare(source.ragged(ids, stream), "mean+std")
    assert reference_of_run(run).mean_latent == pytest.approx(
        run.head.latent(pooled).mean(axis=0), abs=1e-5
    )


def test_the_exact_effect_of_a_mean_is_that_of_its_segment(fit, world):
    run = fit("ridge", pool="mean")
    ((video,),) = features_of(run, world, world.names[:1])
    (each,) = explain(run, [[video]])
    x = video.features["pooled"].astype(np.float64)
    expected = (x @ run.head.coef_ + run.head.intercept_) / len(x)
    assert each.effects == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("head", "settings"),
    [
        ("gbdt", {"params": {"rounds": 20}}),
        (
            "mlp",
            {"params": {"epochs": 2, "hidden": 8}, "pool": "q50+last3"},
        ),
        (
            "cumulative",
            {"params": {"loss": "corn", "folds": 2, "penalties": [10.0]}, "pool": "mean"},
        ),
    ],
)
def test_elsewhere_an_effect_is_what_the_score_loses_without_the_segment(
    fit, world, head, settings
):
    run = fit(head, **settings)
    assert method_of(run) == "without"
    videos = features_of(run, world, world.names[:3])
    for (video,), each in zip(videos, explain(run, videos), strict=True):
        x = video.features["pooled"]
        for segment in (0, len(x) - 1):
            rest = RaggedFeatures.from_list([np.delete(x, segment, axis=0)])
            valid = np.delete(video.frames_valid, segment)
            lost = run.head.latent(prepare(rest, run.pooling, frames_valid=valid))[0]
            assert each.effects[segment] == pytest.approx(each.latent - lost, abs=1e-4)
        assert not each.adds_up


@pytest.mark.parametrize("pooling", ["mean+std", "max+q50+valid", "segments"])
def test_rows_without_each_segment_are_those_of_the_rest(pooling, monkeypatch):
    from basket.predict import left_out

    monkeypatch.setattr(left_out, "_BLOCK_BYTES", 300)  # several blocks
    random = np.random.default_rng(0)
    x = random.normal(size=(7, 3)).astype(np.float32)
    x[:, 2] = 4.0  # a column without spread
    valid = random.integers(1, 16, size=7)
    rows = rows_without_each(x, parse_pooling(pooling), valid)
    assert len(rows) == 7
    for segment in range(7):
        rest = RaggedFeatures.from_list([np.delete(x, segment, axis=0)])
        expected = prepare(rest, pooling, frames_valid=np.delete(valid, segment))
        expected = expected[0]
        assert np.asarray(rows[segment]) == pytest.approx(np.asarray(expected), abs=1e-5)


def test_segments_that_take_no_part_have_no_effect(fit, world):
    run = fit("cumulative", pool="mean+std/every:2")
    (each,) = explain(run, features_of(run, world, world.names[:1]))
    assert (each.effects[1::2] == 0).all()
    assert (each.effects[0::2] != 0).all()


def test_the_decisive_segment_is_found(fit, world):
    run = fit("ridge", pool="mean")
    ((video,),) = features_of(run, world, world.names[:1])
    x = video.features["pooled"].copy()
    x[4, :3] += 6
    x[1, :3] -= 6
    changed = VideoFeatures({**video.features, "pooled": x}, video.start_s, video.end_s,
                            video.frames_valid)  # fmt: skip
    (each,) = explain(run, [[changed]])
    for skill in range(3):
        assert each.strongest(skill, 1) == [4]
        assert each.strongest(skill, 1, up=False) == [1]


def test_a_reel_of_one_segment_is_explained(fit, world):
    for head, settings in (("ridge", {"pool": "mean"}), ("gbdt", {"params": {"rounds": 20}})):
        run = fit(head, **settings)
        ((video,),) = features_of(run, world, world.names[:1])
        one = VideoFeatures(
            {name: values[:1] for name, values in video.features.items()},
            video.start_s[:1], video.end_s[:1], video.frames_valid[:1],
        )  # fmt: skip
        (each,) = explain(run, [[one]])
        assert each.effects.shape == (1, 3)
        if each.adds_up:
            assert each.effects[0] == pytest.approx(each.latent, abs=1e-3)
