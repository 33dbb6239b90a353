"""What all networks share: the device, loading without silent losses, pixels in, streams out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from basket.errors import UsageError, WeightsError
from basket.extract.backbones.base import BackboneSpec, Clips, check_clips
from basket.extract.backbones.preprocessing import Preprocessing
from basket.extract.backbones.tensors import index_tensors
from basket.extract.backbones.weights import CheckpointFolder
from basket.extract.device import choose_device

if TYPE_CHECKING:
    import torch

#: Names that a network has inside another module: of data-parallel training, of a compiled one...
_WRAPPERS = re.compile(r"(?:(?:module|model|backbone|encoder|_orig_mod)\.)*")
_FLOATING = frozenset(["F64", "F32", "F16", "BF16"])


def resolve_device(device: str, precision: str) -> tuple[torch.device, torch.dtype]:
    """Device and number format to run in.

    Parameters
    ----------
    device : str
        As torch names it, or ``auto``; see :func:`~basket.extract.device.choose_device`.
    precision : {"auto", "fp32", "bf16", "fp16"}

    Raises
    ------
    UsageError
        No such device here, or half precision on a CPU (up to 40 times slower than float32).
    """
    import torch

    device, precision = choose_device(device, precision)
    try:
        place = torch.device(device)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"device {device!r} is not available here ({str(error).splitlines()[0][:120]}); use "
            "--device auto or cpu"
        ) from error
    if precision != "fp32" and place.type == "cpu":
        raise UsageError(f"--precision {precision} needs a GPU; on a CPU use fp32 (or auto)")
    return place, {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def load_pretrained(
    network_class: Any,
    folder: CheckpointFolder,
    *,
    needed: tuple[str, ...],
    prefix: str = "",
    renamed: Mapping[str, str] | None = None,
    checked_apart: re.Pattern[str] | None = None,
    attention: str = "sdpa",
) -> Any:
    """Load a transformers model in float32 and refuse it if any needed weight was lost.

    Parameters
    ----------
    network_class : type
        A concrete transformers class: nothing from the checkpoint's folder is ever executed.
    folder : CheckpointFolder
    needed : tuple of str
        Beginnings of the parameter names that the features depend on. Such a parameter absent
        from the file would silently be random; one in the file that the model did not take
        would silently be unused.
    prefix : str
        Ignored at the beginning of names (``videomae.`` in front of the bare encoder's names).
    renamed : mapping of str to str, optional
        Patterns of names in the file to the model's.
    checked_apart : pattern, optional
        Names that the caller compares itself.
    attention : {"sdpa", "eager"}
        ``eager`` for the few architectures that have their own attention code.

    Raises
    ------
    WeightsError
        Damaged, of another shape than config.json says, or incomplete.
    """
    import torch

    tensors = index_tensors(folder.weight_files)
    wrapper = wrapper_of(tensors, needed, prefix)
    for name, tensor in tensors.items():
        inner = name.removeprefix(wrapper).removeprefix(prefix)
        if tensor.dtype not in _FLOATING and _matters(inner, needed, None):
            raise WeightsError(
                f"{folder.origin} holds {name!r} as {tensor.dtype}: quantised weights, whose scale "
                "is not known; name the full network that they were made from"
            )
    unwrapped = {rf"^{re.escape(wrapper)}": ""} if wrapper else {}
    try:
        with _quiet_transformers():
            model, report = network_class.from_pretrained(
                str(folder.path),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                attn_implementation=attention,
                key_mapping={**unwrapped, **(renamed or {})} or None,
                ignore_mismatched_sizes=True,  # told below, with the shapes
                output_loading_info=True,
            )
    except Exception as error:  # transformers raises whatever its many layers raise
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise WeightsError(
            f"{folder.origin} could not be loaded as {network_class.__name__} "
            f"({reason[0][:200]}); its config.json and weights do not fit, copy it again"
        ) from error
    for kind, verb in (("missing_keys", "lacks"), ("unexpected_keys", "holds, and would not use,")):
        names = {str(name).removeprefix(prefix) for name in report[kind]}
        lost = sorted(name for name in names if _matters(name, needed, checked_apart))
        if lost:
            raise WeightsError(
                f"{folder.origin} {verb} {len(lost)} weights that its features depend on, first "
                f"{lost[0]!r}; it is not a complete checkpoint of this kind"
            )
    for name, stored, expected in sorted(report["mismatched_keys"]):
        if _matters(str(name).removeprefix(prefix), needed, None):
            raise WeightsError(
                f"{folder.origin}: {name!r} has the shape {tuple(stored)} in the file, and by "
                f"config.json {tuple(expected)}; they are of two networks, copy both again"
            )
    for name, values in model.named_parameters():
        if _matters(name.removeprefix(prefix), needed, None) and not values.isfinite().all():
            raise WeightsError(
                f"{folder.origin}: {name!r} holds values that are not finite; the weights are "
                "damaged or their training went wrong"
            )
    return model.eval().requires_grad_(False)


def wrapper_of(names: Iterable[str], needed: tuple[str, ...], prefix: str) -> str:
    """What stands before all names of a network that was saved inside another module.

    Parameters
    ----------
    names : iterable of str
        Of the tensors in the file.
    needed, prefix
        As of :func:`load_pretrained`.

    Examples
    --------
    >>> wrapper_of(["module.embeddings.a", "module.encoder.b"], ("embeddings.", "encoder."), "")
    'module.'
    """
    seen: dict[str, set[str]] = {"": set()}
    for name in names:
        for end in range(len(_WRAPPERS.match(name)[0]) + 1):  # type: ignore[index]
            if end and name[end - 1] != ".":
                continue
            inner = name[end:].removeprefix(prefix)
            seen.setdefault(name[:end], set()).update(
                each for each in needed if inner.startswith(each)
            )
    return max(seen, key=lambda each: (len(seen[each]), -len(each)))


def _matters(name: str, needed: tuple[str, ...], apart: re.Pattern[str] | None) -> bool:
    """Old files also hold buffers (``position_ids``) that newer models compute: no loss."""
    if apart is not None and apart.search(name):
        return False
    return name.startswith(needed) and not name.endswith("position_ids")


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Hold back the load report and progress bars: what matters is checked and raised here."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


class Pending:
    """Streams of a batch that a device may still be computing.

    Parameters
    ----------
    streams : mapping of str to torch.Tensor
        On the CPU, filled once ``done`` has been reached.
    done : torch.cuda.Event or None
        None where nothing is left to wait for.
    """

    def __init__(self, streams: Mapping[str, torch.Tensor], done: Any = None) -> None:
        self._streams = streams
        self._done = done

    def result(self) -> dict[str, npt.NDArray[np.float32]]:
        """Wait, and hand over: float32 ``(N, D)`` per stream."""
        if self._done is not None:
            self._done.synchronize()
        return {name: values.numpy() for name, values in self._streams.items()}


class NetworkBackbone:
    """Normalises on the device, runs a subclass's ``_forward`` and brings the streams home.

    Parameters
    ----------
    spec : BackboneSpec
    preprocessing : Preprocessing
    device : torch.device
    dtype : torch.dtype
        What the network computes in; pixels are normalised and tokens averaged in float32.
    compiled : bool, default=False
        Run the network's blocks through ``torch.compile``: pays on a GPU after about a minute.
    """

    def __init__(
        self,
        spec: BackboneSpec,
        *,
        preprocessing: Preprocessing,
        device: torch.device,
        dtype: torch.dtype,
        compiled: bool = False,
    ) -> None:
        import torch

        self._spec = spec
        self._device, self._dtype = device, dtype
        self._compiled = compiled
        self._rescale = preprocessing.rescale_factor
        mean = [value + preprocessing.offset for value in preprocessing.mean]
        self._mean = torch.tensor(mean, dtype=torch.float32, device=device)
        self._std = torch.tensor(preprocessing.std, dtype=torch.float32, device=device)

    @property
    def spec(self) -> BackboneSpec:
        """What it is; constant for the life of the object."""
        return self._spec

    def embed(self, clips: Clips) -> dict[str, npt.NDArray[np.float32]]:
        """Embed a batch; see :class:`~basket.extract.backbones.base.Backbone`."""
        return self.begin(clips).result()

    def begin(self, clips: Clips) -> Pending:
        """Hand a batch to the device without waiting for it, so that the next can be prepared.

        Parameters
        ----------
        clips : ndarray, uint8, (N, T, H, W, 3)
            As for ``embed``; copied before the call returns.

        Returns
        -------
        Pending
            Its ``result()`` is what ``embed`` returns. On a CPU the work is done already.
        """
        import torch

        check_clips(clips, self._spec)
        if not len(clips):
            widths = self._spec.streams.items()
            return Pending({name: torch.empty((0, width)) for name, width in widths})
        is_cuda = self._device.type == "cuda"
        with torch.inference_mode(), _exact_float32(self._dtype == torch.float32):
            streams = self._forward(self._pixels(clips))
            # On CUDA, copies into pinned memory do not block; the event says when they have
            # arrived. Other devices have no such event here: their copies are waited for.
            home = {
                name: streams[name].float().to("cpu", non_blocking=is_cuda)
                for name in self._spec.streams
            }
        if not is_cuda:
            return Pending(home)
        return Pending(home, torch.cuda.current_stream(self._device).record_event())

    def _pixels(self, clips: Clips) -> torch.Tensor:
        """``uint8 (N, T, H, W, 3)`` to ``(N, T, 3, H, W)`` in the network's number format."""
        import torch

        # A read-only array (shared memory) is copied: torch cannot hold one.
        pixels = torch.from_numpy(np.require(clips, requirements=["C", "W"]))
        is_cuda = self._device.type == "cuda"
        if is_cuda:
            pixels = pixels.pin_memory()
        pixels = pixels.to(self._device, non_blocking=is_cuda)
        normal = (pixels.float() * self._rescale - self._mean) / self._std
        return normal.permute(0, 1, 4, 2, 3).to(self._dtype)

    def _compile(self, blocks: Sequence[Any]) -> None:
        """Compile where asked for: block by block, so equal blocks are compiled once."""
        if self._compiled:
            for block in blocks:
                block.compile()

    def _forward(self, pixels: torch.Tensor) -> Mapping[str, torch.Tensor]:
        raise NotImplementedError


@contextmanager
def _exact_float32(wanted: bool) -> Iterator[None]:
    """Keep CUDA from rounding float32 products to TF32 (10 bits) while a float32 network runs."""
    import torch

    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    if not wanted or before == (False, False):
        yield
        return
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
