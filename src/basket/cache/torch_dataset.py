"""A torch data set over cached features; apart, so that torch is imported only when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

if TYPE_CHECKING:
    from basket.cache.feature_set import FeatureSet

Item = torch.Tensor | tuple[torch.Tensor, torch.Tensor]


class FeatureDataset(Dataset[Item]):
    """One item per video; made by ``FeatureSet.to_torch``.

    No file stays open between items, so that a ``DataLoader`` may use processes. Random order reads
    each shard over and over: where all fits into memory, pool first.

    Parameters
    ----------
    feature_set : FeatureSet
    video_ids : sequence of str
    stream : str
    rows : ndarray, float32, (n_videos, P), optional
        Pooled features; without them, items are segments read from the cache.
    targets : array_like, (n_videos, …), optional

    Raises
    ------
    ValueError
        There are not as many targets as videos.
    """

    def __init__(
        self,
        feature_set: FeatureSet,
        video_ids: Sequence[str],
        *,
        stream: str,
        rows: npt.NDArray[np.float32] | None = None,
        targets: npt.ArrayLike | None = None,
    ) -> None:
        self.video_ids = tuple(video_ids)
        self.stream = stream
        self._feature_set = feature_set
        self._rows = None if rows is None else torch.from_numpy(rows)
        self._targets = None if targets is None else torch.as_tensor(np.asarray(targets))
        if self._targets is not None and len(self._targets) != len(self.video_ids):
            raise ValueError(f"{len(self._targets)} targets for {len(self.video_ids)} videos")

    def __len__(self) -> int:
        return len(self.video_ids)

    def __getitem__(self, index: int) -> Item:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Item]:
        """Items of a batch; torch's ``DataLoader`` asks for them together, so shards open once."""
        features: Sequence[torch.Tensor]
        if self._rows is not None:
            features = [self._rows[index] for index in indices]
        else:
            ids = [self.video_ids[index] for index in indices]
            features = [
                torch.from_numpy(segments.astype(np.float32))
                for segments in self._feature_set.ragged(ids, self.stream)
            ]
        if self._targets is None:
            return list(features)
        return [(each, self._targets[index]) for each, index in zip(features, indices, strict=True)]

    @staticmethod
    def collate(items: Sequence[Any]) -> tuple[torch.Tensor, ...]:
        """Join videos of different lengths without padding.

        Parameters
        ----------
        items : sequence
            Of this data set.

        Returns
        -------
        values : Tensor, float32, (total, D)
            Segments, video after video.
        offsets : Tensor, int64, (n + 1,)
            Video i owns rows ``offsets[i]:offsets[i + 1]``.
        targets : Tensor, (n, …)
            Where the data set has some.
        """
        paired = isinstance(items[0], tuple)
        videos = [item[0] if paired else item for item in items]
        lengths = torch.tensor([0, *(len(each) for each in videos)])
        together = (torch.cat(videos), torch.cumsum(lengths, 0))
        return (*together, torch.stack([item[1] for item in items])) if paired else together
