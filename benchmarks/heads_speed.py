"""How long the heads take at BASKET's size, beside the code one would write without them.

Prints one line per job: seconds of wall and CPU time of ours and of theirs, and the ratio, all from
this run on this machine. Theirs is run on a few skills or rounds where the whole would take
hours, and extrapolated; the line says so. With ``--quick`` everything is a tenth of the size.

    python benchmarks/heads_speed.py [--quick] [--only ridge,cumulative,mlp,packed,gbdt]
                                     [--rounds N]
"""
# bench: cpu

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable

import numpy as np

from basket.heads import make_head
from basket.heads.together import fit_many

N_SKILLS, WIDTH = 20, 768


def simulated(n: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features with a 1/k spectrum and 20 skills of correlation .35 with 64 directions."""
    random = np.random.default_rng(seed)
    scale = np.arange(1, WIDTH + 1) ** -0.5
    directions = random.normal(size=(n, WIDTH))
    latent = directions[:, :64] @ random.normal(size=(64, N_SKILLS))
    latent = 0.35 * latent / latent.std(axis=0)
    latent += np.sqrt(1 - 0.35**2) * random.normal(size=latent.shape)
    cuts = np.quantile(latent, [0.2, 0.4, 0.6, 0.8], axis=0)
    return (directions * scale).astype(np.float32), (latent[:, None] > cuts[None]).sum(axis=1)


def timed(job: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    job()
    return time.perf_counter() - wall, time.process_time() - cpu


def report(
    name: str,
    ours: tuple[float, float],
    theirs: tuple[float, float] | None,
    *,
    times: float = 1.0,
    note: str,
) -> None:
    line = f"{name:28} ours {ours[0]:7.1f} s wall {ours[1]:7.1f} s cpu"
    if theirs is not None:
        wall, cpu = theirs[0] * times, theirs[1] * times
        line += f"   theirs {wall:8.1f} {cpu:8.1f}   ratio {wall / ours[0]:6.1f}x wall"
        line += f" {cpu / ours[1]:6.1f}x cpu"
    print(f"{line}   ({note})", flush=True)


def ridge(X: np.ndarray, Y: np.ndarray) -> None:
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import KFold

    penalties = np.logspace(5, -4, 30) * len(X)
    ours = timed(lambda: make_head("ridge", n_levels=5).fit(X, Y))

    def one_fold_two_penalties() -> None:
        train, test = next(KFold(5).split(X))
        for penalty in penalties[[5, 20]]:
            model = Ridge(penalty).fit(X[train], Y[train])
            ((model.predict(X[test]) - Y[test]) ** 2).mean(axis=0)

    theirs = timed(one_fold_two_penalties)
    report(
        "ridge 5 folds x 30", ours, theirs, times=5 * 15,
        note="sklearn Ridge fold by fold, 1 fold x 2 penalties extrapolated",
    )  # fmt: skip


def cumulative(X: np.ndarray, Y: np.ndarray) -> None:
    ours = timed(lambda: make_head("cumulative", n_levels=5).fit(X, Y))
    try:
        import mord
    except ImportError:
        report("cumulative 10-penalty path", ours, None, note="mord is not installed")
        return
    few = min(len(X), 4000)
    theirs = timed(lambda: mord.LogisticAT(alpha=0.1 * few).fit(X[:few], Y[:few, 0]))
    report(
        "cumulative 10-penalty path", ours, theirs,
        times=N_SKILLS * (5 * 10 + 1) * len(X) / few,
        note=f"with 5 folds; mord.LogisticAT, one fit of {few} rows extrapolated",
    )  # fmt: skip


def mlp(X: np.ndarray, Y: np.ndarray) -> None:
    import torch

    settings = {"n_levels": 5, "hidden": 256, "epochs": 20, "patience": 0, "batch_size": 1024}
    ours = timed(lambda: make_head("mlp", **settings).fit(X, Y))

    def joint() -> None:
        torch.manual_seed(0)
        network = torch.nn.Sequential(
            torch.nn.Linear(WIDTH, 256), torch.nn.ReLU(), torch.nn.Dropout(0.5),
            torch.nn.Linear(256, 5 * N_SKILLS),
        )  # fmt: skip
        optimizer = torch.optim.AdamW(network.parameters())
        features, levels = torch.from_numpy(X), torch.from_numpy(Y)
        for _ in range(2):
            for batch in torch.split(torch.randperm(len(X)), 1024):
                optimizer.zero_grad()
                logits = network(features[batch]).view(-1, 5)
                loss = torch.nn.functional.cross_entropy(logits, levels[batch].flatten())
                loss.backward()
                optimizer.step()

    theirs = timed(joint)
    report(
        "mlp-256, 20 epochs", ours, theirs, times=10,
        note="torch's AdamW and cross-entropy, joint too, 2 epochs extrapolated",
    )  # fmt: skip


def packed(X: np.ndarray, Y: np.ndarray) -> None:
    import torch

    rows, epochs = min(len(X), 8192), 2
    heads = [
        make_head("mlp", n_levels=5, hidden=256, epochs=epochs, patience=0, batch_size=1024,
                  seed=seed)
        for seed in range(20)
    ]  # fmt: skip
    ours = timed(lambda: fit_many(heads, X[:rows], Y[:rows]))
    alone = timed(lambda: heads[0].fit(X[:rows], Y[:rows]))

    def products() -> None:
        x, wide = torch.randn(1024, WIDTH), torch.randn(WIDTH, 20 * 256)
        back = torch.randn(1024, 20 * 256)
        hidden, last = torch.randn(20, 1024, 256), torch.randn(20, 256, N_SKILLS)
        for _ in range(epochs * -(-rows // 1024)):
            x @ wide, x.T @ back
            out = hidden @ last
            hidden.transpose(1, 2) @ out, out @ last.transpose(1, 2)

    gemm = timed(products)
    report("mlp, 20 packed", ours, alone, times=20, note=f"20 alone; {epochs} epochs")
    print(f"{'':28} {ours[0] / gemm[0]:.2f}x the time of its matrix products ({gemm[0]:.1f} s)")


def gbdt(X: np.ndarray, Y: np.ndarray, *, rounds: int = 300) -> None:
    from lightgbm import LGBMClassifier

    threads = int(os.environ.get("OMP_NUM_THREADS", "0") or 0) or len(os.sched_getaffinity(0))
    ours = timed(
        lambda: make_head("gbdt", n_levels=5, rounds=rounds, leaves=15, patience=0).fit(X, Y)
    )

    def fit(few: int) -> tuple[float, float]:
        model = LGBMClassifier(
            n_estimators=few, num_leaves=15, learning_rate=0.05, verbosity=-1, n_jobs=threads
        )
        return timed(lambda: model.fit(X, Y[:, 0]))

    # Binning is paid once per skill, so it must not be multiplied by the rounds.
    one, more = fit(1), fit(16)
    whole = [a + (b - a) / 15 * (rounds - 1) for a, b in zip(one, more, strict=True)]
    report(
        f"gbdt, {rounds} rounds x 15 leaves", ours, (whole[0], whole[1]), times=N_SKILLS,
        note="MultiOutputClassifier(LGBMClassifier), 1 skill, 1 and 16 rounds extrapolated",
    )  # fmt: skip


JOBS = {"ridge": ridge, "cumulative": cumulative, "mlp": mlp, "packed": packed, "gbdt": gbdt}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default=",".join(JOBS))
    parser.add_argument("--rounds", type=int, default=300, help="of gbdt")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    X, Y = simulated(2_580 if options.quick else 25_800)
    load = os.getloadavg()[0]
    print(f"{len(X)} x {WIDTH}, {N_SKILLS} skills; load {load:.1f} on {os.cpu_count()} cores")
    for name in options.only.split(","):
        if name == "gbdt":
            gbdt(X, Y, rounds=30 if options.quick else options.rounds)
        else:
            JOBS[name](X, Y)


if __name__ == "__main__":
    main()
