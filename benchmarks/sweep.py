# bench: cpu
"""The bootstrap and a sweep of every family of heads, as ratios from one run; start-up excluded.

BASKET's size, 25.8k x 768 with 20 skills: 24 ridge, 12 cumulative, 10 mlp and 2 gbdt settings, with
3 seeds each. Fits one by one are measured on a few settings, spread over the family, and scaled to
all; the line says on how many. A seed is a setting like any other here, also where it changes
nothing (a cumulative head of one penalty deals no folds).

    python benchmarks/sweep.py [--quick] [--heads ridge,cumulative,mlp,gbdt] [--seeds 3]
                               [--skip-bootstrap]
"""

import argparse
import time
from collections import Counter

import numpy as np
from heads_speed import machine

from basket.evaluate import bootstrap
from basket.evaluate.all_metrics import replicated_scores
from basket.evaluate.answers import Answers
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


def timed(work):
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


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
    """Fits that share against the same fits one by one, both in this process."""
    groups = {}
    for setting in settings:
        groups.setdefault(fitting.share_signature(setting), []).append(setting)

    def together():
        for group in groups.values():
            list(fitting.fit_settings(group, train, val))

    def alone(some):
        for setting in some:
            list(fitting.fit_settings([setting], train, val))

    # Evenly through the family, so that dear and cheap settings are both among them.
    some = settings[:: max(1, len(settings) // repeat_alone)][:repeat_alone]
    wall, cpu = timed(together)
    alone_wall, alone_cpu = (
        each / len(some) * len(settings) for each in timed(lambda: alone(some))
    )
    print(
        f"  {name:12s} {len(settings):3d} fits {wall:7.1f} s wall {cpu:7.1f} s cpu"
        f"   one by one {alone_wall:7.1f} {alone_cpu:7.1f} (from {len(some)})"
        f"   ratio {alone_wall / wall:5.1f}x wall {alone_cpu / cpu:5.1f}x cpu",
        flush=True,
    )
    return wall, alone_wall


def products_s(settings, n, width, repeats=10):
    """Seconds of the two products of the first layers alone: no packing of networks does less."""
    parameters = [setting.parameters for setting in settings]
    learned = round(0.85 * n)
    batch = min(max(learned // 32, 32), 1024)
    steps = parameters[0]["epochs"] * -(-learned // batch)
    units = Counter()
    for each in parameters:
        units[each["hidden"]] += each["hidden"]
    return steps * sum(pair_s(batch, width, together, repeats) for together in units.values())


def pair_s(batch, width, units, repeats):
    """Seconds of one product there and one back, at the best of three times."""
    import torch

    rows, weights = torch.randn(batch, width), torch.randn(units, width)
    wide, back = torch.empty(batch, units), torch.empty(units, width)

    def products():
        for _ in range(repeats):
            torch.mm(rows, weights.t(), out=wide)
            torch.mm(wide.t(), rows, out=back)

    products()  # the first time touches the memory
    return min(seconds(products) for _ in range(3)) / repeats


def sweep_row(n, width, n_seeds, *, heads, epochs, rounds):
    train, val = simulated(n, width), simulated(n // 8, width, seed=1)
    print(f"sweep, {n} x {width}, {n_seeds} seed(s); one by one: the same fits, each on its own")
    penalties = tuple(float(p) for p in np.logspace(0, 5, 24))
    # All epochs, whatever the held-out loss says: then it is known how much arithmetic they are.
    networks = {"epochs": (epochs,), "patience": (epochs,)}
    networks |= {"hidden": (128, 256), "dropout": (0.1, 0.2, 0.3, 0.4, 0.5)}
    params = {
        "ridge": {"penalties": penalties},
        "cumulative": {"penalties": penalties[::2]},
        "mlp": networks,
        "gbdt": {"leaves": (7, 15), "rounds": (rounds,)},
    }
    warm_up = simulated(200, 8)
    total = 0.0
    for name in heads:
        space = Space(heads=(HeadSpace(name, params[name]),), seeds=n_seeds)
        settings: list[Setting] = space.with_seeds(space.grid())
        # Libraries are imported and threads started before the clock is.
        list(fitting.fit_settings([Setting((), "mean", "all", name)], warm_up, warm_up))
        wall, alone = family(name, settings, train, val, repeat_alone=2 if name == "gbdt" else 3)
        total += wall
        if name == "mlp":
            least = products_s(settings, n, width)
            print(f"{'':15} matrix products alone {least:.1f} s: no more than {alone / least:.1f}x")
    print(f"  in all {total:.0f} s (target <= 15 min at 25,800 x 768 with 3 seeds, idle machine;")
    print("  ratio >= 4x, except gbdt, whose boosters share nothing but the binning)")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a size that takes a minute or two")
    parser.add_argument("--heads", default="ridge,cumulative,mlp,gbdt")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--skip-bootstrap", action="store_true")
    asked = parser.parse_args()
    print(machine())
    if not asked.skip_bootstrap:
        bootstrap_row()
    heads = asked.heads.split(",")
    if asked.quick:
        sweep_row(4_000, 128, asked.seeds, heads=heads, epochs=5, rounds=20)
    else:
        sweep_row(25_800, 768, asked.seeds, heads=heads, epochs=20, rounds=300)


if __name__ == "__main__":
    main()
