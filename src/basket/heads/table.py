"""The table of heads: name -> class, imported when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from basket.errors import UsageError
from basket.registry import Registry, nearest

if TYPE_CHECKING:
    from basket.heads.base import SkillHead

DEFAULT_POOLING = "mean+std"

HEADS = Registry(
    "head",
    "basket.heads",
    {
        "prior": "basket.heads.prior:PriorHead",
        "ridge": "basket.heads.ridge:RidgeHead",
        "cumulative": "basket.heads.cumulative:CumulativeHead",
        "mlp": "basket.heads.mlp:MlpHead",
        "gbdt": "basket.heads.gbdt:GbdtHead",
        "attention": "basket.heads.attention:AttentionHead",
        "prompts": "basket.heads.prompts:PromptsHead",
    },
)


def make_head(name: str, *, n_levels: int | None = None, **params: Any) -> SkillHead:
    """Make an unfitted head by its name in :data:`HEADS`.

    Parameters
    ----------
    name : str
        ``prior``, ``ridge``, ``cumulative``, ``mlp``, ``gbdt``, ``attention``, ``prompts``, or
        what another package registered.
    n_levels : int, optional
        K; fixed for BASKET (5), inferred from the labels when not given.
    **params
        Parameters of that head.

    Raises
    ------
    UsageError
        The head or one of its parameters is unknown (the nearest known name is suggested), or a
        value is of another type than the parameter, or outside its limits.

    Examples
    --------
    >>> make_head("ridge", n_levels=5, penalty=3)
    Traceback (most recent call last):
        ...
    basket.errors.UsageError: head 'ridge' has no parameter 'penalty'; did you mean 'penalties'? \
Known: class_weight, folds, n_levels, penalties, powers, seed, standardize, target
    """
    return _checked(name, {"n_levels": n_levels, **params})


def check_parameters(name: str, parameters: Mapping[str, Any]) -> None:
    """Refuse what a head does not have or cannot take, before anything slow is done for it.

    Raises
    ------
    UsageError
        As :func:`make_head`.
    """
    _checked(name, parameters)


def _checked(name: str, parameters: Mapping[str, Any]) -> SkillHead:
    known = parameter_names(name)
    for parameter in parameters:
        if parameter not in known:
            hint = nearest(parameter, known)
            raise UsageError(
                f"head {name!r} has no parameter {parameter!r}{hint or '.'} "
                f"Known: {', '.join(known)}"
            )
    head: SkillHead = HEADS[name](**parameters)
    head.check_parameters()
    return head


def pooling_for(head: str, pooling: str | None = None) -> str:
    """What the features are pooled to for a head: what was asked for, or what the head takes.

    Raises
    ------
    UsageError
        Pooled rows for a head that takes segments, or segments for a head that takes rows.

    Examples
    --------
    >>> pooling_for("ridge"), pooling_for("attention")
    ('mean+std', 'segments')
    """
    from basket.heads.pooling import SEGMENTS, parse_pooling

    takes_segments = HEADS[head].takes_segments
    if pooling is None:
        return SEGMENTS if takes_segments else DEFAULT_POOLING
    if takes_segments != parse_pooling(pooling.split(",")[0]).keeps_segments:
        raise UsageError(
            f"head {head!r} pools the segments itself, and pooling {pooling!r} leaves it none; "
            f"leave the pooling out, or give {SEGMENTS}, with a subset such as {SEGMENTS}/every:2"
            if takes_segments
            else f"head {head!r} takes one row per video, and pooling {pooling!r} makes none; give "
            f"terms such as {DEFAULT_POOLING}, or a head that takes segments, such as attention"
        )
    return pooling


def parameter_names(name: str) -> list[str]:
    """Names of the parameters that the head called ``name`` takes, sorted."""
    return sorted(HEADS[name]().get_params(deep=False))
