"""Files that are there whole and for good, or not at all, on any file system."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from basket.errors import CacheError, NotThereError, UsageError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}
_LOCK_WAIT_S = 5.0


def refuse_file_on_the_way(folder: Path) -> None:
    """Refuse a folder that cannot be made because it, or one it would lie in, is a file.

    Raises
    ------
    NotThereError
    """
    for each in (folder, *folder.parents):
        if os.path.lexists(each):
            if not each.is_dir():
                raise NotThereError(
                    f"{folder} cannot be made: {each} is not a folder; choose another place"
                )
            return


def make_folder(folder: Path) -> None:
    """Make a folder and those it lies in, as far as they are not there.

    Raises
    ------
    NotThereError
        A file is where a folder is needed.
    CacheError
        It cannot be made: no permission, disk full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        refuse_file_on_the_way(folder)
        raise CacheError(
            f"{folder} cannot be made: {error.strerror or error}; choose another place"
        ) from error


def check_room_for(file: Path) -> None:
    """Refuse a file that could not be written, before the work that it is to hold; make nothing.

    Raises
    ------
    UsageError
        A folder is where the file should be, or a file where its folder should be.
    CacheError
        Its folder cannot be made or written to.
    """
    refuse_file_on_the_way(file.parent)
    _refuse_folder(file)
    there = next(each for each in file.absolute().parents if os.path.lexists(each))
    if not os.access(there, os.W_OK | os.X_OK):
        raise CacheError(
            f"{file} cannot be written: no permission in {there}; choose another place"
        )


def make_room_for(file: Path) -> None:
    """Make the folder of a file that is to be written, before the work that it is to hold.

    Raises
    ------
    UsageError
        A folder is where the file should be, or a file where its folder should be.
    CacheError
        The folder cannot be made.
    """
    make_folder(file.parent)
    _refuse_folder(file)


def _refuse_folder(file: Path) -> None:
    try:
        is_folder = file.is_dir()
    except PermissionError as error:  # Python 3.14 says no instead
        raise CacheError(
            f"{file} cannot be written: no permission in {file.parent}; choose another place"
        ) from error
    if is_folder:
        raise UsageError(f"{file} is a folder; name a file to write")


@contextmanager
def room_for(*files: Path) -> Iterator[None]:
    """Make the folders of files that are to be written; those that stay empty go again.

    Raises
    ------
    UsageError, CacheError
        As :func:`make_room_for`.
    """
    folders = {folder for file in files for folder in file.parents}
    # Inner ones first. lexists() takes what it may not see for missing, where exists() would raise.
    made = sorted((each for each in folders if not os.path.lexists(each)), reverse=True)
    try:
        for file in files:
            make_room_for(file)
        yield
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # it holds something
                folder.rmdir()


def write_atomically(path: Path, data: bytes, *, overwrite: bool = True) -> None:
    """Write a small file whole or not at all, and durably.

    Parameters
    ----------
    path : Path
    data : bytes
    overwrite : bool, default=True
        Replace an existing file; False raises ``FileExistsError`` instead.

    Raises
    ------
    CacheError
        Disk full, I/O error, no permission; whatever was at ``path`` is still there.
    FileExistsError
        Something is at ``path`` and ``overwrite`` is False.
    """
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
    with told_in_a_sentence(path.parent, len(data)):
        try:
            write_new(temporary, data)
            if overwrite:
                temporary.replace(path)
            else:
                move_into_place(temporary, path)
            fsync_folder(path.parent)
        finally:
            with contextlib.suppress(OSError):  # renamed by now, or harmless where it lies
                temporary.unlink()


def move_into_place(temporary: Path, target: Path) -> None:
    """Let ``target`` name the file at ``temporary`` unless something has that name already.

    ``temporary`` may or may not remain.

    Raises
    ------
    FileExistsError
        ``target`` exists; it is unchanged.
    """
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        with _locked(target):
            if target.exists():
                raise FileExistsError(errno.EEXIST, "exists already", str(target)) from error
            temporary.replace(target)


def supports_hard_links(folder: Path) -> bool:
    """Whether the file system of ``folder`` can publish by hard link (``doctor`` tells)."""
    first = folder / f".{uuid.uuid4().hex}.tmp"
    second = first.with_suffix(".link")
    try:
        first.touch(exist_ok=False)
        os.link(first, second)
    except OSError:
        return False
    finally:
        first.unlink(missing_ok=True)
        second.unlink(missing_ok=True)
    return True


def supports_locks(folder: Path) -> bool:
    """Whether files in ``folder`` can be locked for one process alone (``doctor`` tells)."""
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    file = folder / f".{uuid.uuid4().hex}.lock"
    try:
        with file.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        file.unlink(missing_ok=True)
    return True


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Hold ``.<name>.lock`` beside a file that is about to be named.

    A lock that outlives the wait belongs to a dead writer and is passed over: two live ones would
    at worst give one name to the same bytes twice, as names are hashes wherever this runs at large.
    """
    lock = target.parent / f".{target.name}.lock"
    deadline_s = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            break
        except FileExistsError:
            if time.monotonic() > deadline_s:
                break
            time.sleep(0.02)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            lock.unlink()


def write_new(path: Path, data: bytes, *, step: Callable[[str], None] = lambda _: None) -> None:
    """Create a file that was not there, write all of it, fsync and close it.

    Parameters
    ----------
    path : Path
    data : bytes
    step : callable
        Called with the name of each step that was passed.

    Raises
    ------
    OSError
        Also ``FileExistsError``.
    """
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o666)
    try:
        step("tmp-created")
        half = len(data) // 2
        _write_all(descriptor, memoryview(data)[:half])
        step("tmp-half-written")
        _write_all(descriptor, memoryview(data)[half:])
        step("tmp-written")
        os.fsync(descriptor)
        step("tmp-synced")
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            os.close(descriptor)
        raise
    os.close(descriptor)  # some network file systems report a failed write only here
    step("tmp-closed")


def _write_all(descriptor: int, data: memoryview) -> None:
    while data:
        written = os.write(descriptor, data)  # may be short, on a full disk or after a signal
        if written == 0:
            raise OSError(errno.EIO, "nothing could be written")
        data = data[written:]


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system can.

    Raises
    ------
    OSError
        The disk failed or is full.
    """
    if os.name == "nt":  # Windows has no such call; its renames are journalled
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


@contextmanager
def told_in_a_sentence(folder: Path, needed_bytes: int) -> Iterator[None]:
    """Turn an operating-system error into one sentence; ``FileExistsError`` goes through."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise CacheError(
                f"{_what_is_full(folder, needed_bytes, error)}. What was committed is intact; make "
                "space and run the same command again"
            ) from error
        raise CacheError(
            f"{error.filename or folder} could not be written: {error.strerror or error}. What was "
            "committed is intact; run the same command again when the cause is gone"
        ) from error


def _what_is_full(folder: Path, needed_bytes: int, error: OSError) -> str:
    try:
        free_bytes, statistics = shutil.disk_usage(folder).free, os.statvfs(folder)
    except (OSError, AttributeError):
        return f"no space left in {folder}: {needed_bytes} bytes are needed"
    if error.errno == errno.EDQUOT:
        return f"your quota in {folder} is used up: {needed_bytes} bytes are needed"
    if free_bytes > needed_bytes and statistics.f_files and not statistics.f_favail:
        return f"no space left in {folder} for another file (no inode is free; bytes are)"
    return f"no space left in {folder}: {needed_bytes} bytes are needed, {free_bytes} are free"
