"""Where other players stand: their expected levels, and the mean prediction.

The expected level rises with the latent score, and unlike it means the same for every head. The
players are ones that the predicting head had not seen, because a head spreads its own training
players wider than anybody new: the training players themselves, each scored out of fold, or the
validation players where they were given.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.errors import IntegrityError
from basket.heads.decision import expectation
from basket.heads.held_out import Predictions

Float = npt.NDArray[np.float64]

#: Of more players, so many are kept, evenly spaced by rank.
MAX_KEPT = 401
#: Players from which a share of them is stated: of fewer, one more or less turns it over.
ENOUGH_PLAYERS = 20
#: A spread of expected levels between the tenth and the nine tenth player that is as good as none.
_FLAT = 0.05
#: Expected levels this near are equal.
_EQUAL = 1e-6


@dataclass(frozen=True)
class Reference:
    """What one player's prediction is compared with.

    Parameters
    ----------
    players : int
        Behind the quantiles.
    population : {"training", "validation"}
        Who they are.
    quantiles : ndarray, float64, (n_skills, n_kept)
        Expected level of each player, from the lowest to the highest; of runs of basket 0.1, and of
        many players, quantiles of them.
    mean_latent : ndarray, float64, (n_skills,)
        Mean latent score of the rows that were fitted on: the mean prediction, from which evidence
        is counted.
    """

    players: int
    population: str
    quantiles: Float
    mean_latent: Float

    @property
    def is_enough(self) -> bool:
        """Whether there are players enough to state a share of them."""
        return self.players >= ENOUGH_PLAYERS

    @property
    def is_flat(self) -> npt.NDArray[np.bool_]:
        """Skills of which the run says (nearly) the same of everybody, (n_skills,)."""
        low, high = np.quantile(self.quantiles, (0.1, 0.9), axis=1)
        return np.asarray(high - low < _FLAT)

    def percentile(self, proba: Float, *, high_is_good: npt.NDArray[np.bool_]) -> Float:
        """Share of the players below each prediction, ``0..1``, (n, n_skills).

        Where low labels are the good ones, of the players at or below it: who ties with a player
        is ahead of nobody either way. NaN where the players are too few, or the skill is flat.

        Parameters
        ----------
        proba : ndarray, float64, (n, n_skills, K)
            As the run states them; labels in their own order, so a high percentile is a high label.
        high_is_good : ndarray, bool, (n_skills,)
        """
        expected = expectation(proba)
        place = np.full(expected.shape, np.nan)
        for skill in np.flatnonzero(~self.is_flat) if self.is_enough else ():
            # Rounding parts nobody from those who tie.
            slack = -_EQUAL if high_is_good[skill] else _EQUAL
            place[:, skill] = np.searchsorted(self.quantiles[skill], expected[:, skill] + slack)
        return np.asarray(place / self.quantiles.shape[1])

    def beyond(self, proba: Float) -> npt.NDArray[np.bool_]:
        """Whether a prediction lies outside the range of all reference players, (n, n_skills).

        Many of them for one reel tell that it is unlike what the run was checked on.
        """
        expected = expectation(proba)
        low, high = self.quantiles[:, 0] - _EQUAL, self.quantiles[:, -1] + _EQUAL
        return np.asarray((expected < low) | (expected > high))

    def to_json(self) -> str:
        """Serialise; :meth:`from_json` restores an equal one."""
        document = {
            "version": 2,
            "players": self.players,
            "population": self.population,
            "quantiles": self.quantiles.tolist(),
            "mean_latent": self.mean_latent.tolist(),
        }
        return json.dumps(document, allow_nan=False) + "\n"

    @classmethod
    def from_json(
        cls, text: str, *, skills: Sequence[str], origin: str = "reference.json"
    ) -> Reference:
        """Read back, for a run that predicts ``skills``.

        Raises
        ------
        IntegrityError
            Not what :meth:`to_json` wrote.
        """
        try:
            document: dict[str, Any] = json.loads(text)
            if document["version"] not in (1, 2):
                raise ValueError(f"version {document['version']!r}, expected 1 or 2")
            found = cls(
                players=int(document["players"]),
                population=str(document["population"]),
                quantiles=np.array(document["quantiles"], dtype=np.float64),
                mean_latent=np.array(document["mean_latent"], dtype=np.float64),
            )
            shape = found.quantiles.shape
            fits = len(shape) == 2 and 1 <= shape[1] <= MAX_KEPT
            if not fits or not (len(skills) == shape[0] == len(found.mean_latent)):
                raise ValueError(f"it is not for {len(skills)} skills")
            if not (np.diff(found.quantiles, axis=1) >= 0).all():
                raise ValueError("its quantiles do not rise")
            if not np.isfinite(found.mean_latent).all():
                raise ValueError("its mean prediction is not finite")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise IntegrityError(f"{origin} holds no reference: {error}") from error
        return found


def reference_of(held: Predictions, *, population: str, mean_latent: Float) -> Reference:
    """Of players the predicting head had not seen, probabilities as stated; one row per player."""
    players, rows = np.unique(np.asarray(held.groups), return_inverse=True)
    expected = np.zeros((len(players), held.proba.shape[1]))
    np.add.at(expected, rows, expectation(held.proba))
    ordered = np.sort(expected / np.bincount(rows)[:, None], axis=0)
    kept = np.linspace(0, len(players) - 1, min(len(players), MAX_KEPT)).round().astype(np.int64)
    return Reference(
        players=len(players),
        population=population,
        quantiles=np.ascontiguousarray(ordered[kept].T),
        mean_latent=np.asarray(mean_latent, dtype=np.float64),
    )
