"""What the composed calls have in common: defaults, and what they say to whom."""

from __future__ import annotations

import hashlib
import inspect
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from itertools import zip_longest
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from basket.dataset.labels import LabelTable, read_tables, shared_players
from basket.dataset.layout import is_simulated
from basket.dataset.overview import unused_end

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
PathLike = str | Path
Say = Callable[[str], None]
Tell = Callable[[int, int], None]

DEFAULT_CACHE = "basket-cache"
DEFAULT_RUNS = "runs"


def silent(_: str) -> None:
    """Say nothing."""


def unheard(_done: int, _total: int) -> None:
    """Progress that nobody follows."""


def one_or_several(
    *names: str,
) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Let a call take one path, name or run where these arguments are sequences of them.

    A string is a sequence too: its letters would be looked for one by one.
    """

    def decorated(call: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        order = list(inspect.signature(call).parameters)

        def several(name: str, value: Any) -> Any:
            one = isinstance(value, str) or not isinstance(value, Iterable | None)
            return [value] if one and name in names else value

        @wraps(call)
        def with_sequences(*args: Any, **kwargs: Any) -> Result:
            # What is too much is passed on too: Python names the call that refuses it.
            named = zip_longest(order[: len(args)], args, fillvalue="")
            return call(
                *(several(name, value) for name, value in named),
                **{name: several(name, value) for name, value in kwargs.items()},
            )

        return with_sequences

    return decorated


def tell_left_out(name: str, left_out: Mapping[str, str], say: Say) -> None:
    """Say how many labelled videos could not be used, and why the first of them."""
    if left_out:
        video_id, reason = next(iter(left_out.items()))
        count = (
            "1 labelled video is" if len(left_out) == 1 else f"{len(left_out)} labelled videos are"
        )
        say(f"{name}: {count} left out, e.g. {video_id} ({reason})")


def tell_doubts(tables: Mapping[str, LabelTable], say: Say) -> None:
    """Say whether the scale is another one, and who is learned from and chosen by at once."""
    if unused := unused_end([table.level_counts() for table in tables.values()]):
        say(unused)
    names = list(tables)
    for (first, second), players in shared_players(list(tables.values())).items():
        count = "1 player is" if len(players) == 1 else f"{len(players)} players are"
        say(
            f"Leak: {count} in both {names[first]} and {names[second]}, e.g. {players[0]}; scores "
            f"on {names[second]} are too good, and what is chosen by them is too bold"
        )


def origin_of(
    tables: Mapping[str, LabelTable], cache: PathLike, *, player: str | None
) -> dict[str, Any]:
    """What a run keeps of the labels and of the cache that it was fitted from.

    Parameters
    ----------
    tables : mapping of str to LabelTable
        ``train``, and ``val`` where there is one.
    cache : path
    player : str or None
        Column that names the players.
    """
    return {
        "cache": str(Path(cache).resolve()),
        **({} if player is None else {"player": player}),
        "simulated": any(is_simulated(table.path) for table in tables.values()),
        **{
            name: {"path": str(table.path.resolve()), "sha256": table.sha256}
            for name, table in tables.items()
        },
    }


def listed_videos(
    labels: Sequence[PathLike], *, video_root: PathLike | None, n_levels: int
) -> list[str]:
    """Ids of the videos of label files, each once."""
    tables = read_tables(labels, video_root=video_root, n_levels=n_levels, ids_only=True)
    return list(dict.fromkeys(video_id for table in tables for video_id in table.video_ids))


def default_run_folder(settings: Any) -> Path:
    """``runs/<time>-<digest>``, of everything that decides the run."""
    canonical = json.dumps(settings, sort_keys=True, default=str)
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:8]
    return Path(DEFAULT_RUNS) / f"{time.strftime('%Y%m%d-%H%M%S')}-{digest}"
