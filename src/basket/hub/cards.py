"""The pages that a pushed cache and a pushed run show on a hub, in markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from basket import __version__
from basket.cache import FeatureSetSpec
from basket.cache.overview import FeatureSetOverview
from basket.heads.persist import Run

#: What a hub shows first of a repository.
CARD_FILE = "README.md"

_SIMULATED = "**Simulated players: these scores say nothing about real ones.**"
_CHECKED = (
    "Every shard is named by the SHA-256 of its bytes; a pull checks them, and reads every value, "
    "before anything is used.\n"
)
_RANDOM = "**Random weights: these features carry no training.**"


def cache_card(
    repo: str,
    feature_sets: Sequence[tuple[FeatureSetSpec, FeatureSetOverview]],
    *,
    elsewhere: Sequence[str] = (),
) -> str:
    """The page of a pushed cache: what its feature sets are and hold.

    Parameters
    ----------
    repo : str
    feature_sets : sequence of (FeatureSetSpec, FeatureSetOverview)
    elsewhere : sequence of str
        Feature sets of the repository that are not on this machine.
    """
    rows = [
        (
            overview.name,
            spec.backbone,
            ", ".join(f"{name} {dim}" for name, dim in spec.streams.items()),
            overview.done,
            overview.failed,
            overview.segments,
            f"{overview.size_bytes / 1e6:.1f} MB",
        )
        for spec, overview in feature_sets
    ]
    columns = ("feature set", "backbone", "streams", "videos", "failed", "segments", "size")
    parts = [
        # The hub would otherwise try to show shards as a table.
        "---\nviewer: false\ntags:\n- basket\n- video-features\n---\n",
        f"# {_text(repo.rpartition('/')[2])}\n",
        f"Embeddings of video segments by frozen models: a cache of basket {__version__}.\n",
        _table(columns, rows),
        *(
            f"{_text(spec.backbone)}: {_RANDOM}\n"
            for spec, _ in feature_sets
            if spec.random_weights
        ),
        *([f"Pushed from elsewhere: {_text(', '.join(elsewhere))}.\n"] if elsewhere else []),
        f"## Use\n\n```\nbasket cache pull {repo}\n```\n",
        _CHECKED,
        "## Identity\n",
    ]
    for spec, overview in feature_sets:
        parts += [f"### {_text(overview.name)}\n", _identity(spec)]
    return "\n".join(parts)


def run_card(repo: str, run: Run) -> str:
    """The page of a pushed run: scores, settings, the features it was fitted on.

    Parameters
    ----------
    repo : str
    run : Run
    """
    config = run.config
    parts = [
        "---\nlibrary_name: basket\ntags:\n- basket\n- skill-estimation\n---\n",
        f"# {_text(repo.rpartition('/')[2])}\n",
        f"A {_text(config['head'])} head for {len(run.skills)} skills of {run.n_levels} levels.\n",
    ]
    if config["simulated"]:
        parts.append(_SIMULATED + "\n")
    if config["random_weights"]:
        parts.append(_RANDOM + "\n")
    parts += ["## Scores\n", "Mean over the skills; in brackets the prior alone.\n", _scores(run)]
    left_out = "; ".join(
        f"{split}: {config[split]['n_videos']} videos, {config[split]['n_players']} players"
        for split in ("train", "val")
        if config.get(split)
    )
    settings = {
        "head": config["head"],
        "pooling": run.pooling,
        "seed": config["seed"],
        **config["params"],
        "data": left_out,
        "labels (SHA-256)": ", ".join(
            f"{split} {config['labels'][split]['sha256'][:12]}"
            for split in ("train", "val")
            if isinstance(config["labels"].get(split), dict)
        ),
        "fitted": config["created"],
        "versions": ", ".join(f"{name} {number}" for name, number in config["versions"].items()),
    }
    parts += ["## Training\n", _table(("setting", "value"), settings.items()), "## Features\n"]
    for each in run.feature_sets:
        parts += [f"### {_text(each.name)}, stream {_text(each.stream)}\n", _identity(each.spec)]
    parts += [
        f"## Use\n\n```\nbasket run pull {repo} runs/it\nbasket predict runs/it reel.mp4\n```\n",
        "The files are JSON, safetensors, parquet and checked text; loading them runs no code.\n",
    ]
    return "\n".join(parts)


def _scores(run: Run) -> str:
    metrics = run.metrics
    names = list(next(iter(metrics.values()))["head"])
    rows = []
    for split, scores in metrics.items():
        cells = [
            f"{_number(scores['head'][name]['mean'])} ({_number(scores['prior'][name]['mean'])})"
            for name in names
        ]
        rows.append((split, scores["n_videos"], scores["n_players"], *cells))
    return _table(("split", "videos", "players", *names), rows)


def _identity(spec: FeatureSetSpec) -> str:
    notes = {
        name: spec.notes[name]
        for name in ("checkpoint", "revision", "licence")
        if name in spec.notes
    }
    rows: dict[str, Any] = {
        "backbone": spec.backbone,
        **notes,
        "weights (SHA-256)": spec.weights_sha256 or "none",
        "digest": spec.digest,
        "decoding contract": spec.decoding_contract,
        **{f"preprocessing: {name}": value for name, value in spec.preprocessing.items()},
        **{f"plan: {name}": value for name, value in spec.plan.items()},
    }
    return _table(("input", "value"), rows.items())


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    lines += [f"| {' | '.join(_text(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _text(value: object) -> str:
    """A value inside a line of markdown: no markup, no line breaks, no cell ends."""
    text = " ".join(str(value).split())
    for mark in "\\`*[]<>|":
        text = text.replace(mark, f"\\{mark}")
    return text
