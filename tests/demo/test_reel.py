"""Cutting events into clips, and files that are whole or absent."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from basket.demo import reel
from basket.demo.events import Event, Kind, Possession
from basket.demo.reel import FPS, ReelJob, cut, possessions_in, render_reel


def job(path: Path) -> ReelJob:
    clips = (Possession(Event(Kind.STEAL), 10), Possession(Event(Kind.FOUL), 8))
    return ReelJob(path, clips, "Coast", np.random.SeedSequence(1))


@pytest.mark.parametrize("seconds", [5.0, 7.3, 30.0])
def test_clips_add_up_to_the_reel(seconds: float) -> None:
    events = [Event(Kind.STEAL)] * possessions_in(seconds)
    clips = cut(events, seconds=seconds, rng=np.random.default_rng(0))
    assert sum(clip.frames for clip in clips) == round(seconds * FPS)
    lengths = [clip.frames / FPS for clip in clips]
    assert min(lengths) > 1.6
    assert max(lengths) < 2.8


def test_a_job_survives_pickling_and_films_the_same(tmp_path: Path) -> None:
    here, there = job(tmp_path / "a.mp4"), job(tmp_path / "b.mp4")
    render_reel(here)
    render_reel(pickle.loads(pickle.dumps(there)))
    assert here.path.read_bytes() == there.path.read_bytes()


def test_a_failed_film_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no film")

    monkeypatch.setattr(reel, "draw_reel", broken)
    with pytest.raises(RuntimeError, match="no film"):
        render_reel(job(tmp_path / "a.mp4"))
    assert list(tmp_path.iterdir()) == []
