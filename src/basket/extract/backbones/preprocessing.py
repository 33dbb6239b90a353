"""What a checkpoint's ``preprocessor_config.json`` asks of the pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

from basket.errors import WeightsError
from basket.extract.backbones.base import FrameGeometry
from basket.extract.backbones.weights import PREPROCESSOR, CheckpointFolder

#: Pillow's numbers for the two filters that the decoding contract knows.
_FILTERS: dict[Any, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}

#: Steps that are done unless the file says otherwise.
_ACTING = ("do_resize", "do_rescale", "do_normalize")
#: Steps that only some processors know; whatever asks for them would get other pictures.
_NOT_DONE = ("do_resize", "do_flip_channel_order", "do_pad", "do_thumbnail", "do_align_long_axis")


@dataclass(frozen=True)
class Preprocessing:
    """Pixel values ``(p * rescale_factor - offset - mean) / std`` in pictures of ``geometry``.

    Parameters
    ----------
    mean, std : tuple of float, (3,)
        RGB, after rescaling.
    rescale_factor : float
        1/255 but for exotic checkpoints.
    geometry : FrameGeometry
    offset : float
        1 for ViViT, whose pixels lie in [-1, 1] before mean and std; else 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    rescale_factor: float
    geometry: FrameGeometry
    offset: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The values that act on numbers (the geometry is recorded apart)."""
        values = {
            "mean": list(self.mean),
            "std": list(self.std),
            "rescale_factor": self.rescale_factor,
        }
        return {**values, "offset": self.offset} if self.offset else values


def read_preprocessing(
    folder: CheckpointFolder, *, height_px: int, width_px: int, offset: bool = False
) -> Preprocessing:
    """Read the checkpoint's own values; the processor class's defaults are never assumed.

    Parameters
    ----------
    folder : CheckpointFolder
    height_px, width_px : int
        What the network takes, from config.json.
    offset : bool, default=False
        Whether the family's processor moves rescaled pixels down by one where the file is silent.

    Raises
    ------
    WeightsError
        A value is missing or contradicts the network.

    Notes
    -----
    Files of 2022 write ``"size": 224`` where later ones write ``{"shortest_edge": 224}``, and no
    ``crop_size``: they cropped to what the network takes.
    """
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    if _flag(folder, "do_normalize"):
        mean, std = _triple(folder, "image_mean"), _triple(folder, "image_std")
        if min(std) <= 0:
            raise _wrong(folder, f"image_std is {list(std)}, it must be positive")
    geometry = _geometry(folder, height_px, width_px)
    if not _flag(folder, "do_rescale"):
        return Preprocessing(mean, std, 1.0, geometry)
    moved = _flag(folder, "offset", default=offset)
    rescale = folder.preprocessor.get("rescale_factor", 1 / 127.5 if moved else 1 / 255)
    if not _is_number(rescale) or rescale <= 0:
        raise _wrong(folder, f"rescale_factor is {rescale!r}, expected a positive number")
    return Preprocessing(mean, std, float(rescale), geometry, offset=float(moved))


def picture_sides(folder: CheckpointFolder) -> tuple[int, int] | None:
    """Height and width of what the preprocessor hands on; None where its file does not say."""
    crop = _crop(folder)
    if crop is not None:
        return crop
    size = folder.preprocessor.get("size")
    exact = isinstance(size, Mapping) and "height" in size
    return _sides(folder, "size") if exact else None


def _geometry(folder: CheckpointFolder, height_px: int, width_px: int) -> FrameGeometry:
    values, network = folder.preprocessor, (height_px, width_px)
    code = values.get("resample", 2)
    resample = _FILTERS.get(code) if isinstance(code, int) else None
    if resample is None:
        raise _wrong(folder, f"resample is {code!r}, known are 2 and 3")
    for name in _NOT_DONE:
        if _flag(folder, name, default=name == "do_resize") != (name == "do_resize"):
            raise _wrong(folder, f"{name} is {str(values[name]).lower()}, which basket does not do")
    crop = _crop(folder)
    if crop is not None and crop != network:
        raise _wrong(folder, f"crop_size is {crop}, the network takes {network}")
    size = values.get("size", min(network))
    shorter = size.get("shortest_edge") if isinstance(size, Mapping) else size
    if shorter is None or isinstance(shorter, list):  # exact sides: the whole frame is squeezed
        if _sides(folder, "size") != network:
            raise _wrong(folder, f"size is {size!r}, the network takes {network}")
        return FrameGeometry(height_px, width_px, crop="squash", resample=resample)
    if not _is_number(shorter) or int(shorter) < min(network):
        raise _wrong(folder, f"size is {size!r}, smaller than the {height_px} x {width_px} crop")
    if not _flag(folder, "do_center_crop"):
        raise _wrong(
            folder,
            "do_center_crop is false, so pictures that are not square would not fit the network",
        )
    return FrameGeometry(
        height_px, width_px, crop="center", shorter_side_px=int(shorter), resample=resample
    )


def _crop(folder: CheckpointFolder) -> tuple[int, int] | None:
    return _sides(folder, "crop_size") if _flag(folder, "do_center_crop") else None


def _flag(folder: CheckpointFolder, name: str, *, default: bool = True) -> bool:
    value = folder.preprocessor.get(name, default)
    if value is None and name not in _ACTING:  # so transformers writes what it does not do
        return False
    if not isinstance(value, bool):
        raise _wrong(folder, f"{name} is {value!r}, expected true or false")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _triple(folder: CheckpointFolder, name: str) -> tuple[float, ...]:
    value = folder.preprocessor.get(name)
    try:
        channels = tuple(float(channel) for channel in value or ())
    except (TypeError, ValueError):
        channels = ()
    if len(channels) != 3 or not all(map(isfinite, channels)):
        raise _wrong(folder, f"{name} is {value!r}, expected three numbers")
    return channels


def _sides(folder: CheckpointFolder, name: str) -> tuple[int, int] | None:
    """Height and width, as transformers reads them: one number is both, a list is the two."""
    size = folder.preprocessor.get(name)
    if size is None and name == "crop_size":
        return None
    sides: list[Any] = [size, size]
    if isinstance(size, Mapping):
        sides = [size.get("height"), size.get("width")]
    elif isinstance(size, list):
        sides = size
    if len(sides) != 2 or not all(_is_number(side) and side >= 1 for side in sides):
        raise _wrong(folder, f"{name} is {size!r}, expected a height and a width")
    return int(sides[0]), int(sides[1])


def _wrong(folder: CheckpointFolder, what: str) -> WeightsError:
    return WeightsError(
        f"{folder.origin}: in {PREPROCESSOR} (or what stands for it) {what}; copy the "
        "checkpoint's own file"
    )
