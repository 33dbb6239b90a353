"""A head for some labels and features: what only these know is filled in among its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from basket.dataset.skills import GROUPS, skill_named
from basket.heads.prompts import names_of_features
from basket.heads.table import make_head, parameter_names

if TYPE_CHECKING:
    from basket.heads.base import SkillHead


def head_for(
    name: str,
    params: Mapping[str, Any],
    *,
    seed: int,
    skills: Sequence[str],
    n_levels: int,
    feature_sets: Sequence[Mapping[str, Any]],
    pooling: str,
) -> SkillHead:
    """Make the unfitted head that runs and sweeps fit.

    Parameters
    ----------
    name : str
        Of the head.
    params : mapping
        ``hierarchy=True`` and ``queries="group"`` become the groups of the skills; a head that
        reads names of columns and skills is told them.
    seed : int
        For a head that draws anything at random.
    skills : sequence of str
    n_levels : int
        K.
    feature_sets : sequence of mapping
        ``stream`` and ``spec`` of each source, in column order.
    pooling : str

    Raises
    ------
    UsageError
        As :func:`basket.heads.table.make_head`.
    """
    known = parameter_names(name)
    given = dict(params)
    if "columns" in known:
        names = names_of_features(feature_sets, pooling)
        given = {"columns": names, "skills": list(skills), **given}
    groups = [GROUPS.index(skill_named(skill).group) for skill in skills]
    if given.get("hierarchy") is True:
        given["hierarchy"] = groups
    if given.get("queries") == "group":
        given["queries"] = groups
    if "seed" in known:
        given["seed"] = seed
    return make_head(name, **{**given, "n_levels": n_levels})
