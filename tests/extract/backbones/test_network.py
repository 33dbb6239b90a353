"""What networks share: exact float32, compiling, work that comes home later, options passed on."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from basket.dataset.prompts import default_bank
from basket.errors import BasketError, UsageError
from basket.extract.backbones import BACKBONES, load_backbone, loading, network, opening
from basket.extract.backbones.random_networks import BUILDERS
from basket.extract.device import choose_device

STREAMS = ("pooled", "layers:-1,-2", "tubelets")


def test_float32_is_not_rounded_to_tf32_while_a_network_runs(loaded, make_clips, monkeypatch):
    import torch

    backbone = loaded("videomae")
    seen = []
    forward = type(backbone)._forward

    def spying(self, pixels):
        seen.append((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))
        return forward(self, pixels)

    monkeypatch.setattr(type(backbone), "_forward", spying)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    backbone.embed(make_clips(backbone.spec, 1))
    assert seen == [(False, False)]
    assert torch.backends.cudnn.allow_tf32 is True
    with network._exact_float32(False):
        assert torch.backends.cudnn.allow_tf32 is True


@pytest.mark.parametrize(
    ("capability", "chosen"), [((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16")]
)
def test_auto_takes_the_half_precision_that_a_gpu_has_circuits_for(monkeypatch, capability, chosen):
    import torch

    asked = []

    def get_device_capability(device):
        asked.append(device)
        return capability

    monkeypatch.setattr(torch.cuda, "get_device_capability", get_device_capability)
    assert choose_device("cuda:1", "auto") == ("cuda:1", chosen)
    assert asked == ["cuda:1"]
    assert choose_device("cuda:1", "bf16") == ("cuda:1", "bf16")


def test_attention_is_scaled_dot_product_where_transformers_has_it(loaded):
    for family in ("videomae", "vjepa2", "vivit", "clip", "siglip2", "dinov2"):
        assert loaded(family)._network.config._attn_implementation == "sdpa"


def test_begun_work_gives_what_embedding_gives(loaded, make_clips):
    backbone = loaded("videomae", STREAMS)
    one, other = make_clips(backbone.spec, 2), make_clips(backbone.spec, 3, seed=1)
    pending = backbone.begin(one)
    later = backbone.begin(other)
    for begun, clips in ((later, other), (pending, one)):
        for name, values in begun.result().items():
            np.testing.assert_array_equal(values, backbone.embed(clips)[name])


def tensors_beside_parameters(module):
    """Tensors that ``module.to`` does not move: plain attributes of any of its parts."""
    return [value for part in module.modules() for value in vars(part).values() if is_tensor(value)]


def is_tensor(value):
    import torch

    return isinstance(value, torch.Tensor)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("family", sorted(BUILDERS))
def test_a_network_runs_wholly_on_another_device_in_every_precision(
    family, precision, checkpoints, make_clips, monkeypatch
):
    import torch

    # It has no memory, but refuses what lies elsewhere or is of another type, as a GPU does.
    elsewhere = torch.device("meta"), getattr(torch, precision)
    monkeypatch.setattr(opening, "resolve_device", lambda *_: elsewhere)
    streams = ("pooled", "prompts") if family == "xclip" else STREAMS
    backbone = load_backbone(family, weights=checkpoints[family], streams=streams)
    networks = [each for each in vars(backbone).values() if isinstance(each, torch.nn.Module)]
    assert networks
    for network_ in networks:
        kept = [*network_.parameters(), *network_.buffers(), *tensors_beside_parameters(network_)]
        assert {each.device.type for each in kept} == {"meta"}
    with torch.inference_mode():
        found = backbone._forward(backbone._pixels(make_clips(backbone.spec, 2)))
    assert {name: tuple(each.shape) for name, each in found.items()} == {
        name: (2, width) for name, width in backbone.spec.streams.items()
    }
    assert {each.device.type for each in found.values()} == {"meta"}


def test_only_cuda_copies_without_waiting(loaded, make_clips, monkeypatch):
    """Elsewhere nothing would say when a copy has arrived, and it might be read before."""
    import torch

    asked = []
    to = torch.Tensor.to

    def spying(tensor, *args, **options):
        asked.append(options.get("non_blocking", False))
        return to(tensor, *args, **options)

    backbone = loaded("videomae")
    monkeypatch.setattr(torch.Tensor, "to", spying)
    backbone.embed(make_clips(backbone.spec, 1))
    assert asked
    assert not any(asked)


@pytest.mark.parametrize("family", ["videomae", "xclip", "timesformer", "siglip2"])
def test_compiled_networks_give_the_same_streams(
    family, checkpoints, loaded, make_clips, monkeypatch
):
    import torch

    compiled = []
    original = torch.nn.Module.compile

    def with_quick_backend(module, *args, **kwargs):
        compiled.append(module)
        return original(module, *args, backend="eager", **kwargs)

    monkeypatch.setattr(torch.nn.Module, "compile", with_quick_backend)
    streams = ("pooled", "prompts") if family == "xclip" else STREAMS
    backbone = load_backbone(family, weights=checkpoints[family], streams=streams, compile=True)
    assert len(compiled) == 2  # block by block
    for count in (1, 3):
        clips = make_clips(backbone.spec, count)
        plain = loaded(family, streams).embed(clips)
        for name, values in backbone.embed(clips).items():
            np.testing.assert_allclose(values, plain[name], rtol=0, atol=1e-5)


def test_a_third_party_need_not_know_our_options(monkeypatch):
    asked = []

    def load(checkpoint, *, weights, revision, device, precision, streams):
        asked.append((checkpoint.name, streams))
        return "theirs"

    monkeypatch.setattr(BACKBONES, "_third_parties", {"theirs": "some.module:load"})
    monkeypatch.setattr(type(loading.BACKBONES), "__getitem__", lambda self, name: load)
    assert load_backbone("theirs/big", prompts=default_bank()) == "theirs"
    assert asked == [("theirs/big", ("pooled",))]


def test_prompts_are_passed_on_to_third_parties_that_are_asked_for_them(monkeypatch):
    given = {}
    theirs = SimpleNamespace(spec=SimpleNamespace(streams={"prompts": 2}))
    monkeypatch.setattr(BACKBONES, "_third_parties", {"theirs": "some.module:load"})
    monkeypatch.setattr(
        type(loading.BACKBONES),
        "__getitem__",
        lambda self, name: lambda checkpoint, **options: given.update(options) or theirs,
    )
    load_backbone("theirs", prompts=default_bank(), streams=("prompts",), compile=True)
    assert given["prompts"] is default_bank() and given["compile"] is True


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), MemoryError()]
)
def test_weights_that_do_not_fit_into_a_device_are_a_sentence(checkpoints, monkeypatch, error):
    import torch

    def full(*_args, **_options):
        raise error

    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(BasketError, match="weights of clip do not fit into the free memory of cpu"):
        load_backbone("clip", weights=checkpoints["clip"])


@pytest.mark.parametrize("asked", ["layers:-1", "tubelets", "colour"])
def test_streams_that_a_third_party_passes_over_are_told(monkeypatch, asked):
    theirs = SimpleNamespace(spec=SimpleNamespace(streams={"pooled": 2}))
    monkeypatch.setattr(BACKBONES, "_third_parties", {"theirs": "some.module:load"})
    monkeypatch.setattr(
        type(loading.BACKBONES), "__getitem__", lambda self, name: lambda *_, **__: theirs
    )
    assert load_backbone("theirs") is theirs
    with pytest.raises(UsageError, match=rf"theirs has no stream '{asked}'; it offers 'pooled'"):
        load_backbone("theirs", streams=("pooled", asked))


@pytest.mark.parametrize("given", ["", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"])
def test_threads_that_wait_are_told_so_before_torch_comes(given):
    """OpenMP reads the environment once; what the user set there is kept."""
    code = """if True:
        import os, sys
        seen = []
        class Spy:
            def find_spec(self, name, path=None, target=None):
                if name == "torch" and not seen:
                    seen.append([os.environ.get(n) for n in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")])
        sys.meta_path.insert(0, Spy())
        from basket.errors import BasketError
        from basket.extract.backbones import load_backbone
        try:
            load_backbone("videomae", weights="nowhere")
        except BasketError:
            pass
        print(seen[0])
    """
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    if given:
        environment[given] = "7" if given == "GOMP_SPINCOUNT" else "ACTIVE"
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert (
        found
        == {
            "": "[None, '1000']",
            "OMP_WAIT_POLICY": "['ACTIVE', None]",
            "GOMP_SPINCOUNT": "[None, '7']",
        }[given]
    )
