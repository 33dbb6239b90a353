"""From decoded planes to RGB: the whole frame, or straight to the small picture of a network.

Networks see a tenth of a 720p frame's pixels or fewer. Resizing luma and chroma first, and turning
only what is left into RGB, is much less work than converting the whole frame and resizing that.
Resampling and colour conversion are both linear, so their order matters little: a mean difference
below 1 of 255 on real videos (docs/decoding.md), of which the subsampled chroma is most.
"""

from __future__ import annotations

import math
import struct
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from basket.errors import VideoError
from basket.extract.decode.base import DisplayedFrame, Resample, Size, Window

if TYPE_CHECKING:
    import av
    from av.video.reformatter import VideoReformatter

Pixels = npt.NDArray[np.uint8]

#: FFmpeg's number of a matrix -> weights of red and blue in luma. 2 is "unspecified", which
#: FFmpeg takes for BT.601, as the whole-frame conversion does.
_LUMA_WEIGHTS = {1: (0.2126, 0.0722), 2: (0.299, 0.114), 5: (0.299, 0.114), 6: (0.299, 0.114)}

#: Matrices that FFmpeg has no conversion for, by their numbers in ITU-T H.273.
_MATRIX_NAMES = {8: "YCgCo", 10: "BT.2020 constant luminance", 11: "SMPTE ST 2085", 14: "ICtCp"}

#: FFmpeg's number of the range 0 to 255; anything else is 16 to 235.
_FULL_RANGE = 2


class FrameConverter:
    """Turns the frames of one video upright and into RGB.

    Parameters
    ----------
    quarter_turns : int
        Clockwise turns of 90 degrees that the file asks for.
    mirrored : bool, default=False
        Whether it asks for left and right to be exchanged after that.
    """

    def __init__(self, quarter_turns: int, *, mirrored: bool = False) -> None:
        self._quarter_turns = quarter_turns
        self._mirrored = mirrored
        # One per target: making a converter costs as much as converting.
        self._reformatters: dict[tuple[Size, Resample] | None, VideoReformatter] = {}

    def upright_size(self, frame: av.VideoFrame) -> Size:
        """Height and width of a frame as shown."""
        return _turned_size((frame.height, frame.width), self._quarter_turns)

    def to_rgb(self, frame: av.VideoFrame) -> Pixels:
        """Convert the whole frame: uint8 (H, W, 3).

        Raises
        ------
        VideoError
            FFmpeg cannot turn such pictures into RGB.
        """
        try:
            whole = self._reformatter(None).reformat(frame, format="rgb24", threads=1)
        except (OSError, ValueError) as error:
            number = int(frame.colorspace)
            raise VideoError(
                f"its pictures ({frame.format.name}, colour matrix "
                f"{_MATRIX_NAMES.get(number, f'number {number} of ITU-T H.273')}) cannot be turned "
                "into RGB here; re-encode it as yuv420p with the matrix BT.709"
            ) from error
        rgb = np.asarray(whole.to_ndarray(), dtype=np.uint8)
        return np.ascontiguousarray(self._upright(rgb))

    def to_small_rgb(
        self, frame: av.VideoFrame, size: Size, *, resample: Resample, window: Window
    ) -> Pixels:
        """Resize the planes of a frame to ``size`` and convert a window of the result.

        Only for frames for which :func:`can_resize_planes` is true.
        """
        from av.video.reformatter import Interpolation

        stored = _turned_size(size, self._quarter_turns)
        small = self._reformatter((size, resample)).reformat(
            frame,
            width=stored[1],
            height=stored[0],
            format="yuv444p",
            interpolation=Interpolation[resample.upper()],
            threads=1,
        )
        top, left, bottom, right = window
        planes = (self._upright(plane)[top:bottom, left:right] for plane in _planes(small))
        return yuv_to_rgb(*planes, luma_weights=_LUMA_WEIGHTS[int(frame.colorspace)])

    def _upright(self, pixels: Pixels) -> Pixels:
        # rot90 turns counter-clockwise, the table of rotations is clockwise.
        turned = np.rot90(pixels, -self._quarter_turns) if self._quarter_turns else pixels
        return turned[:, ::-1] if self._mirrored else turned

    def _reformatter(self, target: tuple[Size, Resample] | None) -> VideoReformatter:
        from av.video.reformatter import VideoReformatter

        if target not in self._reformatters:
            self._reformatters[target] = VideoReformatter()
        return self._reformatters[target]


class PyAVFrame(DisplayedFrame):
    """A decoded frame that is converted when somebody looks at it.

    Parameters
    ----------
    frame : av.VideoFrame
    index : int
        Position of the frame in presentation order.
    converter : FrameConverter
        Of its video.
    """

    def __init__(self, frame: av.VideoFrame, index: int, converter: FrameConverter) -> None:
        self.index = index
        self._frame = frame
        self._converter = converter

    @cached_property
    def rgb(self) -> Pixels:
        """The whole picture, uint8 (H, W, 3)."""
        return self._converter.to_rgb(self._frame)

    @property
    def size_px(self) -> Size:
        """Height and width as shown."""
        return self._converter.upright_size(self._frame)

    def resized(self, size: Size, *, resample: Resample, window: Window) -> Pixels:
        """Return a window of the frame resized to ``size``, antialiased."""
        full = self.size_px
        if size[0] > full[0] or size[1] > full[1] or not can_resize_planes(self._frame):
            return super().resized(size, resample=resample, window=window)
        return self._converter.to_small_rgb(self._frame, size, resample=resample, window=window)


def orientation_of(frame: av.VideoFrame) -> tuple[int, bool]:
    """How the file asks for a frame to be shown, by its display matrix.

    Returns
    -------
    rotation_deg : int
        Clockwise turn: 0, 90, 180 or 270.
    mirrored : bool
        Whether left and right are exchanged after the turn.

    Raises
    ------
    VideoError
        A turn by no right angle.
    """
    stored: Any = frame.side_data.get("DISPLAYMATRIX")
    if stored is None:
        return 0, False
    # A pixel at (x, y) is shown at (a x + c y, b x + d y), y pointing down.
    a, b, _, c, d = struct.unpack("=9i", bytes(cast("memoryview", stored)))[:5]
    mirrored = a * d - b * c < 0
    degrees = math.degrees(math.atan2(b, -a if mirrored else a)) % 360
    quarter_turns = round(degrees / 90)
    if abs(degrees - 90 * quarter_turns) >= 1:  # what the ffmpeg program calls a right angle
        raise VideoError(f"rotated by {degrees:.0f} degrees; only right angles are handled")
    return quarter_turns % 4 * 90, mirrored


def can_resize_planes(frame: av.VideoFrame) -> bool:
    """Whether resizing the planes first gives the picture of the whole-frame conversion.

    That was measured for progressive 8-bit 4:2:0 of even size and video range, which is what reels
    are. FFmpeg converts other kinds by other arithmetic, so they take the long way.
    """
    return (
        frame.format.name == "yuv420p"
        and frame.height % 2 == 0
        and frame.width % 2 == 0
        and int(frame.color_range) != _FULL_RANGE
        and int(frame.colorspace) in _LUMA_WEIGHTS
        and not frame.interlaced_frame
    )


def yuv_to_rgb(
    luma: Pixels, blue: Pixels, red: Pixels, *, luma_weights: tuple[float, float]
) -> Pixels:
    """Convert planes of video range to RGB as FFmpeg's whole-frame conversion does.

    Parameters
    ----------
    luma, blue, red : ndarray, uint8, (H, W)
        Y, Cb and Cr.
    luma_weights : tuple of float
        Of red and of blue.

    Returns
    -------
    ndarray, uint8, (H, W, 3)

    Notes
    -----
    ITU-R BT.601 and BT.709. Every product is rounded down before they are added, because FFmpeg's
    vectorised conversion does so: rounding to nearest would be brighter by one grey level. White
    is 254 there, and here.

    Examples
    --------
    >>> grey = np.full((1, 1), 128, np.uint8)
    >>> yuv_to_rgb(np.full((1, 1), 235, np.uint8), grey, grey, luma_weights=(0.299, 0.114))
    array([[[254, 254, 254]]], dtype=uint8)
    """
    of_red, of_blue = luma_weights
    of_green = 1 - of_red - of_blue
    y = _scaled(luma, 16, 255 / 219)
    colour = 2 * 255 / 224
    rgb = np.empty((*luma.shape, 3), np.uint8)
    rgb[..., 0] = _to_bytes(y + _scaled(red, 128, colour * (1 - of_red)))
    rgb[..., 2] = _to_bytes(y + _scaled(blue, 128, colour * (1 - of_blue)))
    y += _scaled(blue, 128, -colour * (1 - of_blue) * of_blue / of_green)
    y += _scaled(red, 128, -colour * (1 - of_red) * of_red / of_green)
    rgb[..., 1] = _to_bytes(y)
    return rgb


def _scaled(plane: Pixels, zero: int, factor: float) -> npt.NDArray[np.int32]:
    """``floor((plane - zero) * factor)`` in whole numbers."""
    values = plane.astype(np.int32)
    values -= zero
    values *= round(factor * 65536)
    values >>= 16
    return values


def _to_bytes(values: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    return np.clip(values, 0, 255, out=values)


def _planes(frame: av.VideoFrame) -> list[Pixels]:
    """Views of the planes, without what pads their rows."""
    padded = (
        # PyAV's type hints do not say that a plane is a buffer.
        np.frombuffer(cast("memoryview", plane), np.uint8).reshape(plane.height, plane.line_size)
        for plane in frame.planes
    )
    return [each[:, : plane.width] for each, plane in zip(padded, frame.planes, strict=True)]


def _turned_size(size: Size, quarter_turns: int) -> Size:
    return size[::-1] if quarter_turns % 2 else size
