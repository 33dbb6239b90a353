"""Run folders at rest: safetensors, JSON and checked LightGBM text; loading executes nothing.

A folder appears under its name whole or not at all. ``run.json`` carries the hash of every file, so
a run that was cut short or changed is told apart from one that was made; each file is nevertheless
checked as if it came from a stranger, because hashes can be recomputed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from basket.cache.durable import fsync_folder, refuse_file_on_the_way, write_new
from basket.cache.features import RaggedFeatures
from basket.cache.fingerprint import FeatureSetSpec
from basket.errors import BasketError, IntegrityError, NotThereError, RunError, UsageError
from basket.heads.decision import DecisionRules
from basket.heads.pooling import canonical, parse_poolings
from basket.heads.stored_head import head_from_files
from basket.notebook import html_table

if TYPE_CHECKING:
    from basket.heads.base import SkillHead

RUN_FORMAT = "basket-run"
RUN_VERSION = 1

#: What predictions need of every run, beside boosters and members; compared with their hashes.
_CHECKED_FILES = ("head.json", "head.safetensors", "decision.json")

#: What ``run.json``, which has no hash of its own, must say for reports and cards.
_SAID = {
    "head": str, "params": dict, "seed": int, "simulated": bool, "random_weights": bool,
    "labels": dict, "train": dict, "val": dict | None, "versions": dict,
}  # fmt: skip


def cautions(config: Mapping[str, Any]) -> list[str]:
    """What must stand beside anything that a run says, by what its ``run.json`` says of it."""
    said = {
        "simulated": "Fitted on simulated players: this says nothing about real ones.",
        "random_weights": "Random weights: its features were never trained; it is a control.",
    }
    return [sentence for key, sentence in said.items() if config[key]]


@dataclass(frozen=True)
class RunFeatures:
    """One feature set that a run was fitted on: its name, the stream taken, and its identity."""

    name: str
    stream: str
    spec: FeatureSetSpec

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, the specification whole."""
        return {
            "name": self.name,
            "stream": self.stream,
            "digest": self.spec.digest,
            "spec": json.loads(self.spec.to_json()),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, origin: str) -> RunFeatures:
        """Restore; the specification is checked against its digest."""
        name, stream = document["name"], document["stream"]
        spec = FeatureSetSpec.from_json(json.dumps(document["spec"]), origin=origin)
        if not isinstance(name, str) or stream not in spec.streams:
            raise ValueError(f"its feature set {name!r} has no stream {stream!r}")
        return cls(name, stream, spec)


@dataclass(frozen=True)
class Run:
    """A fitted run: predicts levels from pooled features.

    Parameters
    ----------
    path : Path
        The folder.
    config : dict
        ``run.json``: head and parameters, label files, versions, seed, counts, what was left out.
    head : SkillHead
        Fitted.
    decision : DecisionRules
        One rule per metric.
    skills : tuple of str
        Names of the columns of every prediction.
    n_levels : int
        K.
    pooling : str
        How segments became rows.
    feature_sets : tuple of RunFeatures
        What the columns of X are made of, in this order.
    """

    path: Path
    config: dict[str, Any]
    head: SkillHead
    decision: DecisionRules
    skills: tuple[str, ...]
    n_levels: int
    pooling: str
    feature_sets: tuple[RunFeatures, ...]

    def __repr__(self) -> str:
        names = " + ".join(each.name for each in self.feature_sets)
        return (
            f"{type(self).__name__}({str(self.path)!r}: {self.config['head']} on {names}, "
            f"{self.pooling}, {len(self.skills)} skills of {self.n_levels} levels)"
        )

    def _repr_html_(self) -> str:
        scores = {split: each["head"] for split, each in self.metrics.items()}
        names = list(next(iter(scores.values()), {}))
        rows = [(split, *(each[name]["mean"] for name in names)) for split, each in scores.items()]
        columns = ("mean over the skills", *names)
        return html_table(repr(self), columns, rows, notes=cautions(self.config))

    @property
    def width(self) -> int:
        """Columns of X."""
        poolings = parse_poolings(self.pooling, len(self.feature_sets))
        return sum(
            pooling.width(features.spec.streams[features.stream])
            for pooling, features in zip(poolings, self.feature_sets, strict=True)
        )

    @property
    def metrics(self) -> dict[str, Any]:
        """Scores on training and held-out players, and the prior's, read from ``metrics.json``.

        Raises
        ------
        IntegrityError
            The file is missing or damaged.
        """
        try:
            scores: dict[str, Any] = json.loads((self.path / "metrics.json").read_bytes())
        except (OSError, ValueError) as error:
            raise IntegrityError(f"{self.path} has no readable scores: {error}") from error
        return scores

    def extra_file(self, name: str) -> bytes | None:
        """A file that predictions do not need, compared with its hash; None: the run has none.

        Raises
        ------
        IntegrityError
            The file is missing or not the one that was written.
        """
        wanted = self.config["files"].get(name)
        if wanted is None:
            return None
        try:
            data = (self.path / name).read_bytes()
        except OSError as error:
            raise IntegrityError(
                f"{self.path / name} cannot be read: {error.strerror}; fit the run again"
            ) from error
        if hashlib.sha256(data).hexdigest() != wanted:
            raise IntegrityError(
                f"{self.path / name} is not the file that was written; fit the run again"
            )
        return data

    @property
    def train_players(self) -> tuple[str, ...]:
        """Players the head has seen, sorted; read from ``training.parquet``.

        Raises
        ------
        IntegrityError
            The file is missing or damaged.
        """
        return self._players("training.parquet", "whom it was fitted on")

    @property
    def validation_players(self) -> tuple[str, ...]:
        """Players whom its decision rules were chosen on and the head has not seen, sorted.

        None of them where the run came without ``predictions.parquet``.

        Raises
        ------
        IntegrityError
            That file is damaged.
        """
        if self.config["val"] is None or not (self.path / "predictions.parquet").exists():
            return ()
        held = self._players("predictions.parquet", "whom its decision rules were chosen on")
        return tuple(sorted(set(held) - set(self.train_players)))

    def _players(self, file: str, who: str) -> tuple[str, ...]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            players = pq.read_table(self.path / file, columns=["player"])["player"]
            return tuple(sorted(set(players.to_pylist())))
        except (OSError, pa.ArrowException, KeyError) as error:
            raise IntegrityError(f"{self.path} does not say {who}: {error}") from error

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Probabilities (n, n_skills, K) of pooled features (n, width), or of segments (ragged).

        Raises
        ------
        RunError
            X has another number of columns.
        """
        if isinstance(X, RaggedFeatures):
            shape: tuple[int, ...] = (len(X), X.dim)
        else:
            X = np.asarray(X)
            shape = X.shape
        if len(shape) != 2 or shape[1] != self.width:
            raise RunError(
                f"run {self.path.name} was fitted on {self.width} columns ({self.pooling} of "
                f"{', '.join(f.name for f in self.feature_sets)}), got features of shape "
                f"{shape}; pool the same feature sets the same way"
            )
        return self.decision.calibrate(self.head.predict_proba(X))

    def predict(self, X: Any, metric: str = "accuracy") -> npt.NDArray[np.int64]:
        """Levels (n, n_skills) by the decision rule that serves ``metric`` best."""
        return self.decision.predict(self.predict_proba(X), metric)


def load_run(path: str | Path) -> Run:
    """Open a run folder.

    Raises
    ------
    RunError
        No run is there, or it was written by another version of the format.
    IntegrityError
        Files are missing, cut short, changed, or do not fit together.
    """
    folder = Path(path)
    config = _read_config(folder)
    try:
        files = _read_files(folder, config["files"])
        head = head_from_files(files, origin=str(folder))
        origin = str(folder / "run.json")
        run = Run(
            path=folder,
            config=config,
            head=head,
            decision=DecisionRules.from_json(
                files["decision.json"].decode(), origin=str(folder / "decision.json")
            ),
            skills=tuple(config["skills"]),
            n_levels=config["n_levels"],
            pooling=canonical(config["pooling"]),
            feature_sets=tuple(
                RunFeatures.from_dict(features, origin=origin)
                for features in config["feature_sets"]
            ),
        )
        _check_consistency(run)
    except BasketError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise IntegrityError(f"run {folder} is damaged: {_what(error)}; fit it again") from error
    return run


def check_free(out: Path) -> None:
    """Refuse to make a run where something is already, or where no folder can be.

    Raises
    ------
    UsageError
    """
    if out.exists():
        raise UsageError(f"{out} exists already; choose another folder or remove it")
    refuse_file_on_the_way(out)


def publish_run(out: Path, config: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Write a run folder so that it is seen whole or not at all.

    Parameters
    ----------
    out : Path
        The folder to make; it must not exist.
    config : mapping
        ``run.json`` without format, version and hashes, which are added.
    files : mapping of str to bytes
        Everything else.

    Raises
    ------
    RunError
        ``out`` exists already, or cannot be written.
    """
    document = {
        "format": RUN_FORMAT,
        "version": RUN_VERSION,
        **config,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())},
    }
    data = (json.dumps(document, indent=2, allow_nan=False) + "\n").encode()
    check_free(out)
    # A sibling, so that the rename stays on one file system.
    building = out.parent / f".tmp-{out.name}-{uuid.uuid4().hex}"
    try:
        building.mkdir(parents=True)
        for name, content in {**files, "run.json": data}.items():
            write_new(building / name, content)
        fsync_folder(building)
        building.rename(out)
        fsync_folder(out.parent)
    except OSError as error:
        raise RunError(f"the run {out} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        document = json.loads((folder / "run.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise NotThereError(
            f"{folder} is no run folder: it has no run.json; name one that basket fit-head made"
        ) from None
    except OSError as error:
        raise RunError(f"{folder / 'run.json'} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{folder / 'run.json'} is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("format") != RUN_FORMAT:
        raise RunError(f"{folder} is no run folder: its run.json is not of format {RUN_FORMAT}")
    if document.get("version") != RUN_VERSION:
        raise RunError(
            f"{folder} has run version {document.get('version')!r}, this basket reads version "
            f"{RUN_VERSION}; fit it again or use the matching basket"
        )
    return document


def _read_files(folder: Path, hashes: Mapping[str, str]) -> dict[str, bytes]:
    """Files that predictions depend on, compared with their hashes."""
    more = [*folder.glob("booster_*.txt"), *folder.glob("member_*.*")]
    files = {}
    for name in (*_CHECKED_FILES, *sorted(path.name for path in more)):
        data = (folder / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != hashes.get(name):
            raise ValueError(f"{name} is not the file that was written ({len(data)} bytes)")
        files[name] = data
    return files


def _check_consistency(run: Run) -> None:
    for name, kind in _SAID.items():
        if not isinstance(run.config[name], kind):
            raise ValueError(f"its {name} is {run.config[name]!r}")
    counts = np.asarray(run.config["train"]["level_counts"], dtype=np.float64)
    if counts.shape != (len(run.skills), run.n_levels) or not (counts >= 0).all():
        raise ValueError("it does not say how often each level occurs in training")
    if not all(isinstance(skill, str) for skill in run.skills):
        raise ValueError("its skills are not names")
    shape = (len(run.skills), run.n_levels)
    if (run.head.n_skills_, len(run.head.classes_)) != shape:
        raise ValueError(f"its head does not predict {shape[0]} skills of {shape[1]} levels")
    if (len(run.decision.cuts), run.decision.n_levels) != shape:
        raise ValueError(f"its decision rules are not for {shape[0]} skills of {shape[1]} levels")
    if run.head.n_features_in_ != run.width:
        raise ValueError(
            f"its head takes {run.head.n_features_in_} columns, its features give {run.width}"
        )


def _what(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error} is missing"
    if isinstance(error, OSError):
        return f"{Path(error.filename or '').name} cannot be read ({error.strerror})"
    return str(error)
