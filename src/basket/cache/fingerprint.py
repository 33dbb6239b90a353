"""What makes two feature sets the same: the specification and its digest.

Everything that changes the numbers is identity and goes into the digest. Everything that should
not (decoder build, device, precision) is provenance, recorded per video. Names for display and the
origin of the weights are notes: kept, shown, not compared.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from basket.errors import FormatVersionError, IntegrityError

#: Raised by one whenever the same file, plan and geometry would yield other pixels than before.
DECODING_CONTRACT = 2

SPEC_VERSION = 1

#: Fields of the identity, in the order in which differences are told.
IDENTITY_FIELDS = (
    "family",
    "weights_sha256",
    "preprocessing",
    "plan",
    "streams",
    "columns",
    "prompts_sha256",
    "tokenizer_sha256",
    "decoding_contract",
)


@dataclass(frozen=True)
class FeatureSetSpec:
    """The whole specification of one feature set, as stored in ``feature_set.json``.

    Parameters
    ----------
    family : str
        The code that computes the features: ``videomae``, ``xclip``, ``motion``.
    backbone : str
        Name for display and for the folder: ``videomae/base-k400``. Not identity.
    weights_sha256 : str
        SHA-256 over the weight tensors (name, dtype, shape, bytes); empty for ``motion``.
    preprocessing : mapping
        Values that act on pixels and outputs: frames, size, mean, std, crop, pooling.
    plan : mapping
        The segment plan as plain JSON.
    streams : mapping of str to int
        Width of each stream.
    columns : mapping of str to list of str
        Names of columns, for streams that have them (``prompts``).
    prompts_sha256, tokenizer_sha256 : str
        Hashes of the prompt bank and the tokenizer files where text is involved.
    decoding_contract : int
        Version of the rule "which frame is on display at t, and how is it resized".
    notes : mapping
        Not identity: checkpoint, revision, licence, ``random_weights``, TFLOP per clip.
    """

    family: str
    backbone: str
    preprocessing: Mapping[str, Any]
    plan: Mapping[str, Any]
    streams: Mapping[str, int]
    weights_sha256: str = ""
    columns: Mapping[str, list[str]] = field(default_factory=dict)
    prompts_sha256: str = ""
    tokenizer_sha256: str = ""
    decoding_contract: int = DECODING_CONTRACT
    notes: Mapping[str, Any] = field(default_factory=dict)

    def identity(self) -> dict[str, Any]:
        """The identity as plain JSON values."""
        return {name: _plain(getattr(self, name)) for name in IDENTITY_FIELDS}

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON of the identity, 64 hex digits."""
        canonical = json.dumps(self.identity(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def folder_name(self) -> str:
        """``<backbone>.<plan>.<digest8>``, safe on every file system.

        >>> FeatureSetSpec("motion", "motion", {}, {"name": "dense"}, {"pooled": 4}).folder_name
        'motion.dense.365cda84'
        """
        parts = (self.backbone, str(self.plan.get("name", "plan")), self.digest[:8])
        return ".".join(re.sub(r"[^A-Za-z0-9_-]+", "-", part).strip("-") for part in parts)

    @property
    def random_weights(self) -> bool:
        """True where the weights were never trained; shown wherever the features appear."""
        return bool(self.notes.get("random_weights", False))

    def differences(self, other: FeatureSetSpec) -> list[str]:
        """Say per differing identity field what it is here and there (empty: the same)."""
        mine, theirs = self.identity(), other.identity()
        lines: list[str] = []
        for name in IDENTITY_FIELDS:
            lines += _differences(name, mine[name], theirs[name])
        return lines

    def to_json(self) -> str:
        """Serialise; :meth:`from_json` restores an equal specification."""
        document = {"version": SPEC_VERSION, "digest": self.digest, **_plain(asdict(self))}
        return json.dumps(document, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, *, origin: str = "feature_set.json") -> FeatureSetSpec:
        """Read a specification back and check it against the digest it carries.

        Raises
        ------
        FormatVersionError
            Written by another version of the format.
        IntegrityError
            Not JSON, fields missing or surplus, or the digest does not match the content.
        """
        try:
            document = json.loads(text)
            version = document.pop("version")
            digest = document.pop("digest")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise IntegrityError(f"{origin} is not a feature-set specification: {error}") from error
        if version != SPEC_VERSION:
            raise FormatVersionError(
                f"{origin} has specification version {version!r}, this basket reads version "
                f"{SPEC_VERSION}; extract again into a new cache or use the matching basket"
            )
        try:
            spec = cls(**document)
            intact = spec.digest == digest
        except (TypeError, AttributeError, ValueError) as error:
            raise IntegrityError(f"{origin} is not a feature-set specification: {error}") from error
        if not intact:
            raise IntegrityError(
                f"{origin} was changed after it was written: its content has digest "
                f"{spec.digest[:8]}, it claims {str(digest)[:8]}; restore the file from a backup"
            )
        return spec


def _plain(value: Any) -> Any:
    """Mappings to dicts and sequences to lists, so that equal specifications compare equal."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _differences(name: str, mine: Any, theirs: Any) -> list[str]:
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return [
            line
            for key in sorted(mine.keys() | theirs.keys())
            for line in _differences(f"{name}.{key}", mine.get(key), theirs.get(key))
        ]
    return [] if mine == theirs else [f"{name}: {mine!r} here, {theirs!r} there"]
