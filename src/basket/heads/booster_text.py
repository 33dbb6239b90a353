"""LightGBM's model text: cut down to its trees when written, checked number by number when read.

LightGBM's parser trusts child, leaf and feature indices and the sizes of trees; a hostile file
makes it read and write out of bounds (LightGBM#7357, #7438). So a text is refused unless every line
is one that we write, every array has the length its tree needs, every index is in range and the
children form a tree.
"""

from __future__ import annotations

import math
import re

_END = "end of trees\n"

_HEADER = (
    "tree",
    "version=v4",
    "num_class={n_outputs}",
    "num_tree_per_iteration={n_outputs}",
    "label_index=0",
)

#: Line -> how many values it holds, as a function of the number of leaves.
_INTERNAL = (
    "split_feature",
    "split_gain",
    "threshold",
    "decision_type",
    "left_child",
    "right_child",
    "internal_value",
    "internal_weight",
    "internal_count",
)
_LEAF = ("leaf_value", "leaf_weight", "leaf_count")
_ORDER = (
    "num_leaves",
    "num_cat",
    "split_feature",
    "split_gain",
    "threshold",
    "decision_type",
    "left_child",
    "right_child",
    "leaf_value",
    "leaf_weight",
    "leaf_count",
    "internal_value",
    "internal_weight",
    "internal_count",
    "is_linear",
    "shrinkage",
)
_INTEGERS = frozenset(
    {"split_feature", "decision_type", "left_child", "right_child", "leaf_count", "internal_count"}
)

_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_INTEGER = re.compile(r"-?\d{1,9}")
_RANGE = re.compile(r"none|\[[-+.\deE]+:[-+.\deE]+\]")

#: Bits of LightGBM's decision_type: 1 categorical, 2 default left, 4 and 8 the kind of missing
#: value. Ours are numerical.
_CATEGORICAL = 1
_MOST_LEAVES = 65_536


def trees_only(text: str) -> str:
    """Drop what follows the trees (importances, parameters): predictions need none of it."""
    return text[: text.index(_END) + len(_END)]


def check_booster_text(text: str, *, n_features: int, n_outputs: int = 1) -> None:
    """Refuse a model text that LightGBM should not be trusted with.

    Parameters
    ----------
    text : str
        As :func:`trees_only` gives it.
    n_features : int
        Columns of the data it will be applied to.
    n_outputs : int, default=1
        Scores per row.

    Raises
    ------
    ValueError
        Says what is wrong.
    """
    if not text.isascii() or "\0" in text or "\r" in text or not text.endswith("\n\n" + _END):
        raise ValueError("the booster text is cut short or holds foreign characters")
    header, _, trees = text.removesuffix(_END).partition("\n\n")
    sizes = _check_header(header.split("\n"), n_features, n_outputs)
    if len(sizes) % n_outputs:
        raise ValueError(f"the booster has {len(sizes)} trees for {n_outputs} scores")
    if sum(sizes) != len(trees):
        raise ValueError(f"the booster's trees take {len(trees)} bytes, announced {sum(sizes)}")
    start = 0
    for index, size in enumerate(sizes):
        _check_tree(trees[start : start + size], index, n_features)
        start += size


def _check_header(lines: list[str], n_features: int, n_outputs: int) -> list[int]:
    """Returns the announced sizes of the trees in bytes."""
    expected = tuple(line.format(n_outputs=n_outputs) for line in _HEADER)
    if tuple(lines[: len(_HEADER)]) != expected or len(lines) != len(_HEADER) + 4:
        raise ValueError("the booster has a header that this basket does not write")
    fields = dict(line.partition("=")[::2] for line in lines[len(_HEADER) :])
    if fields.get("max_feature_idx") != str(n_features - 1):
        raise ValueError(f"the booster is not for {n_features} features")
    names = fields.get("feature_names", "").split(" ")
    ranges = fields.get("feature_infos", "").split(" ")
    if names != [f"Column_{index}" for index in range(n_features)]:
        raise ValueError("the booster names other features")
    if len(ranges) != n_features or not all(map(_RANGE.fullmatch, ranges)):
        raise ValueError("the booster's feature ranges do not match its features")
    return [_integer(size, 1, 10**9) for size in fields.get("tree_sizes", "").split(" ")]


def _check_tree(text: str, index: int, n_features: int) -> None:
    lines = text.rstrip("\n").split("\n")
    if lines[0] != f"Tree={index}" or not text.endswith("\n\n"):
        raise ValueError(f"tree {index} of the booster does not begin or end where it should")
    names = tuple(line.partition("=")[0] for line in lines[1:])
    if names != _ORDER:
        raise ValueError(f"tree {index} of the booster has other lines than this basket writes")
    fields = dict(line.partition("=")[::2] for line in lines[1:])
    n_leaves = _integer(fields["num_leaves"], 1, _MOST_LEAVES)
    if fields["num_cat"] != "0" or fields["is_linear"] != "0":
        raise ValueError(f"tree {index} of the booster is categorical or linear; ours are neither")
    _number(fields["shrinkage"])
    values = {name: _values(fields, name, n_leaves - 1) for name in _INTERNAL}
    for name in _LEAF:
        _values(fields, name, n_leaves)
    for feature in values["split_feature"]:
        _integer(feature, 0, n_features - 1)
    for kind in values["decision_type"]:
        if _integer(kind, 0, 15) & _CATEGORICAL:
            raise ValueError(f"tree {index} of the booster has a categorical split")
    _check_children(
        [_integer(child, -n_leaves, n_leaves - 2) for child in values["left_child"]],
        [_integer(child, -n_leaves, n_leaves - 2) for child in values["right_child"]],
        n_leaves,
    )


def _check_children(left: list[int], right: list[int], n_leaves: int) -> None:
    """Every leaf (~leaf) and every split but the root has exactly one parent, made before it."""
    children = sorted(left + right)
    if children != sorted([*range(-n_leaves, 0), *range(1, n_leaves - 1)]) and n_leaves > 1:
        raise ValueError("the booster's children do not form a tree")
    for parent, pair in enumerate(zip(left, right, strict=True)):
        # LightGBM numbers splits in the order it makes them, so a cycle would have to go back.
        if any(0 <= child <= parent for child in pair):
            raise ValueError("the booster's children do not form a tree")


def _values(fields: dict[str, str], name: str, count: int) -> list[str]:
    values = fields[name].split(" ") if fields[name] else []
    # A tree of one leaf may leave its leaf's statistics out.
    if len(values) != count:
        raise ValueError(f"the booster's {name} has {len(values)} values, expected {count}")
    for value in values:
        if name in _INTEGERS:
            _integer(value, -(10**9), 10**9)
        else:
            _number(value)
    return values


def _integer(text: str, low: int, high: int) -> int:
    if not _INTEGER.fullmatch(text) or not low <= int(text) <= high:
        raise ValueError(f"the booster has {text[:20]!r} where {low}..{high} was expected")
    return int(text)


def _number(text: str) -> None:
    if len(text) > 40 or not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise ValueError(f"the booster has {text[:20]!r} where a finite number was expected")
