"""Features as what other libraries work with: numpy, pandas, Arrow, a torch data set.

Each function is a method of :class:`~basket.cache.feature_set.FeatureSet`. With a pooling there is
one row per video, without one a row per segment. All of it is held in memory: a stream of D columns
takes 4 D bytes per row, and ``FeatureSet.stream`` or ``basket cache export`` go block by block.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from basket.cache.features import RaggedFeatures
from basket.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from basket.cache.feature_set import FeatureSet
    from basket.cache.torch_dataset import FeatureDataset

#: Pooling stands above the cache; it is known here by name alone and imported when it is asked for.
_POOLING = "basket.heads.streaming"

Float32 = npt.NDArray[np.float32]


def to_numpy(
    feature_set: FeatureSet,
    video_ids: Sequence[str] | None = None,
    *,
    stream: str = "pooled",
    pool: str | None = "mean",
) -> Float32:
    """Features as one matrix.

    Parameters
    ----------
    video_ids : sequence of str, optional
        Rows, in this order; by default ``feature_set.video_ids``.
    stream : str, default="pooled"
    pool : str or None, default="mean"
        How the segments of a video become a row, as in ``--pool`` (``mean+std``, ``top4/every:2``).
        None: the segments themselves, video after video; ``ragged`` tells where each begins.

    Returns
    -------
    ndarray, float32, (n_videos, P) or, without pooling, (n_segments, D)

    Raises
    ------
    UsageError
        An unknown stream or pooling.
    CacheError, IntegrityError
        A video has no features here, or damage may hide videos.

    Examples
    --------
    ::

        X = cache["videomae"].to_numpy(pool="mean+std")
    """
    ids = list(feature_set.video_ids if video_ids is None else video_ids)
    if pool is None:
        return feature_set.ragged(ids, stream).values.astype(np.float32)
    pooled = import_module(_POOLING).pool_feature_set(feature_set, ids, stream, pool)
    if isinstance(pooled, RaggedFeatures):
        raise UsageError(
            f"pooling {pool!r} keeps segments; leave the pooling out (pool=None) for all of them"
        )
    matrix: Float32 = pooled
    return matrix


def to_pandas(
    feature_set: FeatureSet,
    video_ids: Sequence[str] | None = None,
    *,
    stream: str = "pooled",
    pool: str | None = "mean",
) -> pd.DataFrame:
    """Features as a data frame, one float32 column per number.

    Parameters
    ----------
    video_ids, stream, pool
        As :func:`to_numpy`.

    Returns
    -------
    DataFrame
        Indexed by ``video_id``, columns 0, 1, …; without pooling indexed by ``video_id``,
        ``start_s`` and ``end_s``.

    Raises
    ------
    MissingDependencyError
        pandas is not installed.
    BasketError
        As :func:`to_numpy`.
    """
    try:
        import pandas as pd
    except ImportError:
        raise MissingDependencyError(
            "data frames need pandas, which is not installed; run: pip install 'basket[pandas]'"
        ) from None
    ids = list(feature_set.video_ids if video_ids is None else video_ids)
    matrix = to_numpy(feature_set, ids, stream=stream, pool=pool)
    if pool is not None:
        return pd.DataFrame(matrix, index=pd.Index(ids, name="video_id"))
    names = ("video_id", "start_s", "end_s")
    segments = _segments(feature_set, ids)
    index = pd.MultiIndex.from_arrays([segments[name] for name in names], names=names)
    return pd.DataFrame(matrix, index=index)


def to_arrow(
    feature_set: FeatureSet,
    video_ids: Sequence[str] | None = None,
    *,
    stream: str = "pooled",
    pool: str | None = "mean",
) -> pa.Table:
    """Features as an Arrow table with a column ``features`` of fixed-size lists of float32.

    Polars, DuckDB and Hugging Face data sets take it as it is.

    Parameters
    ----------
    video_ids, stream, pool
        As :func:`to_pandas`.

    Returns
    -------
    pyarrow.Table
        ``video_id`` and ``features``; without pooling also ``start_s``, ``end_s`` and
        ``frames_valid``. The identity of the features is in the schema's metadata.

    Raises
    ------
    BasketError
        As :func:`to_numpy`.
    """
    import pyarrow as pa

    ids = list(feature_set.video_ids if video_ids is None else video_ids)
    columns = {"video_id": ids} if pool is not None else _segments(feature_set, ids)
    matrix = to_numpy(feature_set, ids, stream=stream, pool=pool)
    arrays = {name: pa.array(values) for name, values in columns.items()}
    arrays["features"] = pa.FixedSizeListArray.from_arrays(
        pa.array(matrix.reshape(-1)), matrix.shape[1]
    )
    about = {"feature_set": feature_set.spec.to_json(), "stream": stream, "pool": pool or ""}
    return pa.table(arrays).replace_schema_metadata(about)


def to_torch(
    feature_set: FeatureSet,
    video_ids: Sequence[str] | None = None,
    *,
    stream: str = "pooled",
    pool: str | None = "mean",
    targets: npt.ArrayLike | None = None,
) -> FeatureDataset:
    """Features as a map-style ``torch.utils.data.Dataset``, one item per video.

    Parameters
    ----------
    video_ids, stream
        As :func:`to_numpy`.
    pool : str or None, default="mean"
        None: items are the segments of a video, read from the cache when they are asked for; use
        the data set's ``collate`` in a ``DataLoader``.
    targets : array_like, (n_videos, …), optional
        Makes items ``(features, target)``.

    Returns
    -------
    FeatureDataset
        Items float32, ``(P,)`` or ``(S, D)``.

    Raises
    ------
    ValueError
        There are not as many targets as videos.
    BasketError
        As :func:`to_numpy`.

    Examples
    --------
    ::

        data = cache["videomae"].to_torch(pool=None, targets=levels)
        loader = DataLoader(data, batch_size=32, shuffle=True, collate_fn=data.collate)
    """
    from basket.cache.torch_dataset import FeatureDataset

    ids = tuple(feature_set.video_ids if video_ids is None else video_ids)
    if pool is None:
        feature_set.stream(ids, stream=stream)  # says at once what is missing
        rows = None
    else:
        rows = to_numpy(feature_set, ids, stream=stream, pool=pool)
    return FeatureDataset(feature_set, ids, stream=stream, rows=rows, targets=targets)


def _segments(feature_set: FeatureSet, ids: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Video and span of each segment, video after video."""
    names = np.repeat(np.array([*ids, ""], dtype=object)[:-1], feature_set.n_segments(ids))
    return {"video_id": names, **feature_set.segments(ids)}
