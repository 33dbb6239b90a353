# bench: cpu
"""How often 95 % intervals hold the truth, on simulated players whose truth is known.

Players differ and each has several videos, so resampling videos instead of players would fail. The
truth of each metric is its value on a very large sample of the same population. Prints the share of
intervals that hold it, with the binomial error; and for two runs that are equally good, how often
the paired permutation test calls a difference (5 % is right).
"""

import argparse

import numpy as np

from basket.evaluate import bootstrap
from basket.evaluate.all_metrics import point_scores, replicated_scores
from basket.evaluate.answers import Answers
from basket.evaluate.compare import compare_answers
from basket.metrics import LEVEL_METRICS

N_SKILLS = 3


def answers_of_population(n_players, *, seed, runs=1):
    """Levels and the answers of equally good runs; a player's videos share level and error."""
    random = np.random.default_rng(seed)
    player = np.repeat(np.arange(n_players), random.integers(1, 6, n_players))
    shape = (len(player), N_SKILLS)
    skill = random.normal(size=(n_players, N_SKILLS))[player]
    cuts = np.array([-0.84, -0.25, 0.25, 0.84])
    truth = ((skill + 0.3 * random.normal(size=shape))[..., None] > cuts).sum(-1)
    found = []
    for _ in range(runs):
        error = random.normal(size=(n_players, N_SKILLS))[player] + random.normal(size=shape)
        latent = 0.6 * skill + 0.6 * error
        logits = -((latent[..., None] - np.linspace(-1.2, 1.2, 5)) ** 2)
        proba = np.exp(logits)
        proba /= proba.sum(-1, keepdims=True)
        levels = proba.argmax(-1)
        found.append(
            Answers(
                tuple(map(str, range(len(player)))),
                player.astype(str),
                truth,
                proba,
                dict.fromkeys(LEVEL_METRICS, levels),
                {},
            )
        )
    return found


def coverage(n_players, n_sets, n_replicates):
    [population] = answers_of_population(200_000, seed=10**6)
    truth = {name: np.mean(value) for name, value in point_scores(population).items()}
    hits, counted = {}, 0
    for seed in range(n_sets):
        [answers] = answers_of_population(n_players, seed=seed)
        draws = bootstrap.draw_players(answers.n_players, n_replicates=n_replicates, seed=seed)
        for name, replicates in replicated_scores(answers, draws).items():
            interval = bootstrap.percentile_interval(
                bootstrap.mean_per_replicate(replicates), answers.n_players
            )
            hits[name] = hits.get(name, 0) + (interval.low <= truth[name] <= interval.high)
        counted += 1
    error = (0.95 * 0.05 / counted) ** 0.5
    print(
        f"{n_players} players, {counted} data sets; 95 % expected, one standard error {error:.1%}"
    )
    for name, number in hits.items():
        print(f"  {name:20s} {number / counted:6.1%}")


def false_alarms(n_players, n_sets, n_replicates):
    called, excluded = 0, 0
    for seed in range(n_sets):
        first, second = answers_of_population(n_players, seed=seed, runs=2)
        found = compare_answers(
            [first], [second], names=("a", "b"), metrics=("qwk",), n_replicates=n_replicates,
            seed=seed,
        ).metrics["qwk"].mean  # fmt: skip
        called += found.p <= 0.05
        excluded += not found.interval.low <= 0 <= found.interval.high
    print(
        f"equally good runs, {n_sets} pairs: p <= 5 % in {called / n_sets:.1%}, "
        f"interval without zero in {excluded / n_sets:.1%} (5 % expected)"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--players", type=int, nargs="+", default=[20, 150])
    parser.add_argument("--replicates", type=int, default=bootstrap.N_REPLICATES)
    asked = parser.parse_args()
    for n_players in asked.players:
        coverage(n_players, asked.sets, asked.replicates)
        false_alarms(n_players, asked.sets, asked.replicates)


if __name__ == "__main__":
    main()
