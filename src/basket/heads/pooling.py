"""Segments of a video -> one row per video, or the segments themselves for heads that take them.

A pooling reads ``mean+std+top4/every:2``: terms side by side, then which segments take part.
``segments`` instead of terms keeps the segments. Several feature sets may be pooled differently:
``mean+std,pyramid`` has one pooling for each, in their order. A video without segments has no
pooled row, and saying so is an error: nothing is filled in.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from basket.cache.features import RaggedFeatures
from basket.cache.gather import block_bounds
from basket.errors import UsageError
from basket.heads.pooling_terms import Block, Term, parse_term
from basket.heads.subsets import Subset, parse_subset

#: Bytes of segments that are pooled at a time. Terms make float64 copies, four times as large as
#: what is stored; these stay small, and in the processor's cache.
PIECE_BYTES = 1 << 18

#: Instead of terms: the head gets the segments.
SEGMENTS = "segments"

Float32 = npt.NDArray[np.float32]
Features = Float32 | RaggedFeatures


@dataclass(frozen=True)
class Pooling:
    """A parsed pooling: its terms, whose columns stand side by side in this order.

    Parameters
    ----------
    terms : tuple of Term
        None of them: the segments are kept.
    subset : Subset, optional
        Which segments take part; all without it.
    """

    terms: tuple[Term, ...]
    subset: Subset | None = None

    def __str__(self) -> str:
        text = "+".join(term.name for term in self.terms) or SEGMENTS
        return text if self.subset is None else f"{text}/{self.subset}"

    @property
    def keeps_segments(self) -> bool:
        """Whether the result is ragged."""
        return not self.terms

    @property
    def needs_frames_valid(self) -> bool:
        """Whether a term weighs segments by their real frames."""
        return any(term.family == "valid" for term in self.terms)

    def width(self, dim: int) -> int:
        """Columns of the result for streams of ``dim`` columns.

        >>> parse_pooling("mean+std").width(768)
        1536
        """
        return dim * sum(term.repeats for term in self.terms) if self.terms else dim


def parse_pooling(text: str | Pooling) -> Pooling:
    """Parse ``mean+std``, ``top4+q90/first:32`` or ``segments``.

    Raises
    ------
    UsageError
        A term or subset is unknown (the nearest is suggested), or a term stands there twice.
    """
    if isinstance(text, Pooling):
        return text
    body, slash, subset = text.partition("/")
    chosen = parse_subset(subset.strip()) if slash else None
    if body.strip() == SEGMENTS:
        return Pooling((), chosen)
    terms = tuple(parse_term(term.strip(), within=text) for term in body.split("+"))
    if len(set(terms)) != len(terms):
        raise UsageError(f"pooling {text!r} names a term twice; name each once")
    return Pooling(terms, chosen)


def parse_poolings(text: str, n_sources: int) -> tuple[Pooling, ...]:
    """One pooling per feature set: the same for all, or as many as there are, joined by commas.

    Raises
    ------
    UsageError
        As :func:`parse_pooling`; another number of poolings; segments beside pooled rows.
    """
    poolings = tuple(parse_pooling(each) for each in text.split(","))
    if len(poolings) not in (1, n_sources):
        raise UsageError(
            f"pooling {text!r} has {len(poolings)} parts for {n_sources} feature sets; give one, "
            "or one for each"
        )
    if len({each.keeps_segments for each in poolings}) > 1:
        raise UsageError(f"pooling {text!r} mixes segments with pooled rows; choose one of them")
    return poolings if len(poolings) == n_sources else poolings * n_sources


def canonical(text: str) -> str:
    """The pooling as it is stored in runs; also the check that it can be parsed."""
    return ",".join(str(parse_pooling(each)) for each in text.split(","))


def pool(
    features: RaggedFeatures, pooling: str | Pooling, *, frames_valid: npt.ArrayLike | None = None
) -> Float32:
    """Pool the segments of each video to one row.

    Parameters
    ----------
    features : RaggedFeatures
        Segments of n videos, D columns.
    pooling : str or Pooling
        Terms of :data:`basket.heads.pooling_terms.TERMS`, sums with ``+``, and a subset.
    frames_valid : array_like, (total,), optional
        Real frames of each segment, for the term ``valid``.

    Returns
    -------
    ndarray, float32, (n, P)
        Terms side by side.

    Raises
    ------
    ValueError
        A video has no segment; its position is named.
    UsageError
        The pooling keeps segments (see :func:`prepare`), or needs ``frames_valid``.

    Examples
    --------
    >>> ragged = RaggedFeatures.from_list([np.array([[1.0, 2.0], [3.0, 2.0]])])
    >>> pool(ragged, "mean+std").tolist()
    [[2.0, 2.0, 1.0, 0.0]]
    """
    result = prepare(features, pooling, frames_valid=frames_valid)
    if isinstance(result, RaggedFeatures):
        raise UsageError(f"pooling {str(pooling)!r} keeps segments; no row per video can be made")
    return result


def prepare(
    features: RaggedFeatures, pooling: str | Pooling, *, frames_valid: npt.ArrayLike | None = None
) -> Features:
    """What a head takes: pooled rows as :func:`pool`, or the chosen segments themselves."""
    parsed = parse_pooling(pooling)
    empty = np.flatnonzero(features.lengths == 0)
    if len(empty):
        raise ValueError(f"video at position {empty[0]} has no segments, so it cannot be pooled")
    valid = None if frames_valid is None else np.asarray(frames_valid)
    if parsed.subset is not None:
        rows, offsets = parsed.subset.rows(features)
        features = RaggedFeatures(features.values[rows], offsets)
        valid = None if valid is None else valid[rows]
    if parsed.keeps_segments:
        return features
    out = np.empty((len(features), parsed.width(features.dim)), dtype=np.float32)
    segment_bytes = features.dim * features.values.itemsize
    bounds = block_bounds(features.lengths, segment_bytes=segment_bytes, block_bytes=PIECE_BYTES)
    for first, last in pairwise(bounds):
        start, stop = features.offsets[[first, last]].tolist()
        piece = RaggedFeatures(
            features.values[start:stop], features.offsets[first : last + 1] - start
        )
        block, column = Block(piece, None if valid is None else valid[start:stop]), 0
        for term in parsed.terms:
            width = term.repeats * features.dim
            out[first:last, column : column + width] = term(block)
            column += width
    return out
