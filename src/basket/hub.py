"""Caches and runs on a model hub: pushed bit by bit, checked before anything pulled is used.

A cache becomes a data set repository, a run a model repository; both are private unless made public
on purpose. Shards never change and are named by their bytes, so that a push sends what the
repository lacks, and a pull fetches what the cache lacks. What arrives is a stranger's: only files
of known names are fetched, every shard is compared with its name and read to the last value, every
file of a run with its hash, and nothing of it is ever executed. The access token comes from
``HF_TOKEN`` or the login of ``huggingface_hub``.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from basket.cache import FeatureSet, open_cache, overview_of, verify
from basket.cache.commit import SHARDS_FOLDER
from basket.cache.durable import fsync_folder, move_into_place, told_in_a_sentence
from basket.cache.store import CACHE_FILE, SPEC_FILE
from basket.errors import BasketError, HubError, IntegrityError, RunError, UsageError
from basket.heads.persist import Run, load_run
from basket.hub_cards import cache_card, run_card
from basket.hub_client import (
    batches,
    commit_files,
    download,
    files_at,
    hub_client,
    remote_files,
)

PathLike = str | Path
Say = Callable[[str], None]
Tell = Callable[[int, int], None]

CACHE_REPO, RUN_REPO = "dataset", "model"
CARD_FILE = "README.md"

_CACHE_FILES = re.compile(
    rf"(?P<set>[A-Za-z0-9_-][\w.-]*)/({SPEC_FILE}|{SHARDS_FOLDER}/[0-9a-f]{{64}}\.h5)"
)
_RUN_FILES = re.compile(r"[A-Za-z0-9_][\w-]*\.(json|safetensors|txt|parquet)")


def _silent(*_: Any) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Transfer:
    """What a push or pull did.

    Parameters
    ----------
    what : {"push", "pull"}
    repo : str
    path : Path
        The cache or run on this machine.
    url : str
        Of the repository.
    revision : str
        Commit of the repository.
    sent, already_there, size_bytes : int
        Files transferred, files that were on the other side, bytes transferred.
    public : bool
    """

    what: str
    repo: str
    path: Path
    url: str
    revision: str
    sent: int
    already_there: int
    size_bytes: int
    public: bool

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "path": str(self.path)}


def push_cache(
    cache: PathLike,
    repo: str,
    *,
    names: Sequence[str] = (),
    public: bool = False,
    say: Say = _silent,
    tell: Tell = _silent,
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
    card = cache_card(repo, [(each.spec, overview_of(each)) for each in sets])
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
    say: Say = _silent,
    tell: Tell = _silent,
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
    staging = _staging(target)
    with hub_client(repo) as api, told_in_a_sentence(target.parent, 0):
        commit, files = files_at(api, repo, CACHE_REPO, revision)
        if CACHE_FILE not in files:
            raise HubError(f"{repo} is no pushed cache: it has no {CACHE_FILE}")
        wanted = {path: hit["set"] for path in files if (hit := _CACHE_FILES.fullmatch(path))}
        wanted = _chosen_sets(wanted, names, repo)
        missing = [
            path for path in wanted if path.endswith(SPEC_FILE) or not (target / path).exists()
        ]
        n_shards = sum(not path.endswith(SPEC_FILE) for path in wanted)
        staging.mkdir(parents=True, exist_ok=True)
        download(api, repo, CACHE_REPO, commit, [CACHE_FILE, *missing], staging, tell)
    fetched = [path for path in missing if not path.endswith(SPEC_FILE)]
    say(f"{len(fetched)} shards fetched; checking every value of them")
    staged = open_cache(staging)
    sets = [staged[name] for name in sorted(set(wanted.values()))]
    for each in sets:
        _require_whole(each, repo)
    opened = open_cache(target, create=True)
    for each in sets:
        home = opened.feature_set(each.spec).path / SHARDS_FOLDER
        with told_in_a_sentence(home, 0):
            for shard in (each.path / SHARDS_FOLDER).glob("*.h5"):
                with suppress(FileExistsError):  # named by its bytes: it is the same one
                    move_into_place(shard, home / shard.name)
            fsync_folder(home)
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


def push_run(
    run: PathLike, repo: str, *, public: bool = False, say: Say = _silent, tell: Tell = _silent
) -> Transfer:
    """Send a run to a model repository with a card that tells its scores, settings and features.

    Parameters
    ----------
    run : path
        The folder; it is opened, and so checked, before anything is sent.
    repo : str
        ``owner/name``; made, private, where it is missing.
    public : bool, default=False
        For everybody to see. ``run.json`` and the tables name videos, players and your folders.
    say, tell : callable

    Raises
    ------
    RunError, IntegrityError
        Of the run.
    UsageError, HubError
        As :func:`push_cache`.
    """
    opened = load_run(run)
    names = [*_files_of(opened), "run.json"]
    contents: dict[str, Path | bytes] = {name: opened.path / name for name in names}
    contents[CARD_FILE] = run_card(repo, opened).encode()
    if public:
        say("run.json and the tables of a public run name videos, players and your folders")
    with hub_client(repo) as api:
        remote_files(api, repo, RUN_REPO, public=public)
        revision = commit_files(api, repo, RUN_REPO, contents, f"Add run {opened.path.name}")
        tell(len(contents), len(contents))
        return Transfer(
            what="push",
            repo=repo,
            path=Path(run),
            url=f"{api.endpoint}/{repo}",
            revision=revision,
            sent=len(contents),
            already_there=0,
            size_bytes=sum((opened.path / name).stat().st_size for name in names),
            public=public,
        )


def pull_run(
    repo: str,
    out: PathLike | None = None,
    *,
    revision: str | None = None,
    say: Say = _silent,
    tell: Tell = _silent,
) -> Transfer:
    """Fetch a run; it appears under its name only when it is whole and every hash matches.

    Parameters
    ----------
    repo : str
    out : path, optional
        The run folder to make; ``runs/<name of the repository>`` by default.
    revision : str, optional
        Commit, branch or tag; the newest by default.
    say, tell : callable

    Raises
    ------
    RunError
        ``out`` exists, or the repository has no run.
    IntegrityError
        A file is not the one that was written.
    HubError
        The hub cannot be reached, or refuses.
    """
    target = Path("runs", repo.rpartition("/")[2]) if out is None else Path(out)
    if target.exists():
        raise RunError(f"{target} exists already; choose another folder or remove it")
    staging = _staging(target)
    with hub_client(repo) as api, told_in_a_sentence(target.parent, 0):
        commit, files = files_at(api, repo, RUN_REPO, revision)
        wanted = [name for name in files if _RUN_FILES.fullmatch(name)]
        if "run.json" not in wanted:
            raise RunError(f"{repo} is no pushed run: it has no run.json")
        staging.mkdir(parents=True, exist_ok=True)
        download(api, repo, RUN_REPO, commit, wanted, staging, tell)
    try:
        run = load_run(staging)
        known = {*_files_of(run), "run.json"}
        for path in staging.iterdir():  # the downloads' own notes, and what the run does not list
            if path.name not in known:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    except BasketError as error:
        shutil.rmtree(staging, ignore_errors=True)
        kind = type(error)
        raise kind(f"{repo} was not put into place: {error}") from error
    with told_in_a_sentence(target.parent, 0):
        staging.rename(target)
        fsync_folder(target.parent)
    say(f"Checked: {len(run.config['files'])} files are those that were written")
    return Transfer(
        what="pull",
        repo=repo,
        path=target,
        url=f"{api.endpoint}/{repo}",
        revision=commit,
        sent=len(wanted),
        already_there=0,
        size_bytes=sum(files[name] for name in wanted),
        public=False,
    )


def _files_of(run: Run) -> list[str]:
    """Names of the files that a run lists, each compared with its hash."""
    names = list(run.config["files"])
    for name in names:
        if not _RUN_FILES.fullmatch(name):
            raise IntegrityError(f"run {run.path} lists a file {name!r}, which no run has")
        run.extra_file(name)
    return names


def _staging(target: Path) -> Path:
    """Where a pull gathers and checks; beside its target, so that moving is renaming."""
    return target.parent / f".{target.name}.pull"


def _require_whole(feature_set: FeatureSet, repo: str) -> None:
    report = verify(feature_set, deep=True)
    if not report.problems:
        return
    for problem in report.problems:  # fetched again by the next try
        (feature_set.path / problem.file).unlink(missing_ok=True)
    first = report.problems[0]
    raise IntegrityError(
        f"{repo} is damaged: {first.file}: {first.what} ({len(report.problems)} problems); nothing "
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
