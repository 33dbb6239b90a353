"""How near each head comes to the best possible answers, on a simulated BASKET.

20 correlated skills cut at their quintiles, seen through features with a 1/k spectrum whose
leading 64 directions carry the signal; who reads a reel optimally is right in about 28 % of the
labels. ``spread``: the mean of the segments carries the evidence. ``sparse``: two segments of each
reel do, told apart by one direction of their features. As in BASKET there are training, validation
and test players; decision rules are fitted to the validation players. Prints each head beside the
optimum, what is wanted of it (spread: accuracy >= 98 %, MAE <= 101 %, QWK >= 95 % of the optimum
for ridge, cumulative and mlp; sparse: attention or top-k above the mean), and the memory it took.

    python benchmarks/heads_simulated.py [--quick] [--players N] [--width D]
                                         [--evidence spread,sparse]
                                         [--heads "ridge,mlp,attention pool=topk"] [--seed S]
"""
# bench: cpu

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from basket import metrics
from basket.cache.features import RaggedFeatures
from basket.heads import HEADS, make_head
from basket.heads.decision import DecisionRules
from basket.heads.pooling import pool

N_SKILLS, SIGNAL, STRENGTH, SEGMENTS = 20, 64, 0.35, 34
EDGES = norm.ppf(np.linspace(0, 1, 6))
#: Players simulated, and pooled, at a time: bounds the memory beside the segments themselves.
BLOCK = 512
#: Of the optimum, for heads whose model is the true one.
WANTED = {"accuracy": 0.98, "mae": 1.01, "qwk": 0.95}
EXACT = ("ridge", "cumulative", "mlp")
#: Training players; with fewer, less can be learned, and nothing is wanted.
FULL_SIZE = 20_000


@dataclass(frozen=True)
class Players:
    """Segments as a cache holds them (float16), levels, and the posterior of who knows all."""

    segments: RaggedFeatures
    levels: np.ndarray
    posterior: np.ndarray

    def pooled(self, pooling: str) -> Any:
        """One row per player, or the segments."""
        if pooling == "segments":
            return self.segments
        starts = range(0, len(self.segments), BLOCK)
        blocks = (np.arange(start, min(start + BLOCK, len(self.segments))) for start in starts)
        return np.concatenate([pool(self.segments.take(block), pooling) for block in blocks])


class League:
    """Directions in which players are seen, the same for training and test."""

    def __init__(self, width: int, *, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.width = width
        # The columns of an embedding are no principal axes: each is a mixture of all of them.
        rotation, _ = np.linalg.qr(self.random.normal(size=(width, width)))
        self.axes = (np.arange(1, width + 1)[:, None] ** -0.5 * rotation).astype(np.float32)
        loads = self.random.normal(size=(SIGNAL, N_SKILLS)) + self.random.normal(size=(SIGNAL, 1))
        self.loads = STRENGTH * loads / np.sqrt((loads**2).sum(axis=0))

    def players(self, n: int, *, sparse: bool) -> Players:
        """Simulate n players."""
        shown = self.random.standard_normal((n, self.width), dtype=np.float32)
        expected = shown[:, :SIGNAL] @ self.loads
        unseen = np.sqrt(1 - STRENGTH**2)
        skill = expected + unseen * self.random.normal(size=expected.shape)
        levels = np.searchsorted(EDGES[1:-1], skill)
        below = norm.cdf((EDGES - expected[..., None]) / unseen)
        lengths = self.random.integers(SEGMENTS - 10, SEGMENTS + 11, size=n)
        offsets = np.append(0, np.cumsum(lengths))
        values = np.empty((offsets[-1], self.width), dtype=np.float16)
        for start in range(0, n, BLOCK):
            block = slice(start, min(start + BLOCK, n))
            rows = slice(offsets[block.start], offsets[block.stop])
            reels = self._sparse if sparse else self._spread
            values[rows] = reels(shown[block], lengths[block]) @ self.axes
        return Players(RaggedFeatures(values, offsets), levels, np.diff(below, axis=-1))

    def _spread(self, shown: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        # Deviations from the reel's mean cancel: the mean is what is shown.
        noise = self.random.standard_normal((lengths.sum(), self.width), dtype=np.float32)
        starts = np.cumsum(lengths) - lengths
        mean = np.add.reduceat(noise, starts, axis=0) / lengths[:, None]
        return noise + np.repeat(shown - mean.astype(np.float32), lengths, axis=0)

    def _sparse(self, shown: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        noise = self.random.standard_normal((lengths.sum(), self.width), dtype=np.float32)
        # The last direction says whether anything happens in the segment.
        noise[:, -1] *= 0.3
        for player, start in enumerate(np.cumsum(lengths) - lengths):
            told = start + self.random.choice(lengths[player], 2, replace=False)
            noise[told] = shown[player]
            noise[told, -1] = 4
        return noise


def scores(proba: np.ndarray, levels: np.ndarray, rules: DecisionRules) -> dict[str, float]:
    return {
        name: metrics.mean_over_skills(
            metric(metrics.confusion_matrices(levels, rules.predict(proba, name), 5))
        )
        for name, metric in metrics.CONFUSION_METRICS.items()
    }


def misses(found: dict[str, float], best: dict[str, float]) -> list[str]:
    """Metrics in which a head stays below what is wanted."""
    sign = {name: 1 if metrics.HIGHER_IS_BETTER[name] else -1 for name in WANTED}
    return [
        name
        for name, share in WANTED.items()
        if sign[name] * (found[name] - share * best[name]) < 0
    ]


def show(
    name: str, found: dict[str, float], best: dict[str, float], seconds: float, note: str = ""
) -> None:
    cells = "   ".join(
        f"{metric} {value:.4f} ({value / best[metric]:7.2%})" for metric, value in found.items()
    )
    print(f"  {name:24} {cells}   {seconds:6.1f} s{note}", flush=True)


def run(
    league: League, sizes: tuple[int, int, int], heads: Sequence[str], *, sparse: bool
) -> dict[str, dict[str, float]]:
    """Fit and score every head; scores by head and pooling."""
    train, val, test = (league.players(n, sparse=sparse) for n in sizes)
    best = scores(test.posterior, test.levels, DecisionRules.fit(test.posterior, test.levels))
    print(f"{'sparse' if sparse else 'spread'}: {sizes[0]} training, {sizes[2]} test players")
    show("Bayes-optimal", best, best, 0.0)
    poolings = ("mean", "top2") if sparse else ("mean",)
    found = {}
    for pooling in (*poolings, "segments"):
        takes_segments = pooling == "segments"
        chosen = [head for head in heads if HEADS[head.split()[0]].takes_segments == takes_segments]
        if not chosen:
            continue
        X, X_val, X_test = (players.pooled(pooling) for players in (train, val, test))
        for head in chosen:
            start = time.perf_counter()
            name, *params = head.split()
            model = make_head(name, n_levels=5, **dict(each.split("=") for each in params))
            model.fit(X, train.levels, validation=(X_val, val.levels))
            rules = DecisionRules.fit(model.predict_proba(X_val), val.levels)
            seconds = time.perf_counter() - start
            name = f"{head} on {pooling}" if not takes_segments else head
            found[name] = scores(model.predict_proba(X_test), test.levels, rules)
            note = ""
            if not sparse and head in EXACT and sizes[0] >= FULL_SIZE:
                missed = misses(found[name], best)
                note = f"   MISSED: {', '.join(missed)}" if missed else "   as wanted"
            show(name, found[name], best, seconds, note)
    return found


def compare_with_mean(found: dict[str, dict[str, float]]) -> None:
    """Say what looking for the telling segments gains over the best head on the mean."""
    on_mean = {name: each for name, each in found.items() if name.endswith("on mean")}
    others = {name: each for name, each in found.items() if name not in on_mean}
    if not on_mean or not others:
        return
    for metric, higher in metrics.HIGHER_IS_BETTER.items():
        if metric not in metrics.CONFUSION_METRICS:
            continue
        choose = max if higher else min
        first = choose(others, key=lambda name: others[name][metric])
        second = choose(on_mean, key=lambda name: on_mean[name][metric])
        gained = (others[first][metric] - on_mean[second][metric]) * (1 if higher else -1)
        print(
            f"  {metric}: {first} {others[first][metric]:.4f}, best on the mean ({second}) "
            f"{on_mean[second][metric]:.4f}: {'better' if gained > 0 else 'WORSE'} by "
            f"{abs(gained):.4f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2,000 players, 128 columns")
    parser.add_argument("--players", type=int, help="training players; 20,000 unless given")
    parser.add_argument("--width", type=int, help="columns; 768 unless given")
    parser.add_argument("--evidence", default="spread,sparse")
    parser.add_argument(
        "--heads", default="ridge,cumulative,mlp,gbdt,attention,attention pool=topk"
    )
    parser.add_argument("--seed", type=int, default=0, help="another one is another league")
    options = parser.parse_args()
    n_train = options.players or (2_000 if options.quick else FULL_SIZE)
    width = options.width or (128 if options.quick else 768)
    # As many validation and test players per training player as the full size has.
    sizes = (n_train, max(n_train * 29 // 200, 500), max(n_train * 29 // 100, 1000))
    heads = options.heads.split(",")
    for evidence in options.evidence.split(","):
        found = run(League(width, seed=options.seed), sizes, heads, sparse=evidence == "sparse")
        if evidence == "sparse":
            compare_with_mean(found)
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"most memory at any time: {peak_gib:.1f} GiB")


if __name__ == "__main__":
    main()
