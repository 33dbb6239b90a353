"""How often a run is right at a stated probability: measured on players it used for nothing else.

``fit-head`` sets a share of the training players aside before anything is fitted. Neither the head
nor its early stop, penalties or decision rules see them, so what is counted here is what a new
player may expect. Ratings of one player hang together; intervals are as wide as that makes them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.errors import IntegrityError, UsageError
from basket.heads import folds
from basket.heads.decision import DecisionRules
from basket.heads.held_out import Predictions, predictions_parquet
from basket.heads.matrix import Matrix
from basket.metrics import of_trained_skills

Float = npt.NDArray[np.float64]

#: What a run keeps of the players it set aside.
SET_ASIDE_FILE = "calibration.parquet"

#: Share of the training players that ``fit-head`` sets aside.
DEFAULT_SHARE = 0.1
#: With fewer training players, all of them are needed for fitting.
MIN_PLAYERS = 20
#: Ratings of one skill from which its own curve is drawn; below, the skills share one.
MIN_RATINGS = 200
#: Ratings per bin of a curve.
BIN_RATINGS = 50
MAX_BINS = 5

_Z95 = 1.959964


@dataclass(frozen=True)
class Rate:
    """How often stated levels were right, for ratings of similar stated probability.

    Parameters
    ----------
    stated : float
        Their mean stated probability.
    ratings, players : int
        What was counted.
    right, near : int
        Ratings whose level was the stated one, and at most one level away from it.
    independent : float
        Independent ratings that would be as uncertain as these, at most ``ratings``: several
        ratings of one player are worth less than as many players.
    """

    stated: float
    ratings: int
    players: int
    right: int
    near: int
    independent: float

    @property
    def share(self) -> float:
        """Share of ratings that were right; NaN without ratings."""
        return self.right / self.ratings if self.ratings else math.nan

    @property
    def near_share(self) -> float:
        """Share of ratings at most one level off; NaN without ratings."""
        return self.near / self.ratings if self.ratings else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of :attr:`share`.

        >>> Rate(0.5, 100, 100, 50, 80, 100.0).interval
        (0.404, 0.596)
        """
        if not self.ratings:
            return 0.0, 1.0
        n, p, z = self.independent, self.share, _Z95
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return round(max(middle - half, 0.0), 3), round(min(middle + half, 1.0), 3)


@dataclass(frozen=True)
class Calibration:
    """Measured confidence of a run.

    Parameters
    ----------
    videos, players : int
        Set aside.
    overall : Rate
        Over all skills and stated probabilities.
    guess : float
        Share right without looking: by always naming each skill's most frequent training level, or
        by a blind guess among the levels where that does better.
    pooled : tuple of Rate
        Over all skills, by rising stated probability.
    skills : dict of str to tuple of Rate
        Only skills with enough ratings for a curve of their own.
    """

    videos: int
    players: int
    overall: Rate
    guess: float
    pooled: tuple[Rate, ...]
    skills: dict[str, tuple[Rate, ...]]

    def at(self, skill: str, probability: float) -> Rate:
        """What was counted for this skill nearest this stated probability, or over all skills."""
        curve = self.skills.get(skill, self.pooled)
        return min(curve, key=lambda rate: abs(rate.stated - probability))

    def is_pooled(self, skill: str) -> bool:
        """Whether :meth:`at` answers with what was counted over all skills."""
        return skill not in self.skills

    def to_json(self) -> str:
        """Serialise; :meth:`from_json` restores an equal one."""
        return json.dumps({"version": 1, **asdict(self)}, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, origin: str = "calibration.json") -> Calibration:
        """Read back.

        Raises
        ------
        IntegrityError
            Not what :meth:`to_json` wrote.
        """
        try:
            document = json.loads(text)
            if document["version"] != 1:
                raise ValueError(f"version {document['version']!r}, expected 1")
            return cls(
                videos=int(document["videos"]),
                players=int(document["players"]),
                overall=_rate(document["overall"]),
                guess=float(document["guess"]),
                pooled=_curve(document["pooled"]),
                skills={str(name): _curve(each) for name, each in document["skills"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise IntegrityError(f"{origin} holds no calibration: {error}") from error


def check_share(share: float) -> None:
    """Refuse a share of players to set aside that leaves nobody to fit on, or is no share.

    Raises
    ------
    UsageError
    """
    if not 0 <= share < 1:
        raise UsageError(
            f"the share of players to set aside must be at least 0 and below 1, got {share}"
        )


def set_aside(
    train: Matrix, share: float, *, seed: int = 0, seen_elsewhere: Collection[str] = ()
) -> tuple[Matrix, Matrix | None]:
    """Part the training players: those to fit on, and those to measure confidence on.

    Parameters
    ----------
    train : Matrix
    share : float
        Of the players; 0 sets nobody aside.
    seed : int
        Another seed deals out other players.
    seen_elsewhere : collection of str
        Players who are not set aside, as validation has them too and decides by them.

    Returns
    -------
    (Matrix, Matrix or None)
        None where ``share`` is 0, or fewer than :data:`MIN_PLAYERS` players are to choose from.
    """
    free = ~np.isin(train.groups.astype(np.str_), np.array(list(seen_elsewhere), dtype=np.str_))
    if share <= 0 or len(np.unique(train.groups[free])) < MIN_PLAYERS:
        return train, None
    chosen = np.zeros(len(train), dtype=bool)
    unseen = train.rows(free)
    keys = folds.group_keys(unseen.groups, unseen.X, seed=seed)
    chosen[free] = folds.held_out(keys, share)
    return train.rows(~chosen), train.rows(chosen)


def measure(
    held: Predictions,
    rules: DecisionRules,
    skills: Sequence[str],
    level_counts: npt.NDArray[np.float64],
) -> Calibration:
    """Count how often the stated levels of unseen players are right.

    Parameters
    ----------
    held : Predictions
        Probabilities as the run states them.
    rules : DecisionRules
        The levels are those of the rule for accuracy, as on the skill card.
    skills : sequence of str
    level_counts : ndarray, (n_skills, K)
        Of training: what always guessing the most frequent level knows.
    """
    levels = rules.predict(held.proba, "accuracy")
    stated = np.take_along_axis(held.proba, levels[..., None], axis=2)[..., 0]
    known = of_trained_skills(held.levels, level_counts) >= 0
    _, player = np.unique(np.array(held.groups, dtype=np.str_), return_inverse=True)
    off = np.abs(levels - held.levels)
    ratings = _Ratings(
        stated=stated[known],
        right=off[known] == 0,
        near=off[known] <= 1,
        player=np.broadcast_to(player[:, None], known.shape)[known],
    )
    skill_of = np.broadcast_to(np.arange(len(skills)), known.shape)[known]
    guessed, chance = level_counts.argmax(axis=1), 1.0 / held.proba.shape[2]
    return Calibration(
        videos=len(held.ids),
        players=len(set(held.groups)),
        overall=ratings.rate(),
        guess=max(float((held.levels == guessed)[known].mean()), chance) if known.any() else chance,
        pooled=ratings.curve(),
        skills={
            name: ratings.take(skill_of == index).curve()
            for index, name in enumerate(skills)
            if (skill_of == index).sum() >= MIN_RATINGS
        },
    )


def calibration_files(
    held: Predictions,
    rules: DecisionRules,
    skills: Sequence[str],
    level_counts: npt.NDArray[np.float64],
) -> dict[str, bytes]:
    """Files of a run about the players it set aside: what :func:`measure` found, and on what."""
    return {
        "calibration.json": measure(held, rules, skills, level_counts).to_json().encode(),
        SET_ASIDE_FILE: predictions_parquet(held, rules, skills),
    }


@dataclass(frozen=True)
class _Ratings:
    """Stated probability, outcome and player of some ratings, (n,) each."""

    stated: Float
    right: npt.NDArray[np.bool_]
    near: npt.NDArray[np.bool_]
    player: npt.NDArray[np.int64]

    def take(self, chosen: npt.NDArray[np.bool_]) -> _Ratings:
        return _Ratings(
            self.stated[chosen], self.right[chosen], self.near[chosen], self.player[chosen]
        )

    def curve(self) -> tuple[Rate, ...]:
        """Bins of about equally many ratings, by stated probability."""
        n_bins = max(1, min(MAX_BINS, len(self.stated) // BIN_RATINGS))
        if not len(self.stated):
            return (self.rate(),)
        edges = np.unique(np.quantile(self.stated, np.arange(1, n_bins) / n_bins))
        bins = np.searchsorted(edges, self.stated, side="right")
        return tuple(self.take(bins == index).rate() for index in np.unique(bins))

    def rate(self) -> Rate:
        return Rate(
            stated=float(self.stated.mean()) if len(self.stated) else 0.0,
            ratings=len(self.stated),
            players=len(np.unique(self.player)),
            right=int(self.right.sum()),
            near=int(self.near.sum()),
            independent=_independent(self.right, self.player),
        )


def _independent(right: npt.NDArray[np.bool_], player: npt.NDArray[np.int64]) -> float:
    """Ratings divided by the design effect of a ratio estimated from clusters."""
    n = len(right)
    _, cluster = np.unique(player, return_inverse=True)
    sizes = np.bincount(cluster).astype(np.float64)
    share = right.mean() if n else 0.0
    # Without a mistake (or a hit) the clusters cannot show how alike they are: count players.
    if len(sizes) < 2 or share in (0.0, 1.0):
        return float(len(sizes))
    residual = np.bincount(cluster, weights=right) - share * sizes
    variance = len(sizes) / (len(sizes) - 1) * (residual**2).sum() / n**2
    return float(n / max(variance * n / (share * (1 - share)), 1.0))


def _rate(document: Any) -> Rate:
    rate = Rate(
        stated=float(document["stated"]),
        ratings=int(document["ratings"]),
        players=int(document["players"]),
        right=int(document["right"]),
        near=int(document["near"]),
        independent=float(document["independent"]),
    )
    if not 0 <= rate.right <= rate.near <= rate.ratings or not 0 <= rate.independent < 1e12:
        raise ValueError("its counts contradict each other")
    if rate.ratings and rate.independent <= 0:
        raise ValueError("its counts contradict each other")
    return rate


def _curve(document: Any) -> tuple[Rate, ...]:
    if not document:
        raise ValueError("a curve is empty")
    return tuple(_rate(each) for each in document)
