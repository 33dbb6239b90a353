"""Refuse a VideoMAE whose attention biases were lost.

Checkpoints of 2022, and those that transformers writes to this day, call them ``q_bias`` and
``v_bias``; the modules of transformers 5 call them ``query.bias`` and ``value.bias``. Some releases
of version 5 do not know the old names and leave zeros, without an error (transformers#48675,
mteb#5094): features look plausible and are wrong. A checkpoint saved from such a model carries
the zeros itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from basket.errors import WeightsError
from basket.extract.backbones.tensors import StoredTensor, read_tensor
from basket.extract.backbones.weights import CheckpointFolder

#: Old names to new ones, for releases of transformers that lack the rule.
RENAMED = {
    r"attention\.attention\.q_bias": "attention.attention.query.bias",
    r"attention\.attention\.v_bias": "attention.attention.value.bias",
}

#: Both spellings; group 1 is the layer, group 2 or the first letter of group 3 the kind.
BIAS = re.compile(
    r"(?:^|\.)encoder\.layer\.(\d+)\.attention\.attention\.(?:(q|v)_bias|(query|value)\.bias)$"
)


def refuse_lost_biases(
    folder: CheckpointFolder, encoder: Any, tensors: Mapping[str, StoredTensor]
) -> None:
    """Compare every query and value bias of every layer with the file.

    Parameters
    ----------
    folder : CheckpointFolder
    encoder : transformers.VideoMAEModel
        As loaded, in float32.
    tensors : mapping of str to StoredTensor
        The file's own.

    Raises
    ------
    WeightsError
        A bias is not in the file, or the model holds another; or all query biases are zero, unless
        the weights are known to be random.
    """
    stored = {
        (int(found[1]), found[2] or found[3][0]): tensor
        for name, tensor in tensors.items()
        if (found := BIAS.search(name))
    }
    if not encoder.config.qv_bias:
        if stored:
            raise _lost(folder, "config.json says qkv_bias false, but the weights have them")
        return
    query_bias_seen = False
    for index, layer in enumerate(encoder.encoder.layer):
        attention = layer.attention.attention
        query = _same_bias(folder, stored.get((index, "q")), attention.query, f"query, {index}")
        _same_bias(folder, stored.get((index, "v")), attention.value, f"value, {index}")
        query_bias_seen |= bool(query.any())
    if not query_bias_seen and not folder.random_weights:
        raise _lost(
            folder,
            "every query bias is exactly zero, which training does not leave; for smoke tests "
            "--untrained lets such weights in and labels them random",
        )


def _same_bias(
    folder: CheckpointFolder, tensor: StoredTensor | None, linear: Any, place: str
) -> Any:
    import torch

    if tensor is None:
        raise _lost(folder, f"the file has none for {place}")
    bias = read_tensor(tensor).float()
    if linear.bias is None or not torch.equal(bias, linear.bias.detach().cpu()):
        raise _lost(folder, f"transformers did not load the one for {place}; use release 5.23")
    return bias


def _lost(folder: CheckpointFolder, reason: str) -> WeightsError:
    return WeightsError(
        f"{folder.origin}: attention biases were lost ({reason}); its features would be wrong, "
        "take the original checkpoint"
    )
