"""Fitted runs and test sets made of arrays: the evaluation asks for no more than these."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np
import pytest

from basket.dataset.skills import SKILLS
from basket.evaluate import FeatureIdentity, RunDescription, RunReport, evaluate
from basket.heads.decision import DecisionRules

BASKET_SKILLS = tuple(skill.name for skill in SKILLS)


@dataclass
class FakeMatrix:
    X: np.ndarray
    Y: np.ndarray
    groups: np.ndarray
    skills: tuple[str, ...]
    n_levels: int = 5
    left_out: dict[str, str] = field(default_factory=dict)
    videos: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        return self.videos or tuple(f"18-19/NBA/{row}_18_19.mp4" for row in range(len(self.Y)))


@dataclass
class FakeRun:
    """X holds the probabilities themselves, flattened per row."""

    skills: tuple[str, ...]
    n_levels: int = 5
    calls: int = 0

    @property
    def decision(self) -> DecisionRules:
        return DecisionRules.uncalibrated(len(self.skills), self.n_levels)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        self.calls += 1
        return X.reshape(len(X), len(self.skills), self.n_levels)


def make_test_set(
    *, n=60, players=20, skills=BASKET_SKILLS, n_levels=5, signal=2.0, missing=0.1, seed=0
) -> FakeMatrix:
    """Random labels, and probabilities that lean towards them by ``signal``."""
    random = np.random.default_rng(seed)
    levels = random.integers(n_levels, size=(n, len(skills)))
    distance = np.abs(levels[..., None] - np.arange(n_levels))
    logits = random.normal(size=distance.shape) - signal * distance / n_levels
    proba = np.exp(logits)
    proba /= proba.sum(-1, keepdims=True)
    levels[random.random(levels.shape) < missing] = -1
    keys = np.array([f"NBA/{row % players}" for row in range(n)])
    return FakeMatrix(
        proba.reshape(n, len(skills) * n_levels), levels, keys, tuple(skills), n_levels
    )


def make_run_report(
    name="motion-ridge",
    *,
    splits,
    head="ridge",
    features=None,
    train_players=(),
    simulated=False,
    **settings,
) -> RunReport:
    identity = features or FeatureIdentity("motion", digest="ab12" * 16, backbone="motion")
    matrix = next(iter(splits.values()))
    run = FakeRun(matrix.skills, matrix.n_levels)
    scores = {
        split: evaluate(
            run,
            matrix,
            split=split,
            train_level_counts=np.tile(np.arange(matrix.n_levels) + 3, (len(matrix.skills), 1)),
            train_players=train_players,
            n_replicates=100,
            **settings,
        )
        for split, matrix in splits.items()
    }
    about = RunDescription(
        name, head, "mean+std", (identity,), seed=0, simulated=simulated, n_train_videos=100
    )
    return RunReport(about, scores)


class Page(HTMLParser):
    """Start tags with their attributes, text, and declarations of one page."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.pieces: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data):
        self.pieces.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.pieces).split())

    def with_attribute(self, name: str) -> list[dict[str, str]]:
        return [attributes for _, attributes in self.tags if name in attributes]


@pytest.fixture(scope="session")
def parse():
    return Page


@pytest.fixture(scope="session")
def test_set():
    return make_test_set


@pytest.fixture(scope="session")
def fake_run():
    return FakeRun


@pytest.fixture(scope="session")
def run_report():
    return make_run_report
