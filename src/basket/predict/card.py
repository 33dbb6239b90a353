"""The skill card of one reel: levels, words and probabilities, as a page or a fragment.

Levels are shown from poor to excellent whatever the label's polarity: for Defensive Consistency
label 0 is the excellent one, and the card says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from basket.dataset.layout import parse_reel_name
from basket.dataset.skills import GROUPS, Skill, skill_as_named
from basket.heads.calibration import Calibration, Rate
from basket.predict.confidence import Verdict, verdict
from basket.predict.pictures import Strip
from basket.predict.radar import Radar, radar
from basket.predict.story import Season, Story

#: Skills named as strongest and weakest.
_NAMED = 3
#: How far from half a share of players has to be, to be at odds with a level.
_NEAR_HALF = 0.15


@dataclass(frozen=True)
class SkillReading:
    """What was predicted for one skill.

    Parameters
    ----------
    name : str
        As the label file calls it.
    level : int
        Predicted label, ``0..K-1``, polarity as in the labels.
    probabilities : tuple of float, (K,)
        Of the labels, in their order; sums to 1.
    true_level : int or None
        The label, where it is known (the demo).
    percentile : float or None
        Share of the reference players with a lower expected label; None where it is not stated.
    is_flat : bool
        The run says (nearly) the same of everybody, so that the level tells nothing.
    rate : Rate or None
        How often the run was right at such a stated probability; None where nobody measured it.
    rate_is_pooled : bool
        Counted over all skills, as there were too few ratings of this one.
    """

    name: str
    level: int
    probabilities: tuple[float, ...]
    true_level: int | None = None
    percentile: float | None = None
    is_flat: bool = False
    rate: Rate | None = None
    rate_is_pooled: bool = False

    @property
    def skill(self) -> Skill:
        """Group and polarity."""
        return skill_as_named(self.name)

    @property
    def n_levels(self) -> int:
        """K."""
        return len(self.probabilities)

    @property
    def word(self) -> str:
        """The level in words, polarity applied: ``excellent``."""
        return self.skill.level_name(self.level, self.n_levels)

    @property
    def confidence(self) -> float:
        """Probability of the stated level."""
        return self.probabilities[self.level]

    def rank(self, level: int) -> int:
        """Place of a label from poor (0) to excellent (K-1)."""
        return level if self.skill.high_is_good else self.n_levels - 1 - level

    @property
    def ranked_probabilities(self) -> tuple[float, ...]:
        """Probabilities from poor to excellent."""
        return self.probabilities if self.skill.high_is_good else self.probabilities[::-1]

    @property
    def standing(self) -> float | None:
        """Share of the reference players who are behind this one, polarity applied."""
        if self.percentile is None:
            return None
        return self.percentile if self.skill.high_is_good else 1 - self.percentile

    @property
    def surprise(self) -> str:
        """Why a good word and a low place among players, or the reverse, are no contradiction."""
        if self.standing is None:
            return ""
        lead = self.rank(self.level) - (self.n_levels - 1) / 2
        ahead = self.standing - 0.5
        if lead * ahead > 0 or abs(ahead) < (_NEAR_HALF if lead else 2 * _NEAR_HALF):
            return ""
        expects = "more" if ahead < 0 else "less"
        return f"{self.word} is the likeliest level, but the run expects {expects} of most players"

    @property
    def expected_rank(self) -> float:
        """Expected place from poor (0) to excellent (K-1)."""
        return sum(rank * share for rank, share in enumerate(self.ranked_probabilities))


@dataclass(frozen=True)
class SkillCard:
    """Everything that is said about one reel.

    Parameters
    ----------
    video_id : str
    readings : tuple of SkillReading
    player, league, season : str
        Empty where unknown.
    run, features, head : str
        What predicted.
    simulated : bool
        The head was fitted on simulated players.
    random_weights : bool
        The features come from weights that were never trained.
    notes : tuple of str
        Plain sentences: a truncated video, a missing stream.
    duration_s : float
        Of the reel; 0 where unknown.
    calibration : Calibration or None
        How often the run is right.
    compared_with : str
        Whom percentiles are among: ``144 training players``.
    is_compared : bool
        Whether those are players enough to state a share of them.
    beyond : int
        Skills whose prediction lies outside the range of all those players.
    stories : tuple of Story
        What moved each skill's prediction; featured skills first.
    strips : tuple of Strip
        Pictures of moments; stories refer to them by position.
    method : str
        How effects were computed; see :mod:`basket.predict.evidence`.
    seasons : tuple of Season
        The same player in other seasons, by the same run.
    """

    video_id: str
    readings: tuple[SkillReading, ...]
    player: str = ""
    league: str = ""
    season: str = ""
    run: str = ""
    features: str = ""
    head: str = ""
    simulated: bool = False
    random_weights: bool = False
    notes: tuple[str, ...] = ()
    duration_s: float = 0.0
    calibration: Calibration | None = None
    compared_with: str = ""
    is_compared: bool = True
    beyond: int = 0
    stories: tuple[Story, ...] = ()
    strips: tuple[Strip, ...] = ()
    method: str = ""
    seasons: tuple[Season, ...] = ()

    @property
    def title(self) -> str:
        """The player where the path names one, else the video."""
        return f"Player {self.player}" if self.player else self.video_id

    @property
    def groups(self) -> list[tuple[str, list[SkillReading]]]:
        """Readings by skill group, in the data set's order; other skills alone are one group."""
        found: list[tuple[str, list[SkillReading]]] = [
            (group, [reading for reading in self.readings if reading.skill.group == group])
            for group in GROUPS
        ]
        named = [(group, readings) for group, readings in found if readings]
        if [group for group, _ in named] == ["other"]:
            return [("skills", named[0][1])]  # other than what?
        return named

    @property
    def radars(self) -> list[tuple[str, Radar]]:
        """A chart of each group of which one can be drawn."""
        charts = [
            (
                group,
                radar(
                    [reading.name for reading in readings],
                    [reading.rank(reading.level) for reading in readings],
                    [reading.ranked_probabilities for reading in readings],
                    [reading.word for reading in readings],
                ),
            )
            for group, readings in self.groups
        ]
        return [(group, chart) for group, chart in charts if chart is not None]

    @property
    def strongest(self) -> list[SkillReading]:
        """The skills with the best stated level, best first; none if there are few skills."""
        return self._from_best()[:_NAMED]

    @property
    def weakest(self) -> list[SkillReading]:
        """The skills with the worst stated level, worst first; none if there are few skills."""
        return self._from_best()[: -_NAMED - 1 : -1]

    def _from_best(self) -> list[SkillReading]:
        """By stated level, as a reader would sort the words; the expectation orders equals."""
        telling = [reading for reading in self.readings if not reading.is_flat]
        if len(telling) < 2 * _NAMED:
            return []
        return sorted(telling, key=lambda r: (-r.rank(r.level), -r.expected_rank))

    @property
    def verdict(self) -> Verdict:
        """How far to trust it."""
        return verdict(self.calibration, beyond=self.beyond, n_skills=len(self.readings))

    @property
    def warnings(self) -> list[str]:
        """Sentences that stand across the card."""
        said = []
        if self.simulated:
            said.append("Simulated head: fitted on simulated players, says nothing about people.")
        if self.random_weights:
            said.append("Random weights: the features were never trained.")
        if self.verdict.is_blind:
            said.append(f"{self.verdict.headline}.")
        return said


def make_card(
    video_id: str,
    *,
    skills: Sequence[str],
    levels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    true_levels: npt.ArrayLike | None = None,
    run: str = "",
    features: str = "",
    head: str = "",
    simulated: bool = False,
    random_weights: bool = False,
    notes: Sequence[str] = (),
    percentiles: npt.ArrayLike | None = None,
    calibration: Calibration | None = None,
    compared_with: str = "",
    is_compared: bool = True,
    is_flat: npt.ArrayLike | None = None,
    beyond: int = 0,
    duration_s: float = 0.0,
) -> SkillCard:
    """Make the card of one reel from one row of predictions.

    Parameters
    ----------
    video_id : str
        Season, league and player are read from it where it is a BASKET path.
    skills : sequence of str, (n_skills,)
    levels : array_like of int, (n_skills,)
        Predicted labels.
    probabilities : array_like of float, (n_skills, K)
    true_levels : array_like of int, (n_skills,), optional
        Labels where known; -1 is missing.
    run, features, head : str
        What predicted.
    simulated, random_weights : bool
        Said across the card.
    notes : sequence of str
    percentiles : array_like of float, (n_skills,), optional
        NaN where unknown.
    calibration : Calibration, optional
        How often the run is right.
    compared_with : str
        Whom percentiles are among.
    is_compared : bool
        Whether those are enough.
    is_flat : array_like of bool, (n_skills,), optional
        Skills of which the run says the same of everybody.
    beyond : int
        Skills whose prediction lies outside the range of all those players.
    duration_s : float

    Raises
    ------
    ValueError
        Shapes do not fit, or a level is not on the scale.
    """
    predicted, shares = np.asarray(levels), np.asarray(probabilities, dtype=np.float64)
    known = np.full(len(skills), -1) if true_levels is None else np.asarray(true_levels)
    if shares.ndim != 2 or not (len(skills) == len(predicted) == len(shares) == len(known)):
        raise ValueError(
            f"{len(skills)} skills need as many levels and rows of probabilities; got "
            f"{predicted.shape}, {shares.shape} and true levels {known.shape}"
        )
    n_levels = shares.shape[1]
    if len(skills) and (
        predicted.min() < 0 or max(predicted.max(), known.max()) >= n_levels or known.min() < -1
    ):
        raise ValueError(f"levels must lie in 0..{n_levels - 1}")
    places = np.full(len(skills), np.nan) if percentiles is None else np.asarray(percentiles)
    flat = np.zeros(len(skills), bool) if is_flat is None else np.asarray(is_flat)
    reel = parse_reel_name(video_id)
    return SkillCard(
        video_id=video_id,
        readings=tuple(
            SkillReading(
                name,
                int(level),
                tuple(row.tolist()),
                int(true) if true >= 0 else None,
                percentile=None if np.isnan(place) else float(place),
                is_flat=bool(same),
                rate=None if calibration is None else calibration.at(name, float(row[level])),
                rate_is_pooled=calibration is not None and calibration.is_pooled(name),
            )
            for name, level, row, true, place, same in zip(
                skills, predicted, shares, known, places, flat, strict=True
            )
        ),
        player=reel.player if reel else "",
        league=reel.league if reel else "",
        season=reel.season if reel else "",
        run=run,
        features=features,
        head=head,
        simulated=simulated,
        random_weights=random_weights,
        notes=tuple(notes),
        duration_s=duration_s,
        calibration=calibration,
        compared_with=compared_with,
        is_compared=is_compared,
        beyond=beyond,
    )
