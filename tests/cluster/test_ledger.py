"""What the driver believes to be done after an actor died: rows of this run, of what was wanted."""

from basket.cache import open_cache
from basket.extract.pipeline import extract
from basket.extract.planning import feature_set_spec, plan_jobs
from basket.extract.ray_actor import ActorDescription
from basket.extract.ray_ledger import Ledger
from basket.extract.recipe import BackboneRecipe

from .conftest import PLAN

RECIPE = BackboneRecipe(("motion", "cluster_backbones:Constant"))
ACTOR = ActorDescription((), "cpu", "fp32", "elsewhere", 7, "")


def opened(cache, backbones):
    return [cache.feature_set(feature_set_spec(each.spec, PLAN)) for each in backbones]


def test_only_rows_of_this_run_for_the_wanted_features_count(
    tmp_path, sources, decoders_and_backbones
):
    cache = open_cache(tmp_path / "cache", create=True)
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    three = [sources[0], sources[1], type(sources[0])("bad.mp4", bad)]
    backbones = RECIPE.load()
    # The first has one of the two, the last failed before and is tried again.
    what = {"plan": PLAN, "cache": cache, "workers": 1}
    extract([three[0]], backbones=backbones[:1], **what)
    extract([three[2]], backbones=backbones, **what)
    sets = opened(cache, backbones)
    jobs, _ = plan_jobs(three, backbones, sets, plan=PLAN, retry_failed=True)
    ledger = Ledger(sets, {job.source.video_id: job for job in jobs})
    assert ledger.done_of(ledger.jobs) == {}

    extract([three[0], three[2]], backbones=backbones, retry_failed=True, **what)
    done = ledger.done_of(ledger.jobs)
    assert set(done) == {"0.mp4", "bad.mp4"}
    assert done["0.mp4"] == ""
    assert "not a readable video" in done["bad.mp4"]

    ledger.give_up("1.mp4", "it would not", actor=ACTOR, decoder="pyav")
    assert ledger.done_of(["1.mp4"]) == {"1.mp4": "it would not"}
    assert [each.failed["1.mp4"] for each in opened(cache, backbones)] == ["it would not"] * 2
