"""Which segments of a reel raised and lowered each skill's score.

Three ways, the first that fits is taken:

``exact``
    A head with linear scores over ``mean``, ``std``, ``max`` and ``min``. A segment's share of a
    mean is its own value, of a standard deviation its squared distance from the mean, of an extreme
    the whole of it where it holds it. The shares of all segments sum to the pooled value.
``attention``
    How much a segment counts times what it tells.
``without``
    Any other head or pooling: the score minus what it would be without the segment.

With the first two, the effects of a reel's segments sum to its latent score minus the mean
prediction. The third makes no such promise: segments that say the same replace one another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from basket.cache import RaggedFeatures, VideoFeatures
from basket.errors import UsageError
from basket.heads.attention import AttentionHead
from basket.heads.base import SkillHead
from basket.heads.matrix import side_by_side
from basket.heads.persist import Run
from basket.heads.pooling import Pooling, parse_poolings, prepare
from basket.predict.left_out import rows_without_each

Float = npt.NDArray[np.float64]
Method = Literal["exact", "attention", "without"]

EXACT_TERMS = ("mean", "std", "max", "min")

_BLOCK_BYTES = 64 << 20


@dataclass(frozen=True)
class Evidence:
    """What each segment of one reel did to each skill's score.

    Parameters
    ----------
    start_s, end_s : ndarray, float64, (S,)
        Segments, half-open.
    effects : ndarray, float64, (S, n_skills)
        Change of the latent score; positive pushes the *label* up (see the skill's polarity).
    latent : ndarray, float64, (n_skills,)
        Of the whole reel.
    mean_latent : ndarray, float64, (n_skills,)
        The mean prediction that effects are counted from.
    method : {"exact", "attention", "without"}
    """

    start_s: Float
    end_s: Float
    effects: Float
    latent: Float
    mean_latent: Float
    method: Method

    @property
    def adds_up(self) -> bool:
        """Whether effects sum to ``latent - mean_latent``."""
        return self.method != "without"

    def strongest(self, skill: int, count: int, *, up: bool = True) -> list[int]:
        """Segments that pushed the label most, best first; fewer where fewer did.

        Parameters
        ----------
        skill : int
        count : int
        up : bool, default=True
            Or down.
        """
        effect = self.effects[:, skill] if up else -self.effects[:, skill]
        order = np.argsort(-effect, kind="stable")[:count]
        return [int(segment) for segment in order if effect[segment] > 0]


def method_of(run: Run) -> Method:
    """Which of the three ways serves a run."""
    poolings = parse_poolings(run.pooling, len(run.feature_sets))
    if isinstance(run.head, AttentionHead):
        return "attention"
    names = {term.family for pooling in poolings for term in pooling.terms}
    if _slopes(run.head) is not None and names and names <= set(EXACT_TERMS):
        return "exact"
    return "without"


def explain(
    run: Run, videos: Sequence[Sequence[VideoFeatures]], *, mean_latent: Float | None = None
) -> list[Evidence]:
    """Evidence of some videos.

    Parameters
    ----------
    run : Run
    videos : sequence of sequence of VideoFeatures
        Of each video, its features in each of ``run.feature_sets``.
    mean_latent : ndarray, float64, (n_skills,), optional
        Mean prediction of the training players (a run's :class:`Reference` has it); 0 by default,
        which it is for linear heads.

    Raises
    ------
    UsageError
        The run's feature sets cut videos into different segments.
    """
    mean = np.zeros(len(run.skills)) if mean_latent is None else mean_latent
    poolings = parse_poolings(run.pooling, len(run.feature_sets))
    method = method_of(run)
    reels = [_Reel.of(run, video, poolings) for video in videos]
    latents = _whole_latents(run.head, reels)
    if method == "without":
        effects = list(_without_each(run.head, reels, latents))
    else:
        one = _attended if method == "attention" else _shares
        effects = [one(run.head, reel, mean) for reel in reels]
    return [
        Evidence(
            start_s=reel.start_s,
            end_s=reel.end_s,
            effects=reel.on_all_segments(each),
            latent=latent,
            mean_latent=mean,
            method=method,
        )
        for reel, each, latent in zip(reels, effects, latents, strict=True)
    ]


@dataclass(frozen=True)
class _Reel:
    """One video: per feature set the chosen segments (m, D), and which of all they are."""

    start_s: Float
    end_s: Float
    chosen: npt.NDArray[np.int64]
    parts: list[tuple[npt.NDArray[Any], Pooling, npt.NDArray[Any]]]

    @classmethod
    def of(cls, run: Run, video: Sequence[VideoFeatures], poolings: Sequence[Pooling]) -> _Reel:
        first = video[0]
        chosen: npt.NDArray[np.int64] | None = None
        parts = []
        for features, source, pooling in zip(video, run.feature_sets, poolings, strict=True):
            segments = RaggedFeatures.from_list([features.features[source.stream]])
            rows = (
                np.arange(features.n_segments)
                if pooling.subset is None
                else pooling.subset.rows(segments)[0]
            )
            same = np.array_equal(features.start_s, first.start_s)
            if not same or (chosen is not None and not np.array_equal(rows, chosen)):
                raise UsageError(
                    f"run {run.path.name} reads feature sets that cut videos into different "
                    "segments, so no segment can be held to account; explain runs on one of them"
                )
            chosen = rows
            whole = Pooling(pooling.terms)
            parts.append((segments.values[rows], whole, features.frames_valid[rows]))
        assert chosen is not None
        return cls(first.start_s, first.end_s, chosen, parts)

    def row(self) -> Any:
        """What the head takes for the whole reel."""
        return side_by_side(
            [
                prepare(RaggedFeatures.from_list([values]), pooling, frames_valid=valid)
                for values, pooling, valid in self.parts
            ]
        )

    def on_all_segments(self, effects: Float) -> Float:
        """Effects of the chosen segments among all; those that took no part have none."""
        out = np.zeros((len(self.start_s), effects.shape[1]))
        out[self.chosen] = effects
        return out


def _whole_latents(head: SkillHead, reels: Sequence[_Reel]) -> Float:
    if not reels:
        return np.zeros((0, head.n_skills_))
    rows = [reel.row() for reel in reels]
    if isinstance(rows[0], RaggedFeatures):
        values = [row.values for row in rows]
        return np.asarray(head.latent(RaggedFeatures.from_list(values)))
    return np.asarray(head.latent(np.concatenate(rows)))


def _slopes(head: SkillHead) -> tuple[Float, Float] | None:
    """Slopes (P, n_active) and intercepts of a head whose latent score is linear in its columns."""
    coef = getattr(head, "coef_", None)
    if coef is None or getattr(head, "loss", "") == "corn":
        return None
    if coef.shape != (head.n_features_in_, len(head.active_)):
        return None
    return coef, np.asarray(head.intercept_)


def _shares(head: SkillHead, reel: _Reel, mean: Float) -> Float:
    slopes = _slopes(head)
    assert slopes is not None
    coef, intercept = slopes
    n = len(reel.chosen)
    active = np.zeros((n, len(head.active_)))
    column = 0
    for values, pooling, _ in reel.parts:
        x = values.astype(np.float64)
        for term in pooling.terms:
            active += _TERM_SHARES[term.family](x) @ coef[column : column + x.shape[1]]
            column += x.shape[1]
    # What the mean prediction and the intercept amount to is no segment's doing.
    active += (intercept - mean[head.active_]) / n
    return _all_skills(head, active)


def _share_of_std(x: Float) -> Float:
    squares = (x - x.mean(axis=0)) ** 2
    std = np.sqrt(squares.mean(axis=0))
    return np.asarray(squares / np.where(std > 0, std * len(x), 1.0))


def _share_of_extreme(x: Float, extreme: Float) -> Float:
    holds = x == extreme
    return np.asarray(holds * extreme / holds.sum(axis=0))


_TERM_SHARES: dict[str, Callable[[Float], Float]] = {
    "mean": lambda x: x / len(x),
    "std": _share_of_std,
    "max": lambda x: _share_of_extreme(x, x.max(axis=0)),
    "min": lambda x: _share_of_extreme(x, x.min(axis=0)),
}


def _attended(head: SkillHead, reel: _Reel, mean: Float) -> Float:
    assert isinstance(head, AttentionHead)
    segments = reel.row()
    values = (segments.values.astype(np.float32) - head.mean_) * head.scale_
    tells = values.astype(np.float64) @ head.slope_.astype(np.float64)
    if head.pool == "topk":
        count = min(head.top, len(tells))
        rank = np.argsort(np.argsort(-tells, axis=0, kind="stable"), axis=0)
        weight: Float = (rank < count) / count
    else:
        (weight,) = head.attention(segments)
    return _all_skills(head, weight * (tells - mean[head.active_]))


def _all_skills(head: SkillHead, active: Float) -> Float:
    """Effects on the learned skills among all; a skill that was not learned has none."""
    out = np.zeros((len(active), head.n_skills_))
    out[:, head.active_] = active
    return out


def _without_each(head: SkillHead, reels: Sequence[_Reel], latents: Float) -> Iterator[Float]:
    """Score with all segments minus score without each, as many reels at once as fit a block."""
    start = 0
    while start < len(reels):
        stop, held = start, 0
        rows: list[Any] = []
        while stop < len(reels) and (held == 0 or held < _BLOCK_BYTES):
            found = side_by_side(
                [rows_without_each(values, pooling, valid) for values, pooling, valid in
                 reels[stop].parts]
            )  # fmt: skip
            rows.append(found)
            held += found.values.nbytes if isinstance(found, RaggedFeatures) else found.nbytes
            stop += 1
        scores = _latents_of_blocks(head, rows)
        end = 0
        for reel, latent in zip(reels[start:stop], latents[start:stop], strict=True):
            n = len(reel.chosen)
            if n == 1:  # nothing is left without it
                yield np.zeros((1, head.n_skills_))
            else:
                yield latent - scores[end : end + n]
                end += n
        start = stop


def _latents_of_blocks(head: SkillHead, rows: Sequence[Any]) -> Float:
    if isinstance(rows[0], RaggedFeatures):
        kept = [block for block in rows if len(block)]
        if not kept:
            return np.zeros((0, head.n_skills_))
        return np.concatenate([np.asarray(head.latent(block)) for block in kept])
    together = np.concatenate(rows)
    return np.asarray(head.latent(together)) if len(together) else np.zeros((0, head.n_skills_))
