"""The composed call behind ``basket labels``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from basket.dataset import N_LEVELS, read_tables
from basket.dataset.overview import LabelOverview, overview
from basket.workflows.common import PathLike, one_or_several


@one_or_several("labels")
def describe_labels(
    labels: Sequence[PathLike],
    *,
    video_root: PathLike | None = None,
    n_levels: int = N_LEVELS,
    player: str | None = None,
) -> LabelOverview:
    """Count what label files hold: levels per skill, missing files, duplicates, shared players.

    Parameters
    ----------
    labels : sequence of path
    video_root : path, optional
        Folder that the paths in label files are relative to.
    n_levels : int, default=5
    player : str, optional
        Column that names the person in each video; by default the paths do.

    Raises
    ------
    LabelError
        A file is not a label table.
    """
    tables = read_tables(labels, video_root=video_root, n_levels=n_levels, player=player)
    return overview(tables, video_root=None if video_root is None else Path(video_root))
