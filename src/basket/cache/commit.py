"""The commit protocol: build in memory, check, write, fsync, publish under the bytes' own name.

1. encode the shard in memory; reopen those bytes and compare them with what was to be written;
2. write ``.tmp/<uuid>`` (``O_EXCL``), fsync, close;
3. ``os.link`` it to ``shards/<sha256 of the bytes>.h5``, which never replaces anything; on file
   systems without hard links an ``O_EXCL`` lock and a rename;
4. fsync the folder, remove the temporary name, append the manifest line.

Death at any step leaves either no shard or a whole one; what lies in ``.tmp`` never matters.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from basket.cache.durable import (
    fsync_folder,
    move_into_place,
    told_in_a_sentence,
    write_atomically,
    write_new,
)
from basket.cache.features import FloatArray, VideoFeatures, VideoRow
from basket.cache.manifest import Entry, Stamp, append_line, is_named_by_its_bytes
from basket.cache.rows import ShardIndex, index_of
from basket.cache.shard import ShardFile
from basket.cache.shard_encoding import PIECE_BYTES, encode_indexed
from basket.cache.shard_format import batches
from basket.errors import CacheError, IntegrityError

#: Every step of the protocol, in order; tests end the process after each.
FAILPOINTS = (
    "encoded",
    "checked",
    "tmp-created",
    "tmp-half-written",
    "tmp-written",
    "tmp-synced",
    "tmp-closed",
    "published",
    "folder-synced",
    "tmp-removed",
    "manifest-written",
)

#: Called with each step's name as it is passed; a test's place to fail or to die.
on_step: Callable[[str], None] = lambda _: None  # noqa: E731 - a hook, replaced as a whole

TMP_FOLDER = ".tmp"
SHARDS_FOLDER = "shards"
MANIFEST_FOLDER = "manifest"
ASIDE_FOLDER = "aside"

__all__ = [
    "FAILPOINTS",
    "Image",
    "build_image",
    "publish_image",
    "set_aside",
    "write_atomically",
]

_log = logging.getLogger("basket.cache")


@dataclass(frozen=True)
class Image:
    """A shard that exists in memory only: checked bytes, and their index."""

    data: bytes
    index: ShardIndex

    @cached_property
    def name(self) -> str:
        """The file name it will have; hashed by whoever asks first, beside the encoding."""
        return f"{hashlib.sha256(self.data).hexdigest()}.h5"


def build_image(
    entries: Sequence[tuple[VideoRow, VideoFeatures | None]],
    streams: Mapping[str, int],
    *,
    feature_set: str,
    committed_ns: int | Sequence[int],
) -> Image:
    """Encode checked entries, and read the bytes back to see that they say the same.

    Raises
    ------
    CacheError
        Rows that cannot be stored, or an image that does not read back as it was written.
    """
    index = index_of(entries, streams, feature_set=feature_set, committed_ns=committed_ns)
    data = encode_indexed(index, [features for _, features in entries if features is not None])
    on_step("encoded")
    try:
        _compare(data, index, entries)
    except IntegrityError as error:
        raise CacheError(
            f"the shard just built in memory does not read back as it was written ({error}); "
            "nothing was committed. Suspect memory or the HDF5 library: see basket doctor"
        ) from error
    on_step("checked")
    return Image(data, index)


def _compare(
    data: bytes,
    index: ShardIndex,
    entries: Sequence[tuple[VideoRow, VideoFeatures | None]],
) -> None:
    with ShardFile(data) as shard:
        if shard.index() != index:
            raise IntegrityError("its rows differ")
        videos = [features for _, features in entries if features is not None]
        columns = shard.segments(0, index.n_segments)
        for name, column in columns.items() if videos else ():
            written = np.concatenate([getattr(video, name) for video in videos])
            if not np.array_equal(column, written):
                raise IntegrityError(f"its {name} differs")
        for stream, dim in index.streams.items():
            _compare_stream(shard, stream, dim, [video.features[stream] for video in videos])


def _compare_stream(
    shard: ShardFile, stream: str, dim: int, matrices: Sequence[FloatArray]
) -> None:
    """Read a stream back in pieces and compare them with what was to be written."""
    stop = 0
    for batch in batches(matrices, PIECE_BYTES):
        start, stop = stop, stop + sum(map(len, batch))
        # Compared as bits: quicker than as half precision, and -0.0 is not 0.0. What was written
        # was finite (checked_entry), so what equals it is.
        read = shard.features(stream, start, stop, dim=dim)
        bits = f"<u{read.itemsize}"
        for written in batch:
            as_read = written.astype(read.dtype, copy=False)
            if not np.array_equal(read[: len(written)].view(bits), as_read.view(bits)):
                raise IntegrityError(f"stream {stream!r} differs")
            read = read[len(written) :]


def publish_image(
    folder: Path, image: Image, *, manifest: Path, replaces: Sequence[str] = ()
) -> Entry:
    """Make an image a published shard of the feature set at ``folder``. Safe to repeat.

    Parameters
    ----------
    folder : Path
        The feature set.
    image : Image
    manifest : Path
        The writer's own manifest file.
    replaces : sequence of str
        Names of shards whose rows this one takes over (``pack``). Their names must outlive them,
        so that the manifest line is then synced and a failure to write it is an error.

    Raises
    ------
    CacheError
        It could not be written or synced (disk full, I/O error, no permission). Nothing that was
        committed is touched, and the image may be published again.
    """
    target = folder / SHARDS_FOLDER / image.name
    temporary = folder / TMP_FOLDER / uuid.uuid4().hex
    with told_in_a_sentence(folder, len(image.data)):
        _make_folder(temporary.parent)
        _make_folder(target.parent)
        try:
            write_new(temporary, image.data, step=on_step)
            _publish_shard(temporary, target)
            on_step("published")
            fsync_folder(target.parent)
            on_step("folder-synced")
        finally:
            with contextlib.suppress(OSError):  # absent already, or harmless where it lies
                temporary.unlink()
        on_step("tmp-removed")
        entry = Entry(image.name, Stamp.of(target), image.index, tuple(replaces))
    _append_to_manifest(manifest, entry)
    on_step("manifest-written")
    return entry


def _make_folder(folder: Path) -> None:
    """Make a folder where there is none; it is nearly always there, and to look is cheaper."""
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)


#: Threads of one process append in turn; lines of several processes are told apart by checksums.
_appending = threading.Lock()


def _append_to_manifest(manifest: Path, entry: Entry) -> None:
    try:
        with _appending:
            _make_folder(manifest.parent)
            append_line(manifest, entry, sync=bool(entry.replaces))
            if entry.replaces:
                fsync_folder(manifest.parent)
    except OSError as error:
        if entry.replaces:
            with told_in_a_sentence(manifest.parent, 0):
                raise
        # The shard is published and synced; without its line it is merely slower to open.
        _log.warning("the manifest %s could not be extended: %s", manifest, error)


def _publish_shard(temporary: Path, target: Path) -> None:
    """Give the shard its name; where the name is taken, see that it is by the same bytes."""
    for _ in range(2):
        try:
            move_into_place(temporary, target)
        except FileExistsError:
            if is_named_by_its_bytes(target):
                return
            set_aside(target, folder=target.parent.parent)
        else:
            return
    raise CacheError(f"{target} is damaged and could not be set aside; run basket cache repair")


def set_aside(path: Path, *, folder: Path) -> Path | None:
    """Move a file out of the way without deleting it; None where somebody else did so first.

    Parameters
    ----------
    path : Path
        A damaged shard, a replaced one, an old manifest.
    folder : Path
        The feature set; the file goes to its ``aside`` under a name of its own.

    Raises
    ------
    OSError
        It cannot be moved.
    """
    aside = folder / ASIDE_FOLDER
    aside.mkdir(exist_ok=True)
    target = aside / f"{path.name}.{uuid.uuid4().hex[:8]}"
    try:
        path.rename(target)
    except FileNotFoundError:
        return None
    return target
