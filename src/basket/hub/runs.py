"""Fitted runs to a model repository and back."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from basket.cache.durable import fsync_folder, told_in_a_sentence
from basket.errors import BasketError, IntegrityError, RunError
from basket.heads.persist import Run, check_free, load_run
from basket.hub.cards import CARD_FILE, run_card
from basket.hub.client import commit_files, download, files_at, hub_client, remote_files
from basket.hub.transfer import PathLike, Say, Tell, Transfer, silent, staging_beside

RUN_REPO = "model"

_RUN_FILES = re.compile(r"[A-Za-z0-9_][\w-]*\.(json|safetensors|txt|parquet)")


def push_run(
    run: PathLike, repo: str, *, public: bool = False, say: Say = silent, tell: Tell = silent
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
    say: Say = silent,
    tell: Tell = silent,
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
    check_free(target)
    staging = staging_beside(target)
    with told_in_a_sentence(target.parent, 0), hub_client(repo) as api:
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
