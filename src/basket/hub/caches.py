"""Feature sets to a data set repository and back."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from basket.cache import FeatureSet, open_cache, overview_of, verify
from basket.cache.commit import SHARDS_FOLDER, set_aside
from basket.cache.durable import fsync_folder, move_into_place, told_in_a_sentence
from basket.cache.store import CACHE_FILE, SPEC_FILE
from basket.errors import HubError, IntegrityError, UsageError
from basket.hub.cards import CARD_FILE, cache_card
from basket.hub.client import batches, commit_files, download, files_at, hub_client, remote_files
from basket.hub.transfer import PathLike, Say, Tell, Transfer, silent, staging_beside

CACHE_REPO = "dataset"

#: All that is ever fetched, apart from the mark of the cache.
_CACHE_FILES = re.compile(
    rf"(?P<set>[A-Za-z0-9_-][\w.-]*)/({SPEC_FILE}|{SHARDS_FOLDER}/[0-9a-f]{{64}}\.h5)"
)


def push_cache(
    cache: PathLike,
    repo: str,
    *,
    names: Sequence[str] = (),
    public: bool = False,
    say: Say = silent,
    tell: Tell = silent,
) -> Transfer:
    """Send feature sets to a data set repository, which is made, private, where it is missing.

    Nothing there is deleted. Interrupted, the same call goes on behind the last commit.

    Parameters
    ----------
    cache : path
    repo : str
        ``owner/name``.
    names : sequence of str
        Feature sets; all by default.
    public : bool, default=False
        For everybody to see; a repository that is public already is refused without it.
    say : callable
    tell : callable
        Told the files done and all of them.

    Raises
    ------
    UsageError
        The repository is public, or the cache has no such feature set.
    IntegrityError
        A shard is damaged.
    HubError
        The hub cannot be reached, or refuses.
    """
    opened = open_cache(cache)
    sets = [opened[name] for name in names or opened.feature_sets]
    if not sets:
        raise UsageError(f"{cache} has no feature sets to push; run basket extract")
    shards = {}
    for each in sets:
        if each.damaged:
            raise IntegrityError(
                f"{each.name} has {len(each.damaged)} damaged shards; run basket cache repair "
                "before it is pushed"
            )
        for name in each.snapshot.shards:
            path = f"{each.name}/{SHARDS_FOLDER}/{name}"
            shards[path] = each.path / SHARDS_FOLDER / name
    with hub_client(repo) as api:
        there = remote_files(api, repo, CACHE_REPO, public=public)
        missing = {path: file for path, file in shards.items() if path not in there}
        if len(missing) < len(shards):
            say(f"{len(shards) - len(missing)} of {len(shards)} shards are there already")
        sent = 0
        for batch in batches(missing):
            commit_files(api, repo, CACHE_REPO, batch, f"Add {len(batch)} shards")
            sent += len(batch)
            tell(sent, len(missing))
        # The page tells of feature sets that were pushed before, too.
        others = {path.partition("/")[0] for path in there if path.endswith(SPEC_FILE)}
        others -= {each.name for each in sets}
        told = [*sets, *(opened[name] for name in sorted(others & set(opened.feature_sets)))]
        card = cache_card(
            repo,
            [(each.spec, overview_of(each)) for each in told],
            elsewhere=sorted(others - set(opened.feature_sets)),
        )
        # Last, so that a repository with these is one that can be pulled.
        about: dict[str, Path | bytes] = {
            f"{each.name}/{SPEC_FILE}": each.path / SPEC_FILE for each in sets
        }
        about |= {CACHE_FILE: opened.path / CACHE_FILE, CARD_FILE: card.encode()}
        revision = commit_files(api, repo, CACHE_REPO, about, "Describe the feature sets")
        return Transfer(
            what="push",
            repo=repo,
            path=Path(cache),
            url=f"{api.endpoint}/datasets/{repo}",
            revision=revision,
            sent=len(missing),
            already_there=len(shards) - len(missing),
            size_bytes=sum(file.stat().st_size for file in missing.values()),
            public=public,
        )


def pull_cache(
    repo: str,
    cache: PathLike,
    *,
    names: Sequence[str] = (),
    revision: str | None = None,
    say: Say = silent,
    tell: Tell = silent,
) -> Transfer:
    """Fetch feature sets into a cache, made where it is missing; what it has is not fetched again.

    Everything is fetched into a folder beside the cache, checked there, and only then put in its
    place. Interrupted, the same call goes on.

    Parameters
    ----------
    repo : str
    cache : path
    names : sequence of str
        Feature sets, or beginnings of their names; all by default.
    revision : str, optional
        Commit, branch or tag; the newest by default.
    say, tell : callable

    Raises
    ------
    UsageError
        The repository has no such feature set.
    IntegrityError
        What arrived is not what its names say; nothing of it was put into the cache.
    IdentityError
        A feature set of the same name is there, with another identity.
    HubError
        The hub cannot be reached, refuses, or has no cache there.
    """
    target = Path(cache)
    staging = staging_beside(target)
    with told_in_a_sentence(target.parent, 0), hub_client(repo) as api:
        commit, files = files_at(api, repo, CACHE_REPO, revision)
        if CACHE_FILE not in files:
            raise HubError(f"{repo} is no pushed cache: it has no {CACHE_FILE}")
        wanted = {path: hit["set"] for path in files if (hit := _CACHE_FILES.fullmatch(path))}
        wanted = _chosen_sets(wanted, names, repo)
        damaged = _damaged(target, wanted)
        missing = [
            path
            for path in wanted
            if path.endswith(SPEC_FILE) or path in damaged or not (target / path).exists()
        ]
        n_shards = sum(not path.endswith(SPEC_FILE) for path in wanted)
        staging.mkdir(parents=True, exist_ok=True)
        download(api, repo, CACHE_REPO, commit, [CACHE_FILE, *missing], staging, tell)
    fetched = [path for path in missing if not path.endswith(SPEC_FILE)]
    say(f"{len(fetched)} shards fetched; checking every value of them")
    staged = open_cache(staging)
    sets = [staged[name] for name in sorted(set(wanted.values()))]
    listed = frozenset(fetched)  # what another pull left in the folder is not of this repository
    for each in sets:
        _require_whole(each, repo, listed)
    for path in damaged:
        set_aside(target / path, folder=(target / path).parents[1])
    _put_in_place(sets, target, listed)
    size = sum(files[path] for path in fetched)
    shutil.rmtree(staging, ignore_errors=True)
    return Transfer(
        what="pull",
        repo=repo,
        path=target,
        url=f"{api.endpoint}/datasets/{repo}",
        revision=commit,
        sent=len(fetched),
        already_there=n_shards - len(fetched),
        size_bytes=size,
        public=False,
    )


def _damaged(cache: Path, wanted: Iterable[str]) -> set[str]:
    """Which of the wanted files are in a cache already, but not as they were written."""
    if not (cache / CACHE_FILE).exists():
        return set()
    opened = open_cache(cache)
    names = {path.partition("/")[0] for path in wanted} & set(opened.feature_sets)
    found = {f"{name}/{SHARDS_FOLDER}/{each}" for name in names for each in opened[name].damaged}
    return {path for path in found.intersection(wanted) if os.path.lexists(cache / path)}


def _put_in_place(staged: Sequence[FeatureSet], cache: Path, listed: Collection[str]) -> None:
    """Move the listed shards of checked feature sets into a cache that has their like, or will."""
    opened = open_cache(cache, create=True)
    for each in staged:
        home = opened.feature_set(each.spec).path / SHARDS_FOLDER
        with told_in_a_sentence(home, 0):
            for shard in (each.path / SHARDS_FOLDER).glob("*.h5"):
                if f"{each.name}/{SHARDS_FOLDER}/{shard.name}" not in listed:
                    continue
                with suppress(FileExistsError):  # named by its bytes: it is the same one
                    move_into_place(shard, home / shard.name)
            fsync_folder(home)


def _require_whole(feature_set: FeatureSet, repo: str, listed: Collection[str]) -> None:
    report = verify(feature_set, deep=True)
    problems = [each for each in report.problems if f"{feature_set.name}/{each.file}" in listed]
    if not problems:
        return
    for problem in problems:  # fetched again by the next try
        (feature_set.path / problem.file).unlink(missing_ok=True)
    first = problems[0]
    raise IntegrityError(
        f"{repo} is damaged: {first.file}: {first.what} ({len(problems)} problems); nothing "
        "of it was put into the cache. Run the same command again, or tell who pushed it"
    )


def _chosen_sets(wanted: Mapping[str, str], names: Sequence[str], repo: str) -> dict[str, str]:
    """Files of the named feature sets: path to feature set."""
    present = {name for path, name in wanted.items() if path.endswith(SPEC_FILE)}
    for name in names:
        if not any(each.startswith(name) for each in present):
            raise UsageError(
                f"{repo} has no feature set {name!r}; it has: {', '.join(sorted(present))}"
            )
    kept = {each for each in present if not names or any(each.startswith(n) for n in names)}
    return {path: name for path, name in wanted.items() if name in kept}
