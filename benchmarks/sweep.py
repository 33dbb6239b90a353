# bench: cpu
"""The bootstrap and sweep rows of DESIGN section 5, as ratios from one run; start-up excluded.

Run as it is for a size that takes minutes on two cores; ``--full`` for BASKET's 25.8k x 768.
"""

import argparse
import time

import numpy as np

from basket.evaluate import bootstrap
from basket.evaluate.all_metrics import replicated_scores
from basket.evaluate.answers import Answers
from basket.heads import make_head
from basket.heads.matrix import Matrix
from basket.metrics import LEVEL_METRICS
from basket.sweep import HeadSpace, Setting, Space, fitting

SKILLS = tuple(f"skill {index}" for index in range(20))


def simulated(n, width, *, seed=0):
    """Pooled features with a weak linear signal, levels of 20 skills, two reels per player."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, width)).astype(np.float32)
    weights = np.random.default_rng(99).normal(size=(width, 20)) / width**0.5
    latent = 0.4 * X @ weights + random.normal(size=(n, 20))
    Y = (latent[..., None] > np.quantile(latent, [0.2, 0.4, 0.6, 0.8])).sum(-1)
    players = np.array([f"NBA/{seed}-{row // 2}" for row in range(n)])
    ids = tuple(f"{seed}-{row}" for row in range(n))
    return Matrix(X, Y.astype(np.int64), players, ids, SKILLS, 5)


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def bootstrap_row(n_videos=4000):
    """2,000 replicates, 20 skills x 6 metrics of levels; and with the metrics of probabilities."""
    matrix = simulated(n_videos, 8)
    random = np.random.default_rng(1)
    proba = random.dirichlet(np.ones(5), size=matrix.Y.shape)
    decided = [random.integers(0, 5, matrix.Y.shape) for _ in range(3)]
    names = list(LEVEL_METRICS)
    levels = {name: decided[index // 2] for index, name in enumerate(names)}
    answers = Answers(matrix.ids, matrix.groups, matrix.Y, proba, levels, {})
    n_players = answers.n_players

    def six():
        draws = bootstrap.draw_players(n_players, n_replicates=2000)
        bootstrap.replicate_level_metrics(
            matrix.Y, levels, draws, players=matrix.groups, n_levels=5
        )

    def loop(replicates=10):
        draws = bootstrap.draw_players(n_players, n_replicates=replicates)
        _, player = np.unique(matrix.groups, return_inverse=True)
        for draw in draws.astype(int):
            rows = np.repeat(np.arange(len(player)), draw[player])
            for name, formula in LEVEL_METRICS.items():
                from basket.metrics import confusion_matrices

                formula(confusion_matrices(matrix.Y[rows], levels[name][rows], 5))

    six()  # the first call loads BLAS
    ours, theirs = seconds(six), seconds(loop) * 200
    every = seconds(
        lambda: replicated_scores(answers, bootstrap.draw_players(n_players, n_replicates=2000))
    )
    print(f"bootstrap, 2,000 replicates, {n_videos} videos of {n_players} players, 20 skills")
    print(f"  6 metrics of levels        {ours:6.2f} s   (target <= 2 s on an idle machine)")
    print(f"  the same one by one        {theirs:6.1f} s   ratio {theirs / ours:.0f}x")
    print(f"  with Spearman, Kendall, RPS and log loss {every:6.1f} s")


def family(name, settings, train, val, *, repeat_alone):
    """Fits that share against the same fits one by one, in this process."""
    groups = {}
    for setting in settings:
        groups.setdefault(fitting.share_signature(setting), []).append(setting)

    def together():
        for group in groups.values():
            list(fitting.fit_settings(group, train, val))

    def alone(some):
        for setting in some:
            head = make_head(setting.head, n_levels=5, **setting.parameters)
            head.fit(train.X, train.Y, groups=train.groups)
            fitting.validation_scores(head.predict_proba(val.X), val)

    ours = seconds(together)
    some = settings[:repeat_alone]
    theirs = seconds(lambda: alone(some)) / len(some) * len(settings)
    print(f"  {name:24s} {len(settings):3d} fits {ours:7.1f} s, one by one {theirs:7.1f} s, "
          f"ratio {theirs / ours:.1f}x")  # fmt: skip
    return ours


def sweep_row(n, width, n_seeds, *, heads):
    train, val = simulated(n, width), simulated(n // 8, width, seed=1)
    print(f"sweep, {n} x {width}, {n_seeds} seed(s)")
    penalties = tuple(float(p) for p in np.logspace(0, 5, 24))
    spaces = {
        "ridge": Space(heads=(HeadSpace("ridge", {"penalties": penalties}),), seeds=n_seeds),
        "cumulative": Space(
            heads=(HeadSpace("cumulative", {"penalties": penalties[::2]}),), seeds=n_seeds
        ),
        "mlp": Space(
            heads=(
                HeadSpace("mlp", {"hidden": (128, 256), "dropout": (0.1, 0.2, 0.3, 0.4, 0.5),
                                  "epochs": (20,)}),
            ),
            seeds=n_seeds,
        ),
        "gbdt": Space(heads=(HeadSpace("gbdt", {"leaves": (7, 15)}),), seeds=n_seeds),
    }  # fmt: skip
    total = 0.0
    for name in heads:
        settings: list[Setting] = spaces[name].with_seeds(spaces[name].grid())
        total += family(name, settings, train, val, repeat_alone=2)
    print(f"  in all {total:.0f} s (target <= 15 min at 25,800 x 768 with 3 seeds, idle machine)")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--heads", default="ridge,cumulative", help="ridge,cumulative,mlp,gbdt")
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    bootstrap_row()
    size = (25_800, 768, asked.seeds) if asked.full else (6_000, 256, 1)
    sweep_row(*size, heads=asked.heads.split(","))


if __name__ == "__main__":
    main()
