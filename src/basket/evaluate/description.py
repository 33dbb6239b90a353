"""What was fitted, and on which features: the part of a report that makes it repeatable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from basket.cache.fingerprint import FeatureSetSpec


@dataclass(frozen=True)
class FeatureIdentity:
    """Which features a run reads: enough to find them again and to tell them from others.

    Parameters
    ----------
    name : str
        For display: ``videomae/base-k400``.
    digest : str
        Of the feature-set specification, hexadecimal.
    backbone : str
    weights_sha256 : str
        Empty where no weights are involved.
    random_weights : bool
        Never trained: a control, not a model.
    details : mapping of str to str
        Anything else worth showing: plan, streams, checkpoint, revision.
    """

    name: str
    digest: str = ""
    backbone: str = ""
    weights_sha256: str = ""
    random_weights: bool = False
    details: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_spec(cls, spec: FeatureSetSpec, *, stream: str = "") -> FeatureIdentity:
        """What a report shows of a feature set (and of the one stream that was read)."""
        details = {
            "family": spec.family,
            "segments": str(spec.plan.get("name", "")),
            "stream": stream,
            "checkpoint": str(spec.notes.get("checkpoint", "")),
            "revision": str(spec.notes.get("revision", "")),
        }
        return cls(
            name=spec.backbone,
            digest=spec.digest,
            backbone=spec.backbone,
            weights_sha256=spec.weights_sha256,
            random_weights=spec.random_weights,
            details={key: value for key, value in details.items() if value},
        )


@dataclass(frozen=True)
class RunDescription:
    """What was fitted, and on what.

    Parameters
    ----------
    name : str
        Name of the run folder, unique in a report.
    head, pooling : str
    features : tuple of FeatureIdentity
    seed : int or None
    simulated : bool
        Fitted on simulated players.
    n_train_videos, n_train_players : int or None
    settings : mapping of str to str
        Hyperparameters and their values, chosen or given.
    versions : mapping of str to str
        Of basket and of the packages that computed.
    learned_from : str
        Digest of the labels and of how many players were learned from, and whether probabilities
        were scaled: runs that differ in it are no repetitions of one another.
    """

    name: str
    head: str
    pooling: str = ""
    features: tuple[FeatureIdentity, ...] = ()
    seed: int | None = None
    simulated: bool = False
    n_train_videos: int | None = None
    n_train_players: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    learned_from: str = ""

    @property
    def feature_names(self) -> str:
        """Names of the feature sets, joined: ``motion + xclip/base-patch32``."""
        return " + ".join(dict.fromkeys(each.name for each in self.features)) or "no features"

    @property
    def feature_keys(self) -> tuple[tuple[str, ...], ...]:
        """What tells these features from others: name, digest and stream of each set."""
        return tuple(
            (feature.name, feature.digest, feature.details.get("stream", ""))
            for feature in self.features
        )

    @property
    def feature_digests(self) -> str:
        """Short digests and streams, joined, for names that are not unique."""
        parts = ((digest[:8], stream) for _, digest, stream in self.feature_keys)
        return " + ".join(" ".join(filter(None, part)) for part in parts)

    @property
    def random_weights(self) -> bool:
        """True where any of the features come from weights that were never trained."""
        return any(feature.random_weights for feature in self.features)
