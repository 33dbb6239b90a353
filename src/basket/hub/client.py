"""A model hub's client, its errors in a sentence; the only file that speaks to a hub.

Files go up in commits of bounded size and come down one by one, so that either can be continued.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from basket.errors import HubError, UsageError
from basket.hub.transfer import Tell

if TYPE_CHECKING:
    from huggingface_hub import HfApi

#: Of one commit: an interrupted push is continued behind the last.
_COMMIT_FILES, _COMMIT_BYTES = 64, 2 << 30
#: Of entries in a repository: a cache of BASKET has some thousand shards per feature set.
_MAX_LISTED = 200_000
_DOWNLOADS = 4


@contextmanager
def hub_client(repo: str) -> Iterator[HfApi]:
    """The hub's client without its own progress bars; its errors in a sentence."""
    from huggingface_hub import HfApi, errors
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    # The class of all network errors differs between versions of the client; this is it.
    network_error: type[Exception] = HfHubHTTPError.__bases__[0]
    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="basket")
    except HFValidationError as error:
        raise UsageError(f"{repo!r} is no name of a repository, such as owner/name") from error
    except RepositoryNotFoundError as error:
        raise HubError(
            f"there is no repository {repo}, or your token may not see it; check the name, and set "
            "HF_TOKEN to a token that may"
        ) from error
    except RevisionNotFoundError as error:
        raise HubError(f"{repo} has no such revision; look at its commits") from error
    except LocalEntryNotFoundError as error:
        raise HubError(
            f"{repo} cannot be reached; run the same command again: it goes on"
        ) from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        advice = (
            "set HF_TOKEN to a token that may write there"
            if status in (401, 403)
            else "run the same command again: it goes on where it stopped"
        )
        raise HubError(f"the hub refused {repo} ({_first_line(error)}); {advice}") from error
    except (network_error, ConnectionError) as error:
        raise HubError(
            f"the hub cannot be reached ({_first_line(error)}); run the same command again when it "
            "can: it goes on where it stopped"
        ) from error
    except (RuntimeError, getattr(errors, "XetDownloadError", RuntimeError)) as error:
        # What its threads of transfer raise, whatever the cause.
        raise HubError(
            f"a transfer with {repo} failed ({_first_line(error.__cause__ or error)}); run the "
            "same command again: it goes on where it stopped"
        ) from error
    finally:
        if shown:
            enable_progress_bars()


def batches(files: Mapping[str, Path]) -> Iterator[dict[str, Path | bytes]]:
    """Files in commits of bounded count and size."""
    batch: dict[str, Path | bytes] = {}
    size = 0
    for path, file in files.items():
        batch[path] = file
        size += file.stat().st_size
        if len(batch) == _COMMIT_FILES or size >= _COMMIT_BYTES:
            yield batch
            batch, size = {}, 0
    if batch:
        yield batch


def commit_files(
    api: HfApi, repo: str, kind: str, contents: Mapping[str, Path | bytes], message: str
) -> str:
    """Commit files to a repository and return the commit."""
    from huggingface_hub import CommitOperationAdd

    operations = [
        CommitOperationAdd(path_in_repo=path, path_or_fileobj=content)
        for path, content in contents.items()
    ]
    with warnings.catch_warnings():
        # Tables of a run are parquet; the hub's client would rather see those in data sets.
        warnings.filterwarnings("ignore", message="It seems that you are about to commit a data")
        info = api.create_commit(repo, operations, commit_message=message, repo_type=kind)
    return str(info.oid)


def remote_files(api: HfApi, repo: str, kind: str, *, public: bool) -> set[str]:
    """Files of a repository that is made where it is missing."""
    api.create_repo(repo, repo_type=kind, private=not public, exist_ok=True)
    info = api.repo_info(repo, repo_type=kind)
    if not public and info.private is False:
        raise UsageError(f"{repo} is public; --public says that everybody may see what is pushed")
    return {each.rfilename for each in info.siblings or ()}


def files_at(api: HfApi, repo: str, kind: str, revision: str | None) -> tuple[str, dict[str, int]]:
    """The commit of a revision, and the size in bytes of each of its files.

    Raises
    ------
    HubError
        The list does not end.
    """
    commit = str(api.repo_info(repo, repo_type=kind, revision=revision).sha)
    tree = api.list_repo_tree(repo, recursive=True, repo_type=kind, revision=commit)
    sizes: dict[str, int] = {}
    for count, each in enumerate(tree):
        if each.path in sizes or count >= _MAX_LISTED:
            raise HubError(f"{repo} lists files without end ({count} so far, last {each.path})")
        if hasattr(each, "size"):
            sizes[each.path] = each.size
    return commit, sizes


def download(
    api: HfApi, repo: str, kind: str, commit: str, paths: Sequence[str], folder: Path, tell: Tell
) -> None:
    """Fetch files below a folder; those that an interrupted call left are not fetched again."""

    def fetch(path: str) -> None:
        api.hf_hub_download(repo, path, repo_type=kind, revision=commit, local_dir=folder)

    with ThreadPoolExecutor(_DOWNLOADS) as pool:
        for done, _ in enumerate(pool.map(fetch, paths), start=1):
            tell(done, len(paths))


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
