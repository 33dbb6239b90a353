"""A fitted head as files and back: head.json, head.safetensors, booster_<index>.txt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.errors import BasketError, IntegrityError, RunError
from basket.heads.base import HeadState, SkillHead
from basket.heads.combined import COMBINED, CombinedHead
from basket.heads.table import HEADS, make_head

HEAD_FORMAT = "basket-head"
HEAD_VERSION = 1


def head_to_files(head: SkillHead, name: str) -> dict[str, bytes]:
    """Serialise a fitted head.

    Parameters
    ----------
    head : SkillHead
        Fitted.
    name : str
        Its name in :data:`~basket.heads.table.HEADS`.
    """
    from safetensors.numpy import save

    if isinstance(head, CombinedHead):
        return _combined_to_files(head)
    # A head that found nothing to learn has nothing but its prior.
    state = head._state() if len(head.active_) else HeadState()
    document = {
        "format": HEAD_FORMAT,
        "version": HEAD_VERSION,
        "head": name,
        "params": head.get_params(deep=False),
        "n_features": int(head.n_features_in_),
        "classes": head.classes_.tolist(),
        "multi_skill": head.multi_skill_,
        "values": state.values,
        "boosters": sorted(state.boosters),
    }
    arrays = {"prior_": head.prior_, "active_": head.active_, **state.arrays}
    files = {
        "head.json": (json.dumps(document, indent=2, default=_plain) + "\n").encode(),
        "head.safetensors": save({key: np.ascontiguousarray(a) for key, a in arrays.items()}),
    }
    for index, text in state.boosters.items():
        files[f"booster_{index}.txt"] = text.encode()
    return files


def head_from_files(files: Mapping[str, bytes], *, origin: str) -> SkillHead:
    """Restore a head, treating the files as a stranger's.

    Raises
    ------
    RunError
        Another format version, or a head that is not installed here.
    IntegrityError
        The files are not what :func:`head_to_files` wrote.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        document = json.loads(files["head.json"])
        if document["format"] != HEAD_FORMAT:
            raise ValueError("head.json is of another format")
        if document["version"] != HEAD_VERSION:
            raise RunError(
                f"the head of {origin} has version {document['version']!r}, this basket reads "
                f"version {HEAD_VERSION}; fit it again or use the matching basket"
            )
        if document["head"] == COMBINED:
            return _combined_from_files(document, files, origin=origin)
        if document["head"] not in HEADS:
            raise RunError(
                f"{origin} has a head {document['head']!r}, which is not installed here; "
                f"known are {', '.join(HEADS)}"
            )
        # Copies are aligned as fresh arrays are: BLAS may sum unaligned ones in another order.
        arrays = {name: array.copy() for name, array in load(files["head.safetensors"]).items()}
        boosters = {
            int(index): files[f"booster_{int(index)}.txt"].decode()
            for index in document["boosters"]
        }
        return _restore(document, arrays, boosters)
    except BasketError:
        raise
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        RecursionError,
        SafetensorError,
    ) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise IntegrityError(f"the head of {origin} cannot be read: {what}") from error


def _combined_to_files(head: CombinedHead) -> dict[str, bytes]:
    """head.json of the combination, and the files of each member under ``member_<index>.``."""
    document = {
        "format": HEAD_FORMAT,
        "version": HEAD_VERSION,
        "head": COMBINED,
        "members": [_name_of(member) for member in head.members],
        "weights": head.weights,
        "columns": head.columns,
        "temperatures": head.temperatures,
    }
    files = {"head.json": (json.dumps(document, indent=2) + "\n").encode(), "head.safetensors": b""}
    for index, member in enumerate(head.members):
        for name, data in head_to_files(member, _name_of(member)).items():
            files[f"member_{index}.{name}"] = data
    return files


def _combined_from_files(
    document: Mapping[str, Any], files: Mapping[str, bytes], *, origin: str
) -> CombinedHead:
    members = []
    for index, name in enumerate(document["members"]):
        prefix = f"member_{index}."
        own = {file[len(prefix) :]: data for file, data in files.items() if file.startswith(prefix)}
        # A combination within a combination could nest without end.
        if name == COMBINED or json.loads(own["head.json"])["head"] == COMBINED:
            raise ValueError("a combined head has a combined member")
        members.append(head_from_files(own, origin=origin))
    if not members:
        raise ValueError("a combined head has no members")
    return CombinedHead(
        members=members,
        weights=[float(weight) for weight in document["weights"]],
        columns=[[(int(a), int(b)) for a, b in spans] for spans in document["columns"]],
        temperatures=[tuple(float(t) for t in each) for each in document["temperatures"]],
    )


def _name_of(head: SkillHead) -> str:
    for name in HEADS:
        if type(head) is HEADS[name]:
            return name
    raise ValueError(f"{type(head).__name__} is no head of the table")


def _restore(
    document: Mapping[str, Any], arrays: dict[str, npt.NDArray[Any]], boosters: dict[int, str]
) -> SkillHead:
    head = make_head(document["head"], **document["params"])
    n_features, classes = document["n_features"], np.array(document["classes"])
    prior, active = arrays.pop("prior_"), arrays.pop("active_")
    if type(n_features) is not int or n_features < 1 or classes.ndim != 1 or not len(classes):
        raise ValueError("it names no features or no classes")
    if prior.ndim != 2 or prior.shape[1] != len(classes) or prior.dtype != np.float64:
        raise ValueError("its prior does not match its classes")
    if not (prior >= 0).all() or not np.allclose(prior.sum(axis=1), 1.0):
        raise ValueError("its prior holds no probabilities")
    if active.ndim != 1 or active.dtype.kind != "i" or not _rising_within(active, len(prior)):
        raise ValueError("its list of learned skills is no list of skills")
    head.n_features_in_, head.classes_ = n_features, classes
    head.prior_, head.active_, head.n_skills_ = prior, active, len(prior)
    head.multi_skill_ = bool(document["multi_skill"])
    if len(active):
        head._restore(HeadState(values=document["values"], arrays=arrays, boosters=boosters))
    return head


def _rising_within(indices: npt.NDArray[Any], size: int) -> bool:
    inside = bool(((indices >= 0) & (indices < size)).all())
    return inside and bool((np.diff(indices) > 0).all())


def _plain(value: Any) -> Any:
    """Parameters set from NumPy as plain JSON."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be stored in head.json")
