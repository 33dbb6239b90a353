"""Which segments of each video take part: all, every n-th, the first n, or n drawn at random."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from basket.cache.features import RaggedFeatures
from basket.errors import UsageError

Int64 = npt.NDArray[np.int64]

_PATTERN = re.compile(r"(?:(every|first|last):(\d{1,6})|(random):(\d{1,6})(?:@(\d{1,9}))?)")


@dataclass(frozen=True)
class Subset:
    """A parsed subset.

    Parameters
    ----------
    kind : {"every", "first", "last", "random"}
    count : int
        Step of ``every``, otherwise the number of segments; shorter videos keep all of theirs.
    seed : int
        Of ``random``. Videos with equal numbers of segments get the same draw, so it depends
        neither on their order nor on their company.
    """

    kind: str
    count: int
    seed: int = 0

    def __str__(self) -> str:
        seed = f"@{self.seed}" if self.kind == "random" else ""
        return f"{self.kind}:{self.count}{seed}"

    def places(self, length: int) -> Int64:
        """Rising places of the chosen among ``length`` segments; at least one of any."""
        if self.kind == "every":
            return np.arange(0, length, self.count)
        count = min(self.count, length)
        if self.kind == "random":
            random = np.random.default_rng([self.seed, length])
            return np.sort(random.permutation(length)[:count]).astype(np.int64)
        return np.arange(count) + (length - count if self.kind == "last" else 0)

    def rows(self, features: RaggedFeatures) -> tuple[Int64, Int64]:
        """Rows of ``features.values`` that are kept, and the offsets of the videos among them."""
        chosen = {int(length): self.places(int(length)) for length in np.unique(features.lengths)}
        kept = [
            start + chosen[length]
            for start, length in zip(
                features.offsets[:-1].tolist(), features.lengths.tolist(), strict=True
            )
        ]
        offsets = np.cumsum([0, *(len(each) for each in kept)])
        return np.concatenate([np.zeros(0, np.int64), *kept]), offsets.astype(np.int64)


def parse_subset(text: str) -> Subset:
    """Parse ``every:4``, ``first:32``, ``last:8`` or ``random:32@7``.

    Raises
    ------
    UsageError
        It is none of these, or keeps nothing.

    Examples
    --------
    >>> parse_subset("every:4").places(10).tolist()
    [0, 4, 8]
    """
    found = _PATTERN.fullmatch(text)
    if found is None or int(found[2] or found[4]) < 1:
        raise UsageError(
            f"unknown segment subset {text!r}; known are every:N, first:N, last:N and "
            "random:N@SEED, with N at least 1"
        )
    return Subset(found[1] or found[3], int(found[2] or found[4]), int(found[5] or 0))
