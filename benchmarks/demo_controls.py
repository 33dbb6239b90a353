"""Does the demo measure what it claims? Motion features against two controls, over three seeds.

Prints the mean test accuracy over the 20 skills, minus that of the prior-only baseline, for the
motion features and for two controls that must stay near the prior: the same features fitted on
shuffled training levels (the mean of five shuffles: one shuffle is itself a few points of noise on
so few players), and a colour-only descriptor: which colours the reel has, wherever they are (a
colour layout would tell where players and camera are). Ends with 1 when a claim does not hold.

    python benchmarks/demo_controls.py [--players N] [--seconds S] [--seeds N] [--heads ridge,gbdt]
"""
# bench: cpu

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from pathlib import Path

import numpy as np

from basket import workflows
from basket.demo.court import DEFAULT_PLAYERS, DEFAULT_SECONDS, simulate_dataset

NEEDED_GAIN = 0.08
ALLOWED_CONTROL = 0.03
SHUFFLES = 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--players", type=int, default=DEFAULT_PLAYERS)
    parser.add_argument("--seconds", type=float, default=DEFAULT_SECONDS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--heads", default="ridge")
    options = parser.parse_args()
    heads = options.heads.split(",")
    gains: dict[str, list[float]] = {}
    print(f"{options.players} players, reels of {options.seconds:.0f} s; points above the prior")
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            scores = one_seed(Path(folder), options.players, options.seconds, seed, heads)
        prior = scores.pop("prior")
        for name, accuracy in scores.items():
            gains.setdefault(name, []).append(accuracy - prior)
            print(f"  seed {seed}  {name:26} {accuracy:6.1%}  {accuracy - prior:+7.1%}", flush=True)
        print(f"  seed {seed}  {'prior':26} {prior:6.1%}")
    failures = 0
    for name, values in gains.items():
        control = not name.startswith("motion")
        holds = all(
            abs(gain) <= ALLOWED_CONTROL if control else gain >= NEEDED_GAIN for gain in values
        )
        failures += not holds
        claim = f"within {ALLOWED_CONTROL:.0%}" if control else f"at least {NEEDED_GAIN:.0%}"
        print(f"{name:26} mean {np.mean(values):+.1%}, {claim} in every seed: {holds}")
    return int(failures > 0)


def one_seed(
    folder: Path, players: int, seconds: float, seed: int, heads: list[str]
) -> dict[str, float]:
    """Mean test accuracy of the prior, of motion and of the controls."""
    data = simulate_dataset(folder / "basket", players=players, seconds=seconds, seed=seed)
    cache = folder / "cache"
    workflows.extract_features(
        labels=[data.splits[name] for name in ("train", "val", "test")],
        video_root=data.root,
        models=["motion"],
        streams=["pooled", "palette"],
        cache=cache,
    )
    true = data.splits["train"]
    shuffled = [folder / f"shuffled{number}.csv" for number in range(SHUFFLES)]
    for number, target in enumerate(shuffled):
        shuffle_levels(true, target, seed=SHUFFLES * seed + number)
    wanted = [("prior", "prior", "pooled", "mean", true)]
    for head in heads:
        wanted.append((f"motion, {head}", head, "pooled", "mean+std", true))
        wanted.append((f"colour only, {head}", head, "palette", "mean", true))
        wanted += [
            (f"shuffled levels, {head}", head, "pooled", "mean+std", target) for target in shuffled
        ]
    runs = [
        workflows.fit_head(
            cache=cache,
            features=[f"motion:{stream}"],
            train=train,
            val=data.splits["val"],
            video_root=data.root,
            head=head,
            pool=pool,
            out=folder / "runs" / str(number),
        )
        for number, (_, head, stream, pool, train) in enumerate(wanted)
    ]
    report = workflows.evaluate_run(
        [run.path for run in runs], tests={"test": data.splits["test"]}, video_root=data.root
    )
    scores: dict[str, list[float]] = {}
    for (name, *_), row in zip(wanted, report.results(), strict=True):
        scores.setdefault(name, []).append(row["accuracy"])
    return {name: float(np.mean(values)) for name, values in scores.items()}


def shuffle_levels(source: Path, target: Path, *, seed: int) -> None:
    """The same label file with its rows of levels dealt to other videos."""
    with source.open(newline="") as file:
        header, *rows = csv.reader(file)
    order = np.random.default_rng(seed).permutation(len(rows))
    with target.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([row[0], *rows[other][1:]] for row, other in zip(rows, order, strict=True))


if __name__ == "__main__":
    sys.exit(main())
