"""What a checkpoint's ``preprocessor_config.json`` asks of the pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from basket.errors import WeightsError
from basket.extract.backbones.base import FrameGeometry
from basket.extract.backbones.weights import PREPROCESSOR, CheckpointFolder

#: Pillow's numbers for the two filters that the decoding contract knows.
_FILTERS: dict[Any, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}


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
    values = folder.preprocessor
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    if values.get("do_normalize", True):
        mean, std = _triple(folder, "image_mean"), _triple(folder, "image_std")
        if min(std) <= 0:
            raise _wrong(folder, f"image_std is {list(std)}, it must be positive")
    geometry = _geometry(folder, height_px, width_px)
    if not values.get("do_rescale", True):
        return Preprocessing(mean, std, 1.0, geometry)
    moved = bool(values.get("offset", offset))
    rescale = float(values.get("rescale_factor", 1 / 127.5 if moved else 1 / 255))
    return Preprocessing(mean, std, rescale, geometry, offset=float(moved))


def picture_sides(folder: CheckpointFolder) -> tuple[int, int] | None:
    """Height and width of what the preprocessor hands on; None where its file does not say."""
    values = folder.preprocessor
    crop = _sides(values.get("crop_size"))
    if crop is not None:
        return crop
    size = values.get("size")
    exact = isinstance(size, Mapping) and "height" in size
    return _sides(size) if exact else None


def _geometry(folder: CheckpointFolder, height_px: int, width_px: int) -> FrameGeometry:
    values = folder.preprocessor
    resample = _FILTERS.get(values.get("resample", 2))
    if resample is None:
        raise _wrong(folder, f"resample is {values['resample']!r}, known are 2 and 3")
    crop = _sides(values.get("crop_size"))
    if crop is not None and crop != (height_px, width_px):
        raise _wrong(folder, f"crop_size is {crop}, the network takes {(height_px, width_px)}")
    size = values.get("size", min(height_px, width_px))
    shorter = size.get("shortest_edge") if isinstance(size, Mapping) else size
    if shorter is None:  # exact height and width: the whole frame is squeezed
        if _sides(size) != (height_px, width_px):
            raise _wrong(folder, f"size is {size!r}, the network takes {(height_px, width_px)}")
        return FrameGeometry(height_px, width_px, crop="squash", resample=resample)
    if int(shorter) < min(height_px, width_px):
        raise _wrong(folder, f"size is {size!r}, smaller than the {height_px} x {width_px} crop")
    return FrameGeometry(
        height_px, width_px, crop="center", shorter_side_px=int(shorter), resample=resample
    )


def _triple(folder: CheckpointFolder, name: str) -> tuple[float, ...]:
    value = folder.preprocessor.get(name)
    try:
        channels = tuple(float(channel) for channel in value or ())
    except (TypeError, ValueError):
        channels = ()
    if len(channels) != 3:
        raise _wrong(folder, f"{name} is {value!r}, expected three numbers")
    return channels


def _sides(size: Any) -> tuple[int, int] | None:
    if isinstance(size, Mapping):
        return int(size.get("height", 0)), int(size.get("width", 0))
    return None if size is None else (int(size), int(size))


def _wrong(folder: CheckpointFolder, what: str) -> WeightsError:
    return WeightsError(
        f"{folder.origin}: in {PREPROCESSOR} {what}; copy the checkpoint's own file"
    )
