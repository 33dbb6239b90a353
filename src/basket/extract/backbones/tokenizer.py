"""The tokenizer of a checkpoint that compares video with text: its digest, phrases to numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from basket.errors import UsageError, WeightsError
from basket.extract.backbones.weights import TOKENIZER, CheckpointFolder

if TYPE_CHECKING:
    import torch


def digest_tokenizer(folder: CheckpointFolder) -> str:
    """SHA-256 over the names and bytes of the tokenizer files: 64 hex digits.

    Raises
    ------
    WeightsError
        There are none.
    """
    present = [name for name in sorted(TOKENIZER) if (folder.path / name).is_file()]
    if not {"tokenizer.json", "vocab.json"} & set(present):
        raise WeightsError(
            f"{folder.origin} has no tokenizer (tokenizer.json, or vocab.json and merges.txt), "
            "which the stream 'prompts' needs; copy the whole folder"
        )
    digest = hashlib.sha256()
    for name in present:
        content = (folder.path / name).read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def tokenize(
    folder: CheckpointFolder, texts: Sequence[str], *, limit: int
) -> dict[str, torch.Tensor]:
    """Phrases to what the text tower takes.

    Parameters
    ----------
    folder : CheckpointFolder
    texts : sequence of str
    limit : int
        Tokens a text may have, its beginning and end included.

    Returns
    -------
    dict of str to torch.Tensor
        ``input_ids`` and ``attention_mask``, int64 ``(len(texts), longest)``.

    Raises
    ------
    UsageError
        A phrase is longer: its end would silently be cut off.
    WeightsError
        The tokenizer files are damaged.
    """
    tokenizer = _load(folder)
    # Padding is inert: it follows the end mark, where the tower reads, and attention is causal.
    encoded = tokenizer(list(texts), padding=True, return_tensors="pt")
    lengths = encoded["attention_mask"].sum(dim=1)
    if int(lengths.max()) > limit:
        text, length = texts[int(lengths.argmax())], int(lengths.max())
        raise UsageError(
            f"the prompt {text!r} is {length} tokens long, {folder.name} reads {limit}; shorten it"
        )
    return {name: encoded[name] for name in ("input_ids", "attention_mask")}


def _load(folder: CheckpointFolder) -> Any:
    from transformers import CLIPTokenizer

    try:
        return CLIPTokenizer.from_pretrained(
            str(folder.path), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # transformers and tokenizers each raise their own
        reason = " ".join(str(error).split())[:160]
        raise WeightsError(
            f"{folder.origin}: its tokenizer cannot be read ({reason}); copy its files again"
        ) from error
