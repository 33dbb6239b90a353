"""``basket cache push|pull`` and ``basket run push|pull``: parse, one call, show the result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from basket.cli_cache import Cache, Json, Quiet, Verbose, cache_app

run_app = typer.Typer(
    help="Share fitted runs on a model hub.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Repo = Annotated[str, typer.Argument(help="owner/name on the hub.", metavar="REPO")]
Public = Annotated[
    bool, typer.Option("--public", help="For everybody to see; private unless given.")
]
Revision = Annotated[
    str | None, typer.Option(help="Commit, branch or tag; the newest unless given.")
]
Names = Annotated[
    list[str] | None,
    typer.Option("--features", help="Feature set, or a beginning of its name; all unless given."),
]
_DEFAULT = Path("basket-cache")


@cache_app.command("push")
def push_cache(
    repo: Repo,
    features: Names = None,
    public: Public = False,
    cache: Cache = _DEFAULT,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Send feature sets to a data set repository of a model hub, private unless said otherwise.

    Only what the repository lacks is sent; run again, it goes on. The token comes from HF_TOKEN.

    Example: basket cache push me/basket-videomae --features videomae
    """
    from basket import hub
    from basket.console import Output
    from basket.console_hub import transfer_lines

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
    cache: Cache = _DEFAULT,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Fetch feature sets from a model hub; every value is checked before they enter the cache.

    What the cache has is not fetched again. Ends with 4 where something is not what was pushed.

    Example: basket cache pull me/basket-videomae --cache shared-cache
    """
    from basket import hub
    from basket.console import Output
    from basket.console_hub import transfer_lines

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
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    repo: Repo,
    public: Public = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Send a run to a model repository, with a card of its scores, settings and features.

    Example: basket run push runs/gbdt me/basket-gbdt
    """
    from basket import hub
    from basket.console import Output
    from basket.console_hub import transfer_lines

    output = Output(json, quiet)
    with output.working("Pushing"):
        done = hub.push_run(run, repo, public=public, say=output.note)
    output.result(done.to_json(), *transfer_lines(done))


@run_app.command("pull")
def pull_run(
    repo: Repo,
    out: Annotated[
        Path | None, typer.Argument(help="Run folder to make; runs/<name> unless given.")
    ] = None,
    revision: Revision = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Fetch a run; it appears when it is whole and every file is the one that was written.

    Example: basket run pull me/basket-gbdt runs/theirs
    """
    from basket import hub
    from basket.console import Output
    from basket.console_hub import transfer_lines

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


def add_to(app: typer.Typer) -> None:
    """Register the group ``run``; the commands of ``cache`` are there once this is imported."""
    app.add_typer(run_app, name="run")
