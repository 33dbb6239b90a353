"""Decoders: the frames on display at given instants of a file. One file per back end."""

from basket.errors import UsageError
from basket.extract.decode.base import Decoder, DisplayedFrame, OpenDecoder, VideoInfo
from basket.registry import Registry

#: Name -> ``open_*(path, *, threads)``; other packages add theirs by entry point.
DECODERS = Registry(
    "decoder",
    "basket.decoders",
    {
        "pyav": "basket.extract.decode.pyav:open_pyav",
        "decord": "basket.extract.decode.decord:open_decord",
        "torchcodec": "basket.extract.decode.torchcodec:open_torchcodec",
    },
)


def decoder_name(choice: str) -> str:
    """Name in :data:`DECODERS` of what somebody typed as ``--decoder``; ``auto`` is ``pyav``.

    Raises
    ------
    UsageError
        No such decoder, or one that cannot be imported: said here in a sentence, rather than by
        every decode process.

    Examples
    --------
    >>> decoder_name("auto"), decoder_name("decord")
    ('pyav', 'decord')
    """
    if choice == "auto":
        return "pyav"
    if DECODERS.admit(choice) not in DECODERS:
        raise UsageError(f"unknown decoder {choice!r}. Known: auto, {', '.join(DECODERS)}")
    DECODERS[choice]
    return choice


__all__ = ["DECODERS", "Decoder", "DisplayedFrame", "OpenDecoder", "VideoInfo", "decoder_name"]
