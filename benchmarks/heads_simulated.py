"""How near each head comes to the best possible answers, on a simulated BASKET.

20 correlated skills cut at their quintiles, seen through features with a 1/k spectrum whose
leading 64 directions carry the signal; who reads the mean of a reel's segments optimally is right
in about 28 % of the labels. ``spread``: every segment carries the evidence. ``sparse``: two
segments of each reel do, told apart by one direction of their features. Prints each head beside
the optimum.

    python benchmarks/heads_simulated.py [--quick] [--heads ridge,cumulative,mlp,gbdt,attention]
"""
# bench: cpu

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
from scipy.stats import norm

from basket import metrics
from basket.cache.features import RaggedFeatures
from basket.heads import make_head
from basket.heads.decision import DecisionRules
from basket.heads.pooling import pool

N_SKILLS, SIGNAL, STRENGTH, SEGMENTS = 20, 64, 0.35, 34
EDGES = norm.ppf(np.linspace(0, 1, 6))


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

    def players(self, n: int, *, sparse: bool) -> tuple[RaggedFeatures, np.ndarray, np.ndarray]:
        """Segments, levels, and the posterior of the levels for whoever knows everything."""
        shown = self.random.normal(size=(n, self.width))
        expected = shown[:, :SIGNAL] @ self.loads
        unseen = np.sqrt(1 - STRENGTH**2)
        skill = expected + unseen * self.random.normal(size=expected.shape)
        levels = np.searchsorted(EDGES[1:-1], skill)
        below = norm.cdf((EDGES - expected[..., None]) / unseen)
        lengths = self.random.integers(SEGMENTS - 10, SEGMENTS + 11, size=n)
        offsets = np.append(0, np.cumsum(lengths))
        values = np.empty((offsets[-1], self.width), dtype=np.float16)
        for player in range(n):
            rows = slice(offsets[player], offsets[player + 1])
            noise = self.random.standard_normal((lengths[player], self.width), dtype=np.float32)
            if sparse:
                told = self.random.choice(lengths[player], 2, replace=False)
                noise[told] = shown[player]
                # The last direction says whether anything happens in the segment.
                noise[:, -1] = 0.3 * noise[:, -1]
                noise[told, -1] += 4
            else:
                # Deviations from the reel's mean cancel: the mean is what is shown.
                noise -= noise.mean(axis=0)
                noise += shown[player]
            values[rows] = noise @ self.axes
        return RaggedFeatures(values, offsets), levels, np.diff(below, axis=-1)


def scores(proba: np.ndarray, levels: np.ndarray, rules: DecisionRules) -> dict[str, float]:
    return {
        name: metrics.mean_over_skills(
            metric(metrics.confusion_matrices(levels, rules.predict(proba, name), 5))
        )
        for name, metric in metrics.CONFUSION_METRICS.items()
    }


def show(name: str, found: dict[str, float], best: dict[str, float], seconds: float) -> None:
    ratio = {metric: found[metric] / best[metric] for metric in found}
    print(
        f"  {name:28} accuracy {found['accuracy']:.4f} ({ratio['accuracy']:6.1%})   "
        f"MAE {found['mae']:.4f} ({ratio['mae']:6.1%})   QWK {found['qwk']:.4f} "
        f"({ratio['qwk']:6.1%})   {seconds:6.1f} s",
        flush=True,
    )


def run(league: League, n_train: int, n_test: int, heads: Sequence[str], *, sparse: bool) -> None:
    train, Y, _ = league.players(n_train, sparse=sparse)
    test, truth, posterior = league.players(n_test, sparse=sparse)
    val_rows = np.arange(n_train) % 8 == 0
    best = scores(posterior, truth, DecisionRules.fit(posterior, truth))
    print(f"{'sparse' if sparse else 'spread'}: {n_train} training, {n_test} test players")
    show("Bayes-optimal", best, best, 0.0)
    poolings = ("mean", "top2") if sparse else ("mean",)
    jobs = [(head, pooling) for head in heads if head != "attention" for pooling in poolings]
    jobs += [("attention", "segments")] if "attention" in heads else []
    pooled: dict[str, tuple] = {}
    for head, pooling in jobs:
        if pooling not in pooled:
            pooled[pooling] = (
                (train, test)
                if pooling == "segments"
                else (pool(train, pooling), pool(test, pooling))
            )
        X, X_test = pooled[pooling]
        fit_rows = np.flatnonzero(~val_rows)
        val = np.flatnonzero(val_rows)
        parts = (X.take(fit_rows), X.take(val)) if pooling == "segments" else (X[fit_rows], X[val])
        start = time.perf_counter()
        # What the other seven eighths say of this one chooses the cuts, as fit-head does.
        model = make_head(head, n_levels=5)
        model.fit(parts[0], Y[fit_rows], validation=(parts[1], Y[val]))
        rules = DecisionRules.fit(model.predict_proba(parts[1]), Y[val])
        seconds = time.perf_counter() - start
        show(
            f"{head} on {pooling}", scores(model.predict_proba(X_test), truth, rules), best, seconds
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--heads", default="ridge,cumulative,mlp,gbdt,attention")
    options = parser.parse_args()
    n_train, n_test, width = (2000, 1000, 128) if options.quick else (20_000, 5_800, 768)
    for sparse in (False, True):
        run(League(width), n_train, n_test, options.heads.split(","), sparse=sparse)


if __name__ == "__main__":
    main()
