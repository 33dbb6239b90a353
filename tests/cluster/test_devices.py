"""Several devices: the same features as one, and errors of a device are told once."""

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

from basket.cache import open_cache
from basket.errors import BasketError, IdentityError, UsageError, WeightsError
from basket.extract.backbones.batching import BatchSize
from basket.extract.devices import _serve_lane, device_list, forward_processes
from basket.extract.engines import run_extraction
from basket.extract.forward import embedders_here
from basket.extract.recipe import BackboneRecipe

from .conftest import PLAN, assert_same, python_path


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


def test_a_list_of_gpus_is_one_process_each_and_one_pool_of_decoders(
    tmp_path, sources, decoders_and_backbones, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", python_path())  # decode processes import the decoder by name
    here = tmp_path / "reels"
    here.mkdir()
    for source in sources:
        os.link(source.path, here / source.video_id)
    cache = tmp_path / "cache"
    run_extraction(
        [replace(source, path=here / source.video_id) for source in sources],
        recipe=BackboneRecipe(("cluster_backbones:TellsDevice",), device="cuda:0,1"),
        plan=PLAN,
        cache=cache,
        decoder="cluster_decoders:open_telling",
        workers=2,
        batch_size=1,
    )
    (name,) = open_cache(cache).feature_sets
    features = open_cache(cache)[name]
    rows = np.concatenate([features.read(each).features["pooled"] for each in features.video_ids])
    assert len(features.video_ids) == len(sources)
    assert set(rows[:, 0].tolist()) == {0.0, 1.0}
    assert {features.row(each).provenance["device"] for each in features.video_ids} == {"cuda"}
    # Whatever the device, the parent's own two processes decoded it.
    told = [line.split() for line in (here / "served.log").read_text().splitlines()]
    assert {parent for parent, _ in told} == {str(os.getpid())}
    assert 1 <= len({pid for _, pid in told}) <= 2


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


def test_a_device_is_handed_a_batch_while_it_computes_the_one_before(decoders_and_backbones):
    recipe = BackboneRecipe(("cluster_backbones:TwoUnderWay",))
    clips = np.zeros((2, 1, 2, 8, 8, 3), np.uint8)

    def rows(embedders):
        with ThreadPoolExecutor(2) as threads:
            answers = threads.map(lambda call: call(0, [clips]), embedders.calls)
            return np.concatenate([answer["pooled"] for answer in answers])

    with forward_processes(recipe, ["cpu"], batch_size=2) as (_, embedders):
        assert rows(embedders).tolist() == [[1.0]] * 4
    here = embedders_here(recipe.load(), [BatchSize(2)], at_once=2)
    assert rows(here).tolist() == [[1.0]] * 4


def test_a_backbone_may_start_threads_in_a_forward_process(decoders_and_backbones):
    recipe = BackboneRecipe(("cluster_backbones:ComputesInThreads",))
    clips = np.zeros((2, 1, 2, 8, 8, 3), np.uint8)
    with forward_processes(recipe, ["cpu"], batch_size=2) as (_, embedders):
        time.sleep(0.5)  # its first thread has nothing left to do by now
        assert embedders.calls[0](0, [clips])["pooled"].shape == (2, 1)


def test_memory_that_cannot_be_reached_is_told_to_who_waits_for_the_answer():
    ours, theirs = multiprocessing.Pipe()
    lane = threading.Thread(target=_serve_lane, args=(theirs, [], [], "cuda:1", nullcontext()))
    lane.start()
    ours.send(("/proc/self/fd/no-such-number:0", 0, (1, 1, 2, 8, 8, 3)))
    assert ours.poll(30)
    assert "forward process on cuda:1 failed: FileNotFoundError" in str(ours.recv())
    ours.close()
    lane.join()


def test_backbones_that_cannot_be_loaded_are_told_as_here(decoders_and_backbones):
    recipe = BackboneRecipe(("cluster_backbones:HasNoWeights",))
    with pytest.raises(WeightsError, match="there are none"), forward_processes(recipe, ["cpu"]):
        pass


def test_a_device_that_is_ready_when_the_run_has_ended_leaves_no_traceback(
    decoders_and_backbones, capfd, monkeypatch
):
    # The first has failed and ended the run by the time the second would say the same.
    monkeypatch.setenv("BASKET_TEST_SLOW", "cuda:1")
    recipe = BackboneRecipe(("cluster_backbones:HasNoWeights",))
    with (
        pytest.raises(WeightsError, match="there are none"),
        forward_processes(recipe, ["cuda:0", "cuda:1"]),
    ):
        pass
    assert "Traceback" not in capfd.readouterr().err


def test_a_process_that_dies_while_it_loads_is_told_with_its_exit_code(decoders_and_backbones):
    recipe = BackboneRecipe(("cluster_backbones:DiesLoading",))
    with (
        pytest.raises(BasketError, match=r"on cpu died \(exit code 3"),
        forward_processes(recipe, ["cpu"]),
    ):
        pass


def test_devices_with_different_weights_are_refused(decoders_and_backbones):
    recipe = BackboneRecipe(("cluster_backbones:DiffersByDevice",))
    with (
        pytest.raises(IdentityError, match="cuda:0 and cuda:1 have loaded different"),
        forward_processes(recipe, ["cuda:0", "cuda:1"]),
    ):
        pass


def test_a_batch_that_fails_is_told_and_does_not_end_the_process(decoders_and_backbones):
    recipe = BackboneRecipe(("cluster_backbones:FailsToEmbed",))
    with forward_processes(recipe, ["cpu"], batch_size=4) as (_, embedders):
        for n in (1, 3):  # memory grows with the batch
            clips = np.zeros((n, 1, 2, 8, 8, 3), np.uint8)
            with pytest.raises(BasketError, match=f"on cpu failed: ValueError.'{n} clips of"):
                embedders.calls[0](0, [clips])


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
