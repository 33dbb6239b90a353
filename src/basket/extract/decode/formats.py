"""What a file is that cannot be taken, by its own first bytes, so that the refusal names it.

FFmpeg is not asked: it would have to be let loose on every format that it knows, playlists that
name other files and hosts among them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

TAKEN = "MP4/MOV, Matroska/WebM, AVI, MPEG-TS and PS, FLV, ASF/WMV and Ogg"

_PLAYLIST = "a list of other files, which are never opened; name the video itself"
_ANSWER = "a text, perhaps what a server answered instead of the video; download it again"
#: How a file begins -> what it is. The first that fits counts.
_OTHERS = {
    rb"GIF8": "a GIF picture",
    rb"\x89PNG": "a PNG picture",
    rb"\xff\xd8\xff": "a JPEG picture, or several",
    rb"RIFF....WEBP": "a WebP picture",
    rb"BM....\0\0\0\0|II\*\0|MM\0\*|\0\0\0\x0cjP": "a picture (BMP, TIFF or JPEG 2000)",
    rb"\x06\x0e\x2b\x34": "an MXF file",
    rb"YUV4MPEG2": "a Y4M file",
    rb"DKIF": "an IVF file",
    rb"nut/multimedia": "a NUT file",
    rb"\.RMF": "a RealMedia file",
    rb"RIFF....WAVE|fLaC|ID3|\xff[\xf1-\xf3\xf9-\xfb]": "sound without pictures",
    rb"PK\x03\x04|Rar!|7z\xbc\xaf|\x1f\x8b\x08": "an archive; unpack it",
    rb"%PDF": "a PDF document",
    rb"\x89HDF": "an HDF5 file",
    rb"version https://git-lfs": "a Git LFS pointer; git lfs pull fetches the video",
    rb"\s*(#EXTM3U|ffconcat|<\?xml[^>]*>\s*<MPD|\[|v=0\s)": _PLAYLIST,
    rb"\s*(WEBVTT|\d+\s+\d\d:\d\d:\d\d)": "subtitles",
    rb"\0+$": "nothing but zeros: space that a download reserved and did not fill",
    rb"[\t\r\n -~\x80-\xff]+$|\xff\xfe|\xfe\xff": _ANSWER,
}
_BOXES = re.compile(rb"....(ftyp|styp|moov|moof|mdat|wide|free|skip|sidx)", re.DOTALL)
_BEGINNINGS = {
    rb"\x1aE\xdf\xa3": "Matroska",
    rb"RIFF....AVI ": "AVI",
    rb"FLV": "FLV",
    rb"\x30\x26\xb2\x75": "ASF/WMV",
    rb"OggS": "Ogg",
    rb"G(?!IF8)": "MPEG-TS",
    rb"\0\0\x01\xba": "MPEG-PS",
}


def why_not_opened(path: Path, reason: str) -> str:
    """Say what a file is that does not open as a video, and what to do.

    Parameters
    ----------
    path : Path
    reason : str
        FFmpeg's own.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
            boxes = _boxes(file, path.stat().st_size) if _BOXES.match(head) else None
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if boxes is not None:
        return _why_no_mp4(boxes, reason)
    for pattern, name in _BEGINNINGS.items():
        if re.match(pattern, head, re.DOTALL):
            return (
                f"it begins as {name} and its header does not read ({reason}): a download or "
                "recording that was cut off, or damage; fetch it again"
            )
    for pattern, name in _OTHERS.items():
        if re.match(pattern, head, re.DOTALL):
            return f"it is {name}; taken are videos in {TAKEN}"
    return f"it is in no format that is known here ({reason}); taken are videos in {TAKEN}"


def _why_no_mp4(boxes: dict[bytes, bool], reason: str) -> str:
    if b"moov" not in boxes and b"moof" in boxes:
        return (
            "it is a fragment without its initialisation segment; join them "
            "(cat init.mp4 part.m4s > whole.mp4)"
        )
    if not boxes.get(b"moov"):
        what = "cut off" if b"moov" in boxes else "missing"
        return (
            f"its index (moov) is {what}: the download or recording is incomplete; fetch it again, "
            "or have a repair tool rebuild the index"
        )
    return f"damaged: its index (moov) does not read ({reason})"


def is_encrypted(path: Path) -> bool:
    """Whether the index of an MP4 says that its pictures are encrypted."""
    with path.open("rb") as file:
        boxes = _boxes(file, path.stat().st_size, until=b"moov")
        return b"moov" in boxes and b"encv" in file.read(1 << 20)


def _boxes(file: BinaryIO, end: int, *, until: bytes = b"") -> dict[bytes, bool]:
    """Top boxes of an MP4, and whether each is whole; stops inside the box ``until``."""
    found: dict[bytes, bool] = {}
    at = 0
    for _ in range(1000):
        file.seek(at)
        header = file.read(16)
        size, kind = int.from_bytes(header[:4]), header[4:8]
        if size == 1:
            size = int.from_bytes(header[8:])
        size = size or end - at  # 0: to the end of the file
        if len(header) < 8 or size < 8:
            break
        found[kind] = at + size <= end
        if kind == until:
            break
        at += size
    return found
