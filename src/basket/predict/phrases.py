"""What a model that compares video with text says of each segment: the stream ``prompts`` in words.

The columns of that stream are phrases of playing a skill well and badly. Scores of phrases are not
comparable with one another (some phrases fit any basketball clip), so each column is counted from
its own mean over the reel, in its own standard deviations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from basket.cache import FeatureSetSpec, VideoFeatures
from basket.dataset.prompts import PromptBank, default_bank

STREAM = "prompts"


@dataclass(frozen=True)
class PhraseScores:
    """Text scores of one reel.

    Parameters
    ----------
    balance : ndarray, float64, (S, n_skills)
        Mean standardised score of the good phrases minus that of the bad ones; NaN for skills that
        the bank has no phrases of. Positive looks like good play, whatever the label's polarity.
    scores : ndarray, float64, (S, n_phrases)
        Standardised over the reel.
    texts : tuple of str, (n_phrases,)
    skills : tuple of str, (n_phrases,)
        Whose phrase each is.
    good : ndarray of bool, (n_phrases,)
    """

    balance: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    texts: tuple[str, ...]
    skills: tuple[str, ...]
    good: npt.NDArray[np.bool_]

    def best(self, segment: int, skill: str, *, good: bool) -> str:
        """The phrase of a skill that a segment resembles more than the rest of the reel does.

        Empty where it resembles none of them more.
        """
        mine = np.array([name == skill for name in self.skills]) & (self.good == good)
        if not mine.any():
            return ""
        scores = np.where(mine, self.scores[segment], -np.inf)
        best = int(scores.argmax())
        return self.texts[best] if scores[best] > 0 else ""


def phrase_scores(
    features: Sequence[VideoFeatures],
    specs: Sequence[FeatureSetSpec],
    *,
    skills: Sequence[str],
    bank: PromptBank | None = None,
) -> PhraseScores | None:
    """Text scores of a reel, from the first feature set that stores them; None where none does.

    Parameters
    ----------
    features : sequence of VideoFeatures
        Of one video, one per feature set.
    specs : sequence of FeatureSetSpec
        Their identities.
    skills : sequence of str
        Columns of ``balance``.
    bank : PromptBank, optional
        The user's own bank; basket's own is tried too. Phrases are known only of the very bank
        that the features were made with; without it their names stand in their place.
    """
    for each, spec in zip(features, specs, strict=True):
        if STREAM in spec.streams:
            return _scores(each, spec, skills, bank)
    return None


def column_names(spec: FeatureSetSpec) -> list[str]:
    """Columns of the text scores of a feature set: ``<skill>:<side>:<position>``."""
    return list(spec.columns.get(STREAM, ()))


def _scores(
    features: VideoFeatures, spec: FeatureSetSpec, skills: Sequence[str], bank: PromptBank | None
) -> PhraseScores:
    raw = features.features[STREAM].astype(np.float64)
    spread = raw.std(axis=0)
    scores = (raw - raw.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    columns = [name.rsplit(":", 2) for name in column_names(spec)]
    names = tuple(column[0] for column in columns)
    good = np.array([column[1] == "good" for column in columns])
    balance = np.full((len(raw), len(skills)), np.nan)
    for position, skill in enumerate(skills):
        mine = np.array([name == skill for name in names])
        if (mine & good).any() and (mine & ~good).any():
            balance[:, position] = scores[:, mine & good].mean(1) - scores[:, mine & ~good].mean(1)
    return PhraseScores(balance, scores, _texts(spec, bank, column_names(spec)), names, good)


def _texts(spec: FeatureSetSpec, bank: PromptBank | None, columns: list[str]) -> tuple[str, ...]:
    for known in (bank, default_bank()):
        if known is not None and known.sha256 == spec.prompts_sha256:
            return known.texts
    return tuple(columns)
