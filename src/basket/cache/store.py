"""A cache folder: its feature sets, found by name or by identity."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from basket.cache.commit import (
    MANIFEST_FOLDER,
    SHARDS_FOLDER,
    TMP_FOLDER,
)
from basket.cache.durable import make_folder, refuse_file_on_the_way, write_atomically
from basket.cache.feature_set import FeatureSet
from basket.cache.fingerprint import FeatureSetSpec
from basket.errors import (
    CacheError,
    FormatVersionError,
    IdentityError,
    IntegrityError,
    NotThereError,
    UsageError,
)
from basket.notebook import html_table
from basket.registry import nearest

FORMAT = "basket-cache"
VERSION = 1
CACHE_FILE = "cache.json"
SPEC_FILE = "feature_set.json"


def open_cache(path: str | Path, *, create: bool = False) -> FeatureCache:
    """Open a cache folder.

    Parameters
    ----------
    path : str or Path
    create : bool, default=False
        Make it where nothing is there yet, or an empty folder.

    Returns
    -------
    FeatureCache

    Raises
    ------
    NotThereError
        Nothing is there, or something that is not a cache.
    FormatVersionError
        Written by another version of the format.

    Examples
    --------
    >>> import tempfile
    >>> cache = open_cache(tempfile.mkdtemp(), create=True)
    >>> cache.feature_sets
    ()
    """
    folder = Path(path)
    mark = folder / CACHE_FILE
    if create and not mark.exists():
        _create(folder, mark)
    if not folder.is_dir():
        raise NotThereError(f"There is no cache at {folder}; basket extract makes one")
    try:
        document = json.loads(mark.read_text(encoding="utf-8"))
        found, version = document["format"], document["version"]
    except FileNotFoundError:
        raise NotThereError(
            f"{folder} is not a cache: it has no {CACHE_FILE}; name the folder that basket "
            "extract wrote to"
        ) from None
    except OSError as error:
        raise CacheError(f"{mark} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"{mark} is damaged ({error}); it should say "
            f'{{"format": "{FORMAT}", "version": {VERSION}}}'
        ) from error
    if found != FORMAT:
        raise CacheError(f"{folder} is not a cache: its format is {found!r}, expected {FORMAT!r}")
    if version != VERSION:
        raise FormatVersionError(
            f"{folder} is a cache of format version {version!r}, this basket reads version "
            f"{VERSION}; use the basket that wrote it, or extract into a new folder"
        )
    return FeatureCache(folder)


def refuse_no_place_for_a_cache(folder: Path) -> None:
    """Refuse a place that ``open_cache(folder, create=True)`` would refuse; nothing is written.

    Raises
    ------
    NotThereError
        A file is on the way, or the folder holds something else.
    CacheError
        It cannot be read.
    """
    refuse_file_on_the_way(folder)
    try:
        # A temporary file is what a process leaves that died while it made this very folder.
        foreign = [
            each.name
            for each in (folder.iterdir() if folder.is_dir() else ())
            if not each.name.startswith(f".{CACHE_FILE}.")
        ]
    except OSError as error:
        raise CacheError(f"{folder} cannot be made a cache: {error.strerror}") from error
    if foreign and not (folder / CACHE_FILE).exists():
        raise NotThereError(
            f"{folder} is not a cache and not empty (it holds {foreign[0]!r}); name a new folder"
        )


def _create(folder: Path, mark: Path) -> None:
    refuse_no_place_for_a_cache(folder)
    make_folder(folder)
    data = json.dumps({"format": FORMAT, "version": VERSION}) + "\n"
    write_atomically(mark, data.encode())


class FeatureCache:
    """A cache folder; ``cache[name]`` is a :class:`FeatureSet`. Made by :func:`open_cache`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"FeatureCache({str(self.path)!r})"

    def _repr_html_(self) -> str:
        rows = []
        for name in self.feature_sets:
            rows_of = self._open(name).snapshot
            rows.append((name, len(rows_of.ok), len(rows_of.failed), len(rows_of.damaged)))
        columns = ("feature set", "videos", "failed", "damaged shards")
        return html_table(f"Feature cache {self.path}", columns, rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self.feature_sets)

    @property
    def feature_sets(self) -> tuple[str, ...]:
        """Names of the feature sets, sorted.

        Raises
        ------
        CacheError
            The folder cannot be read.
        """
        try:
            return tuple(
                sorted(
                    folder.name
                    for folder in self.path.iterdir()
                    if not folder.name.startswith(".") and (folder / SPEC_FILE).is_file()
                )
            )
        except OSError as error:
            raise CacheError(f"{self.path} cannot be read: {error.strerror}") from error

    def __getitem__(self, name: str) -> FeatureSet:
        """Open a feature set by its name, its backbone's, its family's, or a unique beginning.

        Raises
        ------
        UsageError
            None or several are meant.
        IntegrityError, FormatVersionError
            Its ``feature_set.json`` is damaged or of another version.
        """
        names = self.feature_sets
        if name in names:
            return self._open(name)
        specs = {each: self._spec(each) for each in names}
        tiers = (
            [each for each, spec in specs.items() if spec.backbone == name],
            [each for each, spec in specs.items() if spec.family == name],
            [each for each in names if each.startswith(name)],
        )
        hits = next((tier for tier in tiers if tier), [])
        if len(hits) == 1:
            return FeatureSet(self.path / hits[0], specs[hits[0]])
        if hits:
            raise UsageError(
                f"{name!r} may be any of {len(hits)} feature sets of {self.path}; say which: "
                f"{', '.join(hits)}"
            )
        if not names:
            raise UsageError(f"{self.path} has no feature sets yet; run basket extract")
        known = [*names, *{spec.backbone for spec in specs.values()}]
        raise UsageError(
            f"{self.path} has no feature set {name!r}{nearest(name, known) or '.'} It has: "
            f"{', '.join(names)}"
        )

    def feature_set(self, spec: FeatureSetSpec, *, create: bool = True) -> FeatureSet:
        """Open the feature set of an identity, whatever its folder is called.

        Parameters
        ----------
        spec : FeatureSetSpec
        create : bool, default=True
            Make it where it is missing.

        Raises
        ------
        CacheError
            It is missing and not to be made, or cannot be made.
        IdentityError
            The folder that it would have belongs to other features; the message says which inputs
            differ.
        """
        # The usual folder first: among many feature sets, one file is read instead of all.
        for name in sorted(self.feature_sets, key=lambda each: each != spec.folder_name):
            found = self._spec(name)
            if found.digest == spec.digest:
                return FeatureSet(self.path / name, found)
            if name == spec.folder_name:
                raise IdentityError(
                    f"{self.path / name} holds features of another identity; they differ in "
                    f"{'; '.join(spec.differences(found))}. Rename that folder or use another cache"
                )
        if not create:
            raise CacheError(
                f"{self.path} has no features of {spec.backbone} with this plan and these weights "
                f"({spec.folder_name}); run basket extract with the same options"
            )
        return self._create(spec)

    def _create(self, spec: FeatureSetSpec) -> FeatureSet:
        folder = self.path / spec.folder_name
        try:
            for each in (
                folder,
                *(folder / n for n in (SHARDS_FOLDER, MANIFEST_FOLDER, TMP_FOLDER)),
            ):
                each.mkdir(exist_ok=True)
        except OSError as error:
            raise CacheError(f"{folder} cannot be made: {error.strerror}") from error
        try:
            write_atomically(folder / SPEC_FILE, spec.to_json().encode(), overwrite=False)
        except FileExistsError:
            return self.feature_set(spec)  # another writer was quicker: is it the same one?
        return self._open(spec.folder_name)

    def _open(self, name: str) -> FeatureSet:
        return FeatureSet(self.path / name, self._spec(name))

    def _spec(self, name: str) -> FeatureSetSpec:
        path = self.path / name / SPEC_FILE
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise IntegrityError(f"{path} is damaged: {error}; restore it") from error
        except OSError as error:
            raise CacheError(f"{path} cannot be read: {error.strerror}") from error
        return FeatureSetSpec.from_json(text, origin=str(path))
