"""Rows of a shard as columns: what may stand in one, and how it is turned into arrays and back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from basket.cache.features import VideoFeatures, VideoRow
from basket.errors import UNPRINTABLE, CacheError, IntegrityError

#: Numeric columns of a shard: what is stored per video beside the three texts.
NUMERIC_COLUMNS: Mapping[str, str] = {
    "status": "|u1",
    "attempts": "<i4",
    "source_bytes": "<i8",
    "source_mtime_ns": "<i8",
    "committed_ns": "<i8",
    "duration_s": "<f8",
    "fps": "<f8",
    "width_px": "<i4",
    "height_px": "<i4",
}

#: Text columns, with the bytes one cell may have.
TEXT_LIMITS_BYTES: Mapping[str, int] = {"video_id": 4096, "reason": 4096, "provenance": 65536}

#: Per segment, beside the features.
SEGMENT_COLUMNS: Mapping[str, str] = {"start_s": "<f8", "end_s": "<f8", "frames_valid": "<i4"}

#: Under this key of a row's provenance lies the content hash of its source file, where wanted.
SOURCE_SHA256 = "source_sha256"
#: In the provenance of rows whose films were read by the rules of docs/decoding.md.
DECODING_RULES = "decoding_rules"

_OK, _FAILED = 0, 1
#: Nearly all ids are such: one look instead of six, which counts when a cache is opened.
_PLAIN_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./ -]{0,1023}", re.ASCII)
_STREAM_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*")
#: Later than any clock; leaves room to count on from it without leaving int64.
_LAST_NS = 1 << 62


def fault_of_video_id(video_id: str) -> str:
    """Say why a text cannot be a video id, or return an empty string.

    An id is a relative path with forward slashes; whoever joins it to a video root must stay below
    that root, and whoever prints it must not have his terminal driven by it.

    >>> fault_of_video_id("18-19/NBA/1_18_19.mp4"), fault_of_video_id("a/../../etc/passwd")
    ('', "it contains '..'")
    """
    if _PLAIN_ID.fullmatch(video_id) and ".." not in video_id:
        return ""
    try:
        size = len(video_id.encode())
    except UnicodeEncodeError:
        return "it is not valid UTF-8"
    if not video_id:
        return "it is empty"
    if size > TEXT_LIMITS_BYTES["video_id"]:
        return f"it is longer than {TEXT_LIMITS_BYTES['video_id']} bytes"
    if UNPRINTABLE.search(video_id):
        return "it contains a control character, or one that turns the direction of a line"
    if "\\" in video_id:
        return "it contains a backslash"
    if video_id.startswith("/") or re.match("[A-Za-z]:", video_id):
        return "it is an absolute path"
    if ".." in video_id.split("/"):
        return "it contains '..'"
    return ""


def fault_of_stream_name(name: str) -> str:
    """Say why a text cannot name a stream, or return an empty string."""
    if _STREAM_NAME.fullmatch(name) and len(name) <= 128:
        return ""
    return "a stream is named by up to 128 letters, digits and any of _ . @ + -"


@dataclass(frozen=True)
class ShardIndex:
    """All that a shard says beside the features themselves.

    Parameters
    ----------
    video_ids : tuple of str, length n
    columns : mapping of str to list, length n each
        ``status`` (0 ok, 1 failed), ``reason``, ``attempts``, ``source_bytes``,
        ``source_mtime_ns``, ``committed_ns``, ``duration_s``, ``fps``, ``width_px``,
        ``height_px`` and ``provenance`` (JSON text).
    offsets : list of int, length n + 1
        Video i owns segments ``offsets[i]:offsets[i + 1]``; a failed one owns none.
    streams : mapping of str to int
        Width of each stream.
    feature_set : str
        Digest of the specification that the features were computed by.
    single : tuple of str
        Streams that are float32 here; all others are float16.

    Notes
    -----
    Plain lists, not arrays: a shard has some sixteen videos, and a cache has thousands of shards.
    """

    video_ids: tuple[str, ...]
    columns: Mapping[str, list[Any]]
    offsets: list[int]
    streams: Mapping[str, int]
    feature_set: str
    single: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.video_ids)

    @property
    def n_segments(self) -> int:
        """Rows of every stream."""
        return self.offsets[-1]

    def source(self, position: int) -> tuple[int, int]:
        """Size in bytes and mtime in ns of the file that the row at ``position`` came from."""
        return self.columns["source_bytes"][position], self.columns["source_mtime_ns"][position]

    def content(self, position: int) -> str:
        """SHA-256 of the file that the row at ``position`` came from; empty where not recorded."""
        return str(json.loads(self.columns["provenance"][position]).get(SOURCE_SHA256, ""))

    def has_decoding_rules(self, position: int) -> bool:
        """Whether the row at ``position`` says by which rules its film was read."""
        return f'"{DECODING_RULES}": ' in self.columns["provenance"][position]

    def row(self, position: int) -> VideoRow:
        """The row at ``position`` as users see it."""
        cell = {name: values[position] for name, values in self.columns.items()}
        return VideoRow(
            video_id=self.video_ids[position],
            status="failed" if cell["status"] else "ok",
            reason=cell["reason"],
            attempts=cell["attempts"],
            source_bytes=cell["source_bytes"],
            source_mtime_ns=cell["source_mtime_ns"],
            duration_s=cell["duration_s"],
            fps=cell["fps"],
            width_px=cell["width_px"],
            height_px=cell["height_px"],
            provenance=json.loads(cell["provenance"]),
        )

    def check(self) -> None:
        """Refuse what no writer of ours would have written.

        Raises
        ------
        IntegrityError
            An id that could leave the video root, an id twice, offsets that do not rise, a failed
            video with features, a text or a number out of bounds.
        """
        for video_id in self.video_ids:
            if fault := fault_of_video_id(video_id):
                raise IntegrityError(f"it holds the video id {video_id!r}, and {fault}")
        if len(set(self.video_ids)) != len(self.video_ids):
            raise IntegrityError("it holds a video id twice")
        steps = [after - before for before, after in pairwise(self.offsets)]
        if len(steps) != len(self) or self.offsets[:1] != [0] or min(steps, default=0) < 0:
            raise IntegrityError("its offsets do not rise from 0")
        statuses = self._status()
        if any((step > 0) != (status == _OK) for step, status in zip(steps, statuses, strict=True)):
            raise IntegrityError("its statuses do not agree with its offsets")
        for name in ("source_mtime_ns", "committed_ns"):
            if any(not -1 <= value <= _LAST_NS for value in self.columns[name]):
                raise IntegrityError(f"its {name} is out of bounds")
        for name in ("duration_s", "fps"):
            if not np.isfinite(np.asarray(self.columns[name], dtype=np.float64)).all():
                raise IntegrityError(f"its {name} is not finite")
        for text in set(self.columns["provenance"]):
            _parsed_provenance(text)

    def _status(self) -> list[int]:
        statuses = self.columns["status"]
        if not set(statuses) <= {_OK, _FAILED}:
            raise IntegrityError("it holds a status that is neither ok nor failed")
        return statuses


def _parsed_provenance(text: str) -> None:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"its provenance is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise IntegrityError("its provenance is not a JSON object")


def index_of(
    entries: Sequence[tuple[VideoRow, VideoFeatures | None]],
    streams: Mapping[str, int],
    *,
    feature_set: str,
    committed_ns: int | Sequence[int],
) -> ShardIndex:
    """Lay checked entries out as columns.

    Raises
    ------
    CacheError
        An id twice, an id or provenance that cannot be stored, a number out of its range.
    """
    rows = [row for row, _ in entries]
    stamps = [committed_ns] * len(rows) if isinstance(committed_ns, int) else list(committed_ns)
    lengths = [0 if features is None else features.n_segments for _, features in entries]
    index = ShardIndex(
        video_ids=tuple(row.video_id for row in rows),
        columns={
            "status": [_OK if row.status == "ok" else _FAILED for row in rows],
            "reason": [_storable_reason(row.reason) for row in rows],
            "attempts": [int(row.attempts) for row in rows],
            "source_bytes": [int(row.source_bytes) for row in rows],
            "source_mtime_ns": [int(row.source_mtime_ns) for row in rows],
            "committed_ns": [int(stamp) for stamp in stamps],
            "duration_s": [float(row.duration_s) for row in rows],
            "fps": [float(row.fps) for row in rows],
            "width_px": [int(row.width_px) for row in rows],
            "height_px": [int(row.height_px) for row in rows],
            "provenance": [_storable_provenance(row) for row in rows],
        },
        offsets=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(int).tolist(),
        streams=dict(streams),
        feature_set=feature_set,
        single=tuple(
            stream
            for stream in streams
            if any(each and each.features[stream].dtype != np.float16 for _, each in entries)
        ),
    )
    try:
        index.check()
        for name, dtype in NUMERIC_COLUMNS.items():
            np.array(index.columns[name], dtype=dtype)
    except (IntegrityError, OverflowError) as error:
        raise CacheError(f"these rows cannot be stored: {error}") from error
    return index


def _storable_reason(reason: str) -> str:
    """The reason as UTF-8 without NUL, shortened, and saying so, where it is longer than a cell."""
    encoded = reason.replace("\0", "\\0").encode(errors="backslashreplace")
    limit = TEXT_LIMITS_BYTES["reason"]
    if len(encoded) > limit:
        kept = limit - 64
        note = f" ... [{len(encoded) - kept} bytes more]"
        return encoded[:kept].decode(errors="ignore") + note
    return encoded.decode()


def _storable_provenance(row: VideoRow) -> str:
    try:
        text = json.dumps(dict(row.provenance), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CacheError(
            f"the provenance of {row.video_id!r} must be plain JSON values: {error}"
        ) from error
    if len(text) > TEXT_LIMITS_BYTES["provenance"]:
        raise CacheError(
            f"the provenance of {row.video_id!r} takes {len(text)} bytes, at most "
            f"{TEXT_LIMITS_BYTES['provenance']} are kept per video"
        )
    return text
