"""``basket cache push|pull`` and ``basket run push|pull``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from basket.cli.cache import cache_app
from basket.cli.options import DEFAULT_CACHE, GROUP, Cache, Json, Quiet, Verbose

run_app = typer.Typer(help="Share fitted runs on a model hub.", **GROUP)

Repo = Annotated[str, typer.Argument(help="owner/name on the hub.", metavar="REPO")]
Public = Annotated[
    bool, typer.Option("--public", help="For everybody to see; private unless given.")
]
Revision = Annotated[
    str | None,
    typer.Option(metavar="REVISION", help="Commit, branch or tag; the newest unless given."),
]
Names = Annotated[
    list[str] | None,
    typer.Option(
        "--features",
        metavar="NAME",
        help="Feature set, or a beginning of its name; all unless given.",
    ),
]


@cache_app.command("push")
def push_cache(
    repo: Repo,
    features: Names = None,
    public: Public = False,
    cache: Cache = DEFAULT_CACHE,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Send feature sets to a model hub.

    To a data set repository, private unless said otherwise. Only what the repository lacks is sent;
    run again, it goes on. The token comes from HF_TOKEN.

    \b
    Example:
      basket cache push me/basket-videomae --features videomae
    """
    from basket import hub
    from basket.console import Output
    from basket.console.hub import transfer_lines

    output = Output(json, quiet)
    with output.progress("Pushing") as report:
        done = hub.push_cache(
            cache,
            repo,
            names=features or (),
            public=public,
            say=output.note,
            tell=lambda now, total: report(now, total, "shards"),
        )
    output.result(done.to_json(), *transfer_lines(done))


@cache_app.command("pull")
def pull_cache(
    repo: Repo,
    features: Names = None,
    revision: Revision = None,
    cache: Cache = DEFAULT_CACHE,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Fetch feature sets from a model hub.

    Every value is checked before they enter the cache.

    What the cache has is not fetched again. Ends with 4 where something is not what was pushed.

    \b
    Example:
      basket cache pull me/basket-videomae --cache shared-cache
    """
    from basket import hub
    from basket.console import Output
    from basket.console.hub import transfer_lines

    output = Output(json, quiet)
    with output.progress("Pulling") as report:
        done = hub.pull_cache(
            repo,
            cache,
            names=features or (),
            revision=revision,
            say=output.note,
            tell=lambda now, total: report(now, total, "files"),
        )
    output.result(done.to_json(), *transfer_lines(done))


@run_app.command("push")
def push_run(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    repo: Repo,
    public: Public = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Send a run to a model hub.

    With a card of its scores, settings and features.

    \b
    Example:
      basket run push runs/gbdt me/basket-gbdt
    """
    from basket import hub
    from basket.console import Output
    from basket.console.hub import transfer_lines

    output = Output(json, quiet)
    with output.working("Pushing"):
        done = hub.push_run(run, repo, public=public, say=output.note)
    output.result(done.to_json(), *transfer_lines(done))


@run_app.command("pull")
def pull_run(
    repo: Repo,
    out: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="Run folder to make; runs/<name> unless given."),
    ] = None,
    revision: Revision = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Fetch a run from a model hub.

    It appears when it is whole and every file is the one that was written.

    \b
    Example:
      basket run pull me/basket-gbdt runs/theirs
    """
    from basket import hub
    from basket.console import Output
    from basket.console.hub import transfer_lines

    output = Output(json, quiet)
    with output.progress("Pulling") as report:
        done = hub.pull_run(
            repo,
            out,
            revision=revision,
            say=output.note,
            tell=lambda now, total: report(now, total, "files"),
        )
    output.result(done.to_json(), *transfer_lines(done))
