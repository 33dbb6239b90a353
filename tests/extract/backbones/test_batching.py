"""Batches: the same rows whatever their size, halved when memory runs out."""

from types import SimpleNamespace

import numpy as np
import pytest

from basket.errors import BasketError
from basket.extract.backbones import load_backbone
from basket.extract.backbones.batching import BatchSize, auto_batch_size, embed_in_batches

STREAMS = ("pooled", "layers:-1", "tubelets")


class Tight:
    """A backbone on a device that holds only so many clips."""

    def __init__(self, backbone, fits, *, words="CUDA out of memory. Tried to allocate"):
        self.backbone, self.fits, self.words = backbone, fits, words
        self.spec = backbone.spec
        self.batches = []

    def embed(self, clips):
        import torch

        if len(clips) > self.fits:
            raise torch.OutOfMemoryError(self.words)
        self.batches.append(len(clips))
        return self.backbone.embed(clips)


class TightAhead(Tight):
    """The same, with work that comes home later."""

    def begin(self, clips):
        rows = self.embed(clips)
        return SimpleNamespace(result=lambda: rows)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("family", ["motion", "videomae", "dinov2"])
def test_rows_do_not_depend_on_the_batch_size(family, size, loaded, make_clips):
    backbone = loaded(family, ("pooled",) if family == "motion" else STREAMS)
    clips = make_clips(backbone.spec, 7)
    whole = backbone.embed(clips)
    batched = embed_in_batches(backbone, clips, size)
    assert list(batched) == list(backbone.spec.streams)
    for name, matrix in whole.items():
        atol = 0 if family == "motion" else 1e-5
        np.testing.assert_allclose(batched[name], matrix, rtol=0, atol=atol)


@pytest.mark.parametrize("kind", [Tight, TightAhead])
def test_out_of_memory_halves_and_is_remembered(kind, loaded, make_clips):
    backbone = loaded("videomae", STREAMS)
    clips = make_clips(backbone.spec, 11)
    tight = kind(backbone, fits=3)
    size = BatchSize(8)
    rows = embed_in_batches(tight, clips, size)
    for name, matrix in backbone.embed(clips).items():
        np.testing.assert_allclose(rows[name], matrix, rtol=0, atol=1e-5)
    assert (size.clips, size.halvings) == (2, [8, 4])
    assert sum(tight.batches) == 11 and max(tight.batches) == 2
    embed_in_batches(tight, clips, size)
    assert size.halvings == [8, 4]


def test_a_size_that_another_thread_has_halved_is_not_halved_again(loaded, make_clips):
    backbone, size = loaded("videomae"), BatchSize(8)
    tight = Tight(backbone, fits=4)
    begun = tight.embed

    def halved_meanwhile(batch):
        if not size.halvings:
            size.halve("videomae")
        return begun(batch)

    tight.embed = halved_meanwhile
    embed_in_batches(tight, make_clips(backbone.spec, 8), size)
    assert (size.clips, size.halvings) == (4, [8])


@pytest.mark.parametrize("kind", [Tight, TightAhead])
def test_memory_that_runs_out_later_loses_no_row(kind, loaded, make_clips):
    backbone = loaded("videomae")
    clips = make_clips(backbone.spec, 9)
    tight = kind(backbone, fits=4)
    begun = tight.embed

    def shrinking(batch):
        tight.fits = 4 if len(tight.batches) < 1 else 1
        return begun(batch)

    tight.embed = shrinking
    rows = embed_in_batches(tight, clips, 4)["pooled"]
    np.testing.assert_allclose(rows, backbone.embed(clips)["pooled"], rtol=0, atol=1e-5)
    assert tight.batches == [4, 1, 1, 1, 1, 1]


def test_one_clip_that_does_not_fit_is_an_error_in_one_sentence(loaded, make_clips):
    backbone = loaded("videomae")
    tight = Tight(backbone, fits=0)
    with pytest.raises(BasketError, match=r"not even one clip of videomae/.*--precision bf16"):
        embed_in_batches(tight, make_clips(backbone.spec, 2), 4)


def test_memory_of_a_cpu_counts_too_and_other_errors_do_not(loaded, make_clips):
    backbone = loaded("videomae")
    clips = make_clips(backbone.spec, 2)
    for words in (
        "DefaultCPUAllocator: can't allocate memory: you tried",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ):
        size = BatchSize(2)
        embed_in_batches(Tight(backbone, fits=1, words=words), clips, size)
        assert size.halvings == [2]
    broken = Tight(backbone, fits=1, words="CUDA error: an illegal memory access")
    with pytest.raises(RuntimeError, match="illegal"):
        embed_in_batches(broken, clips, 2)


def test_no_clips_give_empty_matrices(loaded, make_clips):
    for family in ("motion", "videomae"):
        backbone = loaded(family)
        empty = embed_in_batches(backbone, make_clips(backbone.spec, 0), 4)
        assert empty["pooled"].shape == (0, backbone.spec.streams["pooled"])


def test_without_a_gpu_batches_are_small(loaded):
    assert auto_batch_size(loaded("videomae"), "cpu").clips == 8
    assert auto_batch_size(load_backbone("motion"), "cuda").clips == 8


def test_a_gpu_that_holds_no_two_clips_is_given_them_one_by_one(loaded, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 10**9)
    tight = TightAhead(loaded("videomae"), fits=1)
    assert auto_batch_size(tight, "cuda:0").clips == 1


@pytest.mark.parametrize(("free_gb", "clips"), [(100, 32), (2, 10), (0.01, 1)])
def test_on_a_gpu_free_memory_and_the_model_s_cost_decide(loaded, monkeypatch, free_gb, clips):
    import torch

    peak = iter([300_000_000, 400_000_000])  # one more clip: 100 MB
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: next(peak))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(free_gb * 1e9), 0))
    backbone = loaded("videomae")
    costly = SimpleNamespace(
        embed=backbone.embed,
        begin=backbone.begin,
        spec=SimpleNamespace(
            tflop_per_clip=0.9, frames=backbone.spec.frames, geometry=backbone.spec.geometry
        ),
    )
    assert auto_batch_size(costly, "cuda:0").clips == clips
