"""The table of heads: name -> class, imported when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from basket.errors import UsageError
from basket.registry import Registry, nearest

if TYPE_CHECKING:
    from basket.heads.base import SkillHead

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
    },
)


def make_head(name: str, *, n_levels: int | None = None, **params: Any) -> SkillHead:
    """Make an unfitted head by its name in :data:`HEADS`.

    Parameters
    ----------
    name : str
        ``prior``, ``ridge``, ``cumulative``, ``mlp``, ``gbdt``, ``attention``, or what another
        package registered.
    n_levels : int, optional
        K; fixed for BASKET (5), inferred from the labels when not given.
    **params
        Parameters of that head.

    Raises
    ------
    UsageError
        The head or one of its parameters is unknown; the nearest known name is suggested.

    Examples
    --------
    >>> make_head("ridge", n_levels=5, penalty=3)
    Traceback (most recent call last):
        ...
    basket.errors.UsageError: head 'ridge' has no parameter 'penalty'; did you mean 'penalties'? \
Known: class_weight, folds, n_levels, penalties, seed, standardize
    """
    head_class = HEADS[name]
    known = parameter_names(name)
    for parameter in params:
        if parameter not in known:
            hint = nearest(parameter, known)
            raise UsageError(
                f"head {name!r} has no parameter {parameter!r}{hint or ';'} "
                f"Known: {', '.join(known)}"
            )
    head: SkillHead = head_class(n_levels=n_levels, **params)
    return head


def parameter_names(name: str) -> list[str]:
    """Names of the parameters that the head called ``name`` takes, sorted."""
    return sorted(HEADS[name]().get_params(deep=False))
