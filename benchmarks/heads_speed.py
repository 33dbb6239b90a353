"""How long the heads take at BASKET's size, beside the code one would write without them.

Prints one line per job: seconds of wall and CPU time of ours and of theirs, and the ratio, all from
this run on this machine. Theirs is run on a few skills or rounds where the whole would take
hours, and extrapolated; the line says so. With ``--quick`` everything is a tenth of the size.

    python benchmarks/heads_speed.py [--quick] [--only ridge,cumulative,mlp,packed,gbdt,quality]
                                     [--rounds N]

Where OPENBLAS_CORETYPE or OPENBLAS_L2_SIZE are set, NumPy's BLAS may run an old kernel: unset them
(``env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python ...``). The first line names the kernel.
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
from basket.heads.decision import DecisionRules
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
    target: str = "",
    note: str,
) -> None:
    line = f"{name:28} ours {ours[0]:7.1f} s wall {ours[1]:7.1f} s cpu"
    if theirs is not None:
        wall, cpu = theirs[0] * times, theirs[1] * times
        line += f"   theirs {wall:8.1f} {cpu:8.1f}   ratio {wall / ours[0]:6.1f}x wall"
        line += f" {cpu / ours[1]:6.1f}x cpu"
    print(f"{line}   ({note}{'; target ' + target if target else ''})", flush=True)


def machine() -> str:
    """Cores, load and the BLAS kernels in use: what a time depends on beside the code."""
    from threadpoolctl import threadpool_info

    np.ones((2, 2)) @ np.ones((2, 2))
    kernels = sorted(
        {
            f"{pool['internal_api']} {pool.get('architecture', '')} x{pool['num_threads']}"
            for pool in threadpool_info()
            if pool["user_api"] == "blas"
        }
    )
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, load {load:.1f}, BLAS: {', '.join(kernels)}"


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
        "ridge 5 folds x 30", ours, theirs, times=5 * 15, target="<= 5 s",
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
        times=N_SKILLS * (5 * 10 + 1) * len(X) / few, target="<= 30 s",
        note=f"with 5 folds; mord.LogisticAT, one fit of {few} rows extrapolated",
    )  # fmt: skip


def mlp(X: np.ndarray, Y: np.ndarray) -> None:
    import torch

    few = 2
    settings = {"n_levels": 5, "hidden": 256, "epochs": 20, "patience": 0, "batch_size": 1024}
    # Start-up (imports, threads) is nobody's training time.
    make_head("mlp", **settings | {"epochs": 1}).fit(X[:2048], Y[:2048])
    ours = timed(lambda: make_head("mlp", **settings).fit(X, Y))

    def coral(epochs: int) -> None:
        from coral_pytorch.losses import coral_loss

        torch.manual_seed(0)
        body = torch.nn.Sequential(
            torch.nn.Linear(WIDTH, 256), torch.nn.ReLU(), torch.nn.Dropout(0.5),
            torch.nn.Linear(256, N_SKILLS),
        )  # fmt: skip
        bias = torch.nn.Parameter(torch.zeros(N_SKILLS, 4))
        optimizer = torch.optim.AdamW([*body.parameters(), bias])
        features = torch.from_numpy((X - X.mean(axis=0)) / X.std(axis=0))
        above = (torch.from_numpy(Y)[:, :, None] > torch.arange(4)).float()
        for _ in range(epochs):
            for batch in torch.split(torch.randperm(len(X)), 1024):
                optimizer.zero_grad()
                logits = body(features[batch])[:, :, None] + bias
                coral_loss(logits.flatten(0, 1), above[batch].flatten(0, 1)).backward()
                optimizer.step()

    coral(1)
    theirs = timed(lambda: coral(few))
    report(
        "mlp-256, 20 epochs", ours, theirs, times=20 / few, target="<= 6 s",
        note=f"torch and coral_pytorch's loss, joint over skills too, {few} epochs extrapolated",
    )  # fmt: skip


def packed(X: np.ndarray, Y: np.ndarray) -> None:
    import torch

    # Few rows are a few steps: more epochs, or the start-up that is subtracted drowns them.
    n_networks, epochs, batch = 20, 3 if len(X) > 10_000 else 12, 1024
    heads = [
        make_head("mlp", n_levels=5, hidden=256, epochs=epochs, patience=0, batch_size=batch,
                  seed=seed)
        for seed in range(n_networks)
    ]  # fmt: skip
    heads[0].fit(X[:2048], Y[:2048])
    # What is paid once per call, however many epochs: checks, row order, standardisation.
    short = [head.set_params(epochs=1) for head in heads]
    one = timed(lambda: fit_many(short, X, Y))
    ours = timed(lambda: fit_many([head.set_params(epochs=epochs) for head in heads], X, Y))
    alone = timed(lambda: heads[0].fit(X, Y))

    x, weights = torch.randn(batch, WIDTH), torch.randn(n_networks * 256, WIDTH)
    wide, back = torch.empty(batch, n_networks * 256), torch.empty(n_networks * 256, WIDTH)
    hidden, last = torch.randn(n_networks, batch, 256), torch.randn(n_networks, 256, N_SKILLS)
    out, below = torch.randn(n_networks, batch, N_SKILLS), torch.empty(n_networks, batch, 256)
    last_back = torch.empty(n_networks, 256, N_SKILLS)

    def products() -> None:
        # The five products of a step, into memory that is there: no way to train does less.
        for _ in range(epochs - 1):
            for start in range(0, len(X), batch):
                n = min(batch, len(X) - start)
                torch.mm(x[:n], weights.t(), out=wide[:n])
                torch.bmm(hidden[:, :n], last, out=out[:, :n])
                torch.bmm(hidden[:, :n].transpose(1, 2), out[:, :n], out=last_back)
                torch.bmm(out[:, :n], last.transpose(1, 2), out=below[:, :n])
                torch.mm(wide[:n].t(), x[:n], out=back)

    timed(products)
    gemm = timed(products)
    report("mlp, 20 packed", ours, alone, times=n_networks, note=f"20 alone; {epochs} epochs")
    ratio = [(a - b) / c for a, b, c in zip(ours, one, gemm, strict=True)]
    print(
        f"{'':28} {epochs - 1} epochs take {ratio[0]:.2f}x wall {ratio[1]:.2f}x cpu of torch's "
        f"matrix products alone ({gemm[0]:.1f} s; target <= 1.2x)"
    )


def _threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS", "0") or 0) or len(os.sched_getaffinity(0))


def gbdt(X: np.ndarray, Y: np.ndarray, *, rounds: int = 300) -> None:
    from lightgbm import LGBMClassifier

    ours = timed(
        lambda: make_head("gbdt", n_levels=5, rounds=rounds, leaves=15, patience=0).fit(X, Y)
    )

    def fit(few: int) -> tuple[float, float]:
        model = LGBMClassifier(
            n_estimators=few, num_leaves=15, learning_rate=0.05, verbosity=-1, n_jobs=_threads()
        )
        return timed(lambda: model.fit(X, Y[:, 0]))

    # Binning is paid once per skill, so it must not be multiplied by the rounds.
    one, more = fit(1), fit(16)
    whole = [a + (b - a) / 15 * (rounds - 1) for a, b in zip(one, more, strict=True)]
    report(
        f"gbdt, {rounds} rounds x 15 leaves", ours, (whole[0], whole[1]), times=N_SKILLS,
        target="<= 60 s with 300 rounds, >= 8x",
        note="MultiOutputClassifier(LGBMClassifier), 1 skill, 1 and 16 rounds extrapolated",
    )  # fmt: skip


def quality(X: np.ndarray, Y: np.ndarray, *, rounds: int = 300) -> None:
    """Are fewer columns per tree paid for? Accuracy, MAE and kappa of both on held-out rows."""
    from lightgbm import LGBMClassifier
    from sklearn.metrics import accuracy_score, cohen_kappa_score, mean_absolute_error

    n_skills, cut = 2, len(X) * 3 // 4
    train, test = slice(0, cut), slice(cut, None)
    head = make_head("gbdt", n_levels=5, rounds=rounds, leaves=15, patience=0)
    head.fit(X[train], Y[train, :n_skills])
    proba, truth = head.predict_proba(X[test]), Y[test, :n_skills]
    ours = {name: np.zeros_like(truth) for name in ("accuracy", "mae", "qwk")}
    half = np.arange(len(truth)) % 2
    for mine in (half == 0, half == 1):
        # As a run does: rules are fitted on rows that they do not decide.
        rules = DecisionRules.fit(proba[~mine], truth[~mine])
        for name, levels in ours.items():
            levels[mine] = rules.predict(proba[mine], name)
    theirs = np.stack(
        [
            LGBMClassifier(
                n_estimators=rounds,
                num_leaves=15,
                learning_rate=0.05,
                verbosity=-1,
                n_jobs=_threads(),
            )
            .fit(X[train], Y[train, skill])
            .predict(X[test])
            for skill in range(n_skills)
        ],
        axis=1,
    )

    def kappa(truth: np.ndarray, found: np.ndarray) -> float:
        return cohen_kappa_score(truth, found, weights="quadratic", labels=range(5))

    scores = {"accuracy": accuracy_score, "mae": mean_absolute_error, "qwk": kappa}
    for name, score in scores.items():
        pair = [
            np.mean([score(truth[:, skill], levels[:, skill]) for skill in range(n_skills)])
            for levels in (ours[name], theirs)
        ]
        print(f"{'gbdt ' + name:28} ours {pair[0]:.4f}   LGBMClassifier {pair[1]:.4f}"
              f"   ({n_skills} skills, {rounds} rounds, held-out rows)", flush=True)  # fmt: skip


JOBS = {
    "ridge": ridge,
    "cumulative": cumulative,
    "mlp": mlp,
    "packed": packed,
    "gbdt": gbdt,
    "quality": quality,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default=",".join(JOBS))
    parser.add_argument("--rounds", type=int, default=300, help="of gbdt")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    X, Y = simulated(2_580 if options.quick else 25_800)
    print(f"{len(X)} x {WIDTH}, {N_SKILLS} skills; {machine()}")
    rounds = 30 if options.quick else options.rounds
    for name in options.only.split(","):
        if name in ("gbdt", "quality"):
            JOBS[name](X, Y, rounds=rounds)
        else:
            JOBS[name](X, Y)


if __name__ == "__main__":
    main()
