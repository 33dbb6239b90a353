"""Many heads on the same rows at once: what their fits have in common is done once.

Each head becomes what ``head.fit`` alone would have made of it, up to rounding. What is shared:
the checks and the canonical order of the rows; for ridge the Gram matrices of all folds; for
cumulative the whitened features, and a path of penalties each of which starts where the last one
ended; for mlp every matrix product; for gbdt the binning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy.typing as npt

from basket.heads.base import SkillHead

Head = TypeVar("Head", bound=SkillHead)


def share_key(head: SkillHead) -> str:
    """Equal for heads that :func:`fit_many` fits together."""
    own = head._own_parameters()
    shared = {name: value for name, value in head.get_params(deep=False).items() if name not in own}
    kind = type(head)
    return repr((kind.__module__, kind.__qualname__, head._split_seed(), sorted(shared.items())))


def fit_many(
    heads: Sequence[Head],
    X: Any,
    y: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    sample_weight: npt.ArrayLike | None = None,
    *,
    validation: tuple[Any, npt.ArrayLike] | None = None,
) -> list[Head]:
    """Fit heads of any kinds, together where they can be.

    Parameters
    ----------
    heads : sequence of SkillHead
        Fitted in place. Ridge and cumulative heads are fitted together where they differ in their
        penalties alone, networks in dropout, weight decay, learning rate and seed, boosted trees in
        how they grow.
    X, y, groups, sample_weight, validation
        As in :meth:`basket.heads.base.SkillHead.fit`.

    Returns
    -------
    list of SkillHead
        ``heads``.

    Raises
    ------
    ValueError, UsageError
        As in ``fit``. Heads may be left unfitted then.

    Examples
    --------
    >>> import numpy as np
    >>> from basket.heads import make_head
    >>> X = np.linspace(-1, 1, 60)[:, None]
    >>> levels = (X > -0.3).astype(int) + (X > 0.4)
    >>> heads = [make_head("ridge", n_levels=3, penalties=[value]) for value in (0.1, 10.0)]
    >>> [head.predict([[0.9]]).tolist() for head in fit_many(heads, X, levels)]
    [[[2]], [[2]]]
    """
    packs: dict[str, list[Head]] = {}
    for head in heads:
        head.check_parameters()
        packs.setdefault(share_key(head), []).append(head)
    for pack in packs.values():
        first = pack[0]
        rows = first._begin(X, y, groups, sample_weight, validation)
        learned = {name: value for name, value in vars(first).items() if name.endswith("_")}
        for head in pack[1:]:
            for name, value in learned.items():
                setattr(head, name, value)
        if rows is not None:
            first._fit_many(pack, rows)
    return list(heads)
