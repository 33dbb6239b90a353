"""What the renderer may know, and what it draws."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import numpy as np
import pytest

from basket.demo import events, figures, footage, plays, props, reel, render, scenery, shots
from basket.demo.events import SHOTS, Event, Kind, Possession

LOOK = scenery.LOOKS["North"]
FILMING = (events, figures, footage, plays, props, reel, render, scenery, shots)
ALL_EVENTS = [
    Event(kind, made=made)
    for kind in Kind
    for made in ((True, False) if kind in SHOTS else (True,))
]


def frames(event: Event, *, seed: int = 0, n: int = 26) -> np.ndarray:
    drawn = render.draw_reel(
        [Possession(event, n)], look=LOOK, fps=12, rng=np.random.default_rng(seed)
    )
    return np.stack([np.asarray(frame) for frame in drawn])


def test_nothing_that_films_can_see_a_skill_or_a_level() -> None:
    for module in FILMING:
        tree = ast.parse(Path(inspect.getsourcefile(module) or "").read_text(encoding="utf-8"))
        imported = {
            name
            for node in ast.walk(tree)
            for name in (
                [node.module or "", *(f"{node.module}.{a.name}" for a in node.names)]
                if isinstance(node, ast.ImportFrom)
                else [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else []
            )
        }
        assert not imported & {"basket.demo.league", "basket.demo.court"}
        assert not any(name.startswith("basket.dataset") for name in imported)
    assert list(inspect.signature(render.draw_reel).parameters) == [
        "possessions",
        "look",
        "fps",
        "rng",
    ]
    assert set(reel.ReelJob.__annotations__) == {"path", "possessions", "league", "seed"}
    assert set(Possession.__annotations__) == {"event", "frames"}
    assert set(Event.__annotations__) == {"kind", "made"}


def test_the_same_events_and_seed_give_the_same_pixels() -> None:
    event = Event(Kind.THREE)
    assert np.array_equal(frames(event), frames(Event(Kind.THREE)))
    assert not np.array_equal(frames(event), frames(event, seed=1))


@pytest.mark.parametrize("event", ALL_EVENTS, ids=lambda e: f"{e.kind}-{e.outcome}")
def test_every_event_can_be_filmed_and_moves(event: Event) -> None:
    picture = frames(event, n=20)
    assert picture.shape == (20, scenery.HEIGHT_PX, scenery.WIDTH_PX, 3)
    assert picture.dtype == np.uint8
    changed = (np.diff(picture.astype(int), axis=0) != 0).any(axis=(1, 2, 3))
    assert changed.mean() > 0.3
    action = plays.film(event, frames=40, fps=12, rng=np.random.default_rng(0))
    for track in (action.feet_m, action.lift_m, action.ball_m, action.net):
        assert np.isfinite(track).all()
    assert action.ball_m[:, 2].min() > 0
    assert action.lift_m.min() >= 0


@pytest.mark.parametrize("kind", SHOTS)
def test_only_a_made_shot_moves_the_net(kind: Kind) -> None:
    made, missed = (
        plays.film(Event(kind, made=made), frames=40, fps=12, rng=np.random.default_rng(0))
        for made in (True, False)
    )
    assert np.abs(made.net).max() > 0.5
    assert not missed.net.any()


def test_the_ball_of_a_made_three_passes_through_the_rim() -> None:
    shot = plays.film(Event(Kind.THREE), frames=400, fps=120, rng=np.random.default_rng(2))
    distance = np.linalg.norm(shot.ball_m - np.array(footage.RIM), axis=1)
    assert distance.min() < 0.1
    assert shot.ball_m[:, 2].max() > 4.5


def test_the_camera_projects_upright_and_nearer_things_larger() -> None:
    camera = scenery.Camera(LOOK, 1.0)
    near, far = camera.project(20, 1), camera.project(20, 14)
    assert near[1] > far[1]
    assert near[2] > far[2]
    assert camera.project(20, 1, 2.0)[1] < near[1]
    middle = camera.project(scenery.LENGTH_M / 2, scenery.WIDTH_M / 2)
    assert middle == pytest.approx((0, LOOK.horizon_px, LOOK.scale_px))
