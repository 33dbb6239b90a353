"""From predictions to skill cards: evidence, moments with pictures, other seasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from basket.cache import FeatureCache
from basket.dataset import LabelTable, player_key
from basket.dataset.layout import parse_reel_name
from basket.dataset.prompts import PromptBank
from basket.errors import CacheError, UsageError, VideoError
from basket.heads.sources import sources_of_run
from basket.predict.card import SkillCard, SkillReading, make_card
from basket.predict.evidence import Evidence
from basket.predict.phrases import phrase_scores
from basket.predict.pictures import film_strips
from basket.predict.predictor import Prediction, VideoPrediction
from basket.predict.stored import predict_stored
from basket.predict.story import Season, tell, unique_segments

#: Cards with moments and pictures on one page.
MAX_DETAILED = 20
_PLAIN = "Moments and pictures are left out here; predict this player alone to see them."


def cards_of(
    found: Prediction,
    *,
    labels: LabelTable | None = None,
    cache: FeatureCache | None = None,
    prompts: PromptBank | None = None,
    detailed: bool = True,
) -> list[SkillCard]:
    """The skill card of each video.

    Parameters
    ----------
    found : Prediction
    labels : LabelTable, optional
        Adds the true levels where they are known.
    cache : FeatureCache, optional
        Where the same player's other seasons are looked for.
    prompts : PromptBank, optional
        The user's own phrases, where the text scores were made with them.
    detailed : bool, default=True
        With evidence, moments and pictures.
    """
    cards = [_plain(found, video, labels) for video in found.videos]
    seasons = _other_seasons(found, cache)
    cards = [replace(card, seasons=tuple(seasons.get(card.video_id, ()))) for card in cards]
    if not detailed:
        return [replace(card, notes=(*card.notes, _PLAIN)) for card in cards]
    try:
        evidence = found.evidence()
    except UsageError as error:  # of this run, so of all cards
        return [replace(card, notes=(*card.notes, f"No moments: {error}.")) for card in cards]
    return [_with_moments(card, found, evidence[card.video_id], prompts) for card in cards]


def _plain(found: Prediction, video: VideoPrediction, labels: LabelTable | None) -> SkillCard:
    run = found.run
    known = {} if labels is None else dict(zip(labels.video_ids, labels.levels, strict=True))
    reference = found.reference
    return make_card(
        video.video_id,
        skills=run.skills,
        levels=video.levels,
        probabilities=video.proba,
        true_levels=known.get(video.video_id),
        run=run.path.name,
        features=" + ".join(dict.fromkeys(each.spec.backbone for each in run.feature_sets)),
        head=run.config["head"],
        simulated=bool(run.config["simulated"]),
        random_weights=bool(run.config["random_weights"]),
        notes=[video.note] if video.note else [],
        percentiles=video.percentiles,
        calibration=found.calibration,
        compared_with=""
        if reference is None
        else f"{reference.players} {reference.population} players",
        is_compared=reference is None or reference.is_enough,
        is_flat=None if reference is None else reference.is_flat,
        beyond=video.beyond,
        duration_s=video.duration_s,
    )


def _with_moments(
    card: SkillCard, found: Prediction, evidence: Evidence, prompts: PromptBank | None
) -> SkillCard:
    features = found.features.read(card.video_id)
    specs = [each.spec for each in found.run.feature_sets]
    phrases = phrase_scores(features, specs, skills=found.run.skills, bank=prompts)
    best, worst = ([reading.name for reading in group] for group in (card.strongest, card.weakest))
    featured = dict.fromkeys([*best, *worst] or [reading.name for reading in card.readings[:6]])
    column = {name: index for index, name in enumerate(found.run.skills)}
    by_name = {reading.name: reading for reading in card.readings}
    stories = [
        tell(
            evidence,
            column[name],
            name=name,
            word=by_name[name].word,
            high_is_good=by_name[name].skill.high_is_good,
            better=_stands_out_well(by_name[name]) if name not in worst else False,
            featured=name in featured,
            duration_s=card.duration_s,
            phrases=phrases,
        )
        for name in dict.fromkeys([*featured, *column])
    ]
    segments = unique_segments(stories)
    path, notes, strips = found.features.paths.get(card.video_id), card.notes, []
    if path is None:
        notes = (*notes, "Without the video file there are no pictures of the moments.")
    else:
        spans = [(float(evidence.start_s[s]), float(evidence.end_s[s])) for s in segments]
        try:
            strips = film_strips(path, spans)
        except VideoError as error:
            notes = (*notes, f"There are no pictures of the moments: {error}.")
    place = dict(zip(segments, range(len(strips)), strict=False))
    return replace(
        card,
        stories=tuple(story.with_strips(place.get) for story in stories),
        strips=tuple(strips),
        notes=notes,
        method=evidence.method,
    )


def _stands_out_well(reading: SkillReading) -> bool:
    return reading.expected_rank >= (reading.n_levels - 1) / 2


def _other_seasons(found: Prediction, cache: FeatureCache | None) -> dict[str, list[Season]]:
    """Other reels of the same players in the cache, predicted by the same run."""
    wanted: dict[str, list[str]] = {}
    for video in found.videos:
        if parse_reel_name(video.video_id):
            wanted.setdefault(player_key(video.video_id), []).append(video.video_id)
    if cache is None or not wanted:
        return {}
    try:
        sets = [each for each, _ in sources_of_run(cache, found.run)]
    except CacheError:  # said already, where the features were looked for
        return {}
    ids = set(sets[0].video_ids).intersection(*(each.video_ids for each in sets[1:]))
    others = sorted(name for name in ids if player_key(name) in wanted and parse_reel_name(name))
    if not others:
        return {}
    proba = predict_stored(found.run, sets, others)
    levels = found.run.decision.predict(proba, "accuracy")
    seasons = {
        name: _season(name, found.run.skills, row.tolist(), found.run.n_levels)
        for name, row in zip(others, levels, strict=True)
    }
    return {
        video_id: [
            seasons[name] for name in others if name != video_id and player_key(name) == player
        ]
        for player, mine in wanted.items()
        for video_id in mine
    }


def _season(name: str, skills: Sequence[str], levels: Sequence[int], n_levels: int) -> Season:
    reel = parse_reel_name(name)
    assert reel is not None
    readings = [
        SkillReading(skill, level, (0.0,) * n_levels)
        for skill, level in zip(skills, levels, strict=True)
    ]
    return Season(
        video_id=name,
        season=reel.season,
        league=reel.league,
        words=tuple(reading.word for reading in readings),
        ranks=tuple(reading.rank(reading.level) for reading in readings),
    )
