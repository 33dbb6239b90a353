"""Several devices: the same features as one, and errors of a device are told once."""

import os
import signal

import numpy as np
import pytest

from basket.cache import open_cache
from basket.errors import BasketError, UsageError, WeightsError
from basket.extract.devices import device_list, forward_processes
from basket.extract.engines import run_extraction
from basket.extract.recipe import BackboneRecipe

from .conftest import PLAN, assert_same


def test_two_devices_give_what_one_gives(tmp_path, sources, reels):
    _, straight = reels
    summary = run_extraction(
        sources,
        recipe=BackboneRecipe(("motion",), device="cpu,cpu", precision="auto"),
        plan=PLAN,
        cache=tmp_path / "cache",
        workers=1,
        batch_size=2,
    )
    assert summary.done == len(sources)
    features = open_cache(tmp_path / "cache")["motion"]
    assert_same(features, straight)
    assert features.row("0.mp4").provenance["device"] == "cpu"


def test_every_device_takes_part_and_a_dead_one_is_told_in_a_sentence(decoders_and_backbones):
    recipe = BackboneRecipe(("cluster_backbones:TellsProcess",), device="cpu")
    clips = np.zeros((3, 1, 2, 8, 8, 3), np.uint8)
    with forward_processes(recipe, ["cpu", "cpu"], batch_size=4) as (specs, embedders):
        assert [spec.name for spec in specs] == ["tells-process"]
        assert [size.clips for size in embedders.sizes] == [4]
        answers = [call(0, [clips, clips]) for call in embedders.calls]
        pids = [int(answer["pooled"][0, 0]) for answer in answers]
        assert len(set(pids)) == 2
        assert os.getpid() not in pids
        assert all(answer["pooled"].shape == (6, 1) for answer in answers)
        os.kill(pids[0], signal.SIGKILL)
        with pytest.raises(BasketError, match=r"forward process on cpu died \(exit code -9"):
            embedders.calls[pids.index(pids[0])](0, [clips])


def test_backbones_that_cannot_be_loaded_are_told_as_here(decoders_and_backbones):
    recipe = BackboneRecipe(("cluster_backbones:HasNoWeights",))
    with pytest.raises(WeightsError, match="there are none"), forward_processes(recipe, ["cpu"]):
        pass


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cuda:0,,1", "takes one device or a list"),
        ("cuda,1", "takes one device or a list"),
        ("cuda:0,0", "names cuda:0 twice"),
    ],
)
def test_lists_of_devices_are_checked(text, said):
    with pytest.raises(UsageError, match=said):
        device_list(text)


def test_all_devices_of_a_machine_without():
    with pytest.raises(UsageError, match="there is none here"):
        device_list("all", cuda_devices=lambda: 0)
