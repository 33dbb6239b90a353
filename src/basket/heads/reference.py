"""Where other players stand: quantiles of the expected level, and the mean prediction.

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

N_QUANTILES = 101


@dataclass(frozen=True)
class Reference:
    """What one player's prediction is compared with.

    Parameters
    ----------
    players : int
        Behind the quantiles.
    population : {"training", "validation"}
        Who they are.
    quantiles : ndarray, float64, (n_skills, 101)
        Of the expected level, from the lowest to the highest player.
    mean_latent : ndarray, float64, (n_skills,)
        Mean latent score of the rows that were fitted on: the mean prediction, from which evidence
        is counted.
    """

    players: int
    population: str
    quantiles: Float
    mean_latent: Float

    def percentile(self, proba: Float) -> Float:
        """Share of the players below each prediction, ``0..1``, (n, n_skills); NaN if all tie.

        Parameters
        ----------
        proba : ndarray, float64, (n, n_skills, K)
            As the run states them; labels in their own order, so a high percentile is a high label.
        """
        expected = expectation(proba)
        place = np.full(expected.shape, np.nan)
        for skill, ordered in enumerate(self.quantiles):
            if np.ptp(ordered) < 1e-9:
                continue
            below = np.searchsorted(ordered, expected[:, skill], side="left")
            upto = np.searchsorted(ordered, expected[:, skill], side="right")
            # Between two quantiles: linear; on a run of equal ones: its middle.
            low = np.clip(below - 1, 0, len(ordered) - 2)
            gap = ordered[low + 1] - ordered[low]
            inside = (expected[:, skill] - ordered[low]) / np.where(gap > 0, gap, 1.0)
            between = low + np.clip(inside, 0.0, 1.0)
            place[:, skill] = np.where(upto > below, (below + upto - 1) / 2, between)
        return np.asarray(place / (self.quantiles.shape[1] - 1))

    def beyond(self, proba: Float) -> npt.NDArray[np.bool_]:
        """Whether a prediction lies outside the range of all reference players, (n, n_skills).

        Many of them for one reel tell that it is unlike what the run was checked on.
        """
        expected, slack = expectation(proba), 1e-6
        low, high = self.quantiles[:, 0] - slack, self.quantiles[:, -1] + slack
        return np.asarray((expected < low) | (expected > high))

    def to_json(self) -> str:
        """Serialise; :meth:`from_json` restores an equal one."""
        document = {
            "version": 1,
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
            if document["version"] != 1:
                raise ValueError(f"version {document['version']!r}, expected 1")
            found = cls(
                players=int(document["players"]),
                population=str(document["population"]),
                quantiles=np.array(document["quantiles"], dtype=np.float64),
                mean_latent=np.array(document["mean_latent"], dtype=np.float64),
            )
            if found.quantiles.shape != (len(skills), N_QUANTILES) or found.mean_latent.shape != (
                len(skills),
            ):
                raise ValueError(f"it is not for {len(skills)} skills")
            if not (np.diff(found.quantiles, axis=1) >= 0).all():
                raise ValueError("its quantiles do not rise")
            if not np.isfinite(found.mean_latent).all():
                raise ValueError("its mean prediction is not finite")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise IntegrityError(f"{origin} holds no reference: {error}") from error
        return found


def reference_of(held: Predictions, *, population: str, mean_latent: Float) -> Reference:
    """Quantiles over players the predicting head had not seen, probabilities as stated."""
    places = np.linspace(0, 1, N_QUANTILES)
    quantiles = np.quantile(expectation(held.proba), places, axis=0).T
    return Reference(
        players=len(set(held.groups)),
        population=population,
        # Rounding in the interpolation may undo the order in the last digit.
        quantiles=np.maximum.accumulate(quantiles, axis=1),
        mean_latent=np.asarray(mean_latent, dtype=np.float64),
    )
