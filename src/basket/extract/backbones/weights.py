"""From what a user names (a folder, a hub repository) to a checked folder of files.

Only these files are ever taken: ``config.json``, the preprocessor's, safetensors, and where text is
compared the tokenizer's. Pickled weights run code when opened, and are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from basket.errors import NotThereError, WeightsError
from basket.extract.backbones.catalogue import Checkpoint

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
#: What checkpoints that came with a video processor (V-JEPA 2) call the same file.
VIDEO_PREPROCESSOR = "video_preprocessor_config.json"
#: What transformers 5 saves: the same values, nested under one of these names.
PROCESSOR = "processor_config.json"
_NESTED = ("image_processor", "video_processor")
SINGLE = "model.safetensors"
_WHOLE = (
    f"a checkpoint folder needs {CONFIG}, {SINGLE} (or its shards) and {PREPROCESSOR}: name "
    "or copy the whole folder"
)
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_config.json"

#: Written into config.json by whoever saves weights that were never trained.
RANDOM_MARKER = "basket_random_weights"

#: What a CLIP tokenizer is read from: one of the first two ways, and its settings.
TOKENIZER = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)

_WANTED = (
    CONFIG,
    PREPROCESSOR,
    VIDEO_PREPROCESSOR,
    PROCESSOR,
    SINGLE,
    INDEX,
    "model-*.safetensors",
)
#: What else people call weights: pattern of file names -> what it is, and what to do.
_OTHERS = {
    "*.onnx": "an ONNX export; take the weights that it was made from",
    "*.gguf": "a quantised GGUF file; take the weights that it was made from",
    "*.bin": "only pickled weights ({}), which can run code; convert them with save_pretrained in "
    "a trusted place, or name a --revision that holds safetensors",
    "*.pt*": "only pickled weights ({}), which can run code; load and save_pretrained them in a "
    "trusted place",
    "*.ckpt*": "only pickled or TensorFlow weights ({}); load and save_pretrained them in a "
    "trusted place",
    "*.h5": "only weights of TensorFlow ({}); take the repository's safetensors",
    "*.msgpack": "only weights of Flax ({}); take the repository's safetensors",
    "*.safetensors": "only {}; name the file model.safetensors if it holds the whole network",
}
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ANSWER_S = 10.0


@dataclass(frozen=True)
class CheckpointFolder:
    """A folder in the Hugging Face format whose files are all there.

    Parameters
    ----------
    path : Path
    name : str
        For display and feature sets: the catalogue name, or ``<family>/<folder>``.
    origin : str
        Repository or folder, as named by the user or the catalogue.
    revision : str
        Commit that the hub resolved; empty for a local folder.
    licence : str
    config, preprocessor : mapping
        The two JSON files.
    weight_files : tuple of Path
        One, or the shards.
    """

    path: Path
    name: str
    origin: str
    revision: str
    licence: str
    config: Mapping[str, Any]
    preprocessor: Mapping[str, Any]
    weight_files: tuple[Path, ...]

    @property
    def random_weights(self) -> bool:
        """True where config.json says that these weights were never trained."""
        return bool(self.config.get(RANDOM_MARKER, False))


def locate(
    checkpoint: Checkpoint,
    *,
    weights: str | Path | None = None,
    revision: str | None = None,
    text: bool = False,
    untrained: bool = False,
) -> CheckpointFolder:
    """Find a checkpoint's files, downloading them where they are neither given nor cached.

    Parameters
    ----------
    checkpoint : Checkpoint
    weights : str or Path or None
        A local folder or a hub repository; None: the checkpoint's own repository.
    revision : str or None
        Commit, branch or tag on the hub; None: the one pinned in the catalogue, else ``main``.
    text : bool, default=False
        Download tokenizer files too.
    untrained : bool, default=False
        The weights were never trained, says who names them: they are labelled random.

    Raises
    ------
    NotThereError
        No such folder, or one without a checkpoint.
    WeightsError
        Files missing, pickled weights only, or the hub cannot be reached and no
        copy is cached. ``HF_HOME`` and ``HF_HUB_OFFLINE`` are honoured.
    """
    folder = Path(weights).expanduser() if weights is not None else None
    if folder is not None and folder.is_dir():
        if (folder / ADAPTER).is_file():
            raise WeightsError(
                f"{weights} is an adapter (LoRA), which changes the weights of another network; "
                "merge it into them (peft's merge_and_unload, then save_pretrained) and name that "
                "folder"
            )
        if not (folder / CONFIG).exists():
            raise NotThereError(f"{weights} is no checkpoint folder: it has no {CONFIG}; {_WHOLE}")
        return _checked(folder, checkpoint, str(weights), revision="", untrained=untrained)
    repo = checkpoint.repo if weights is None else str(weights)
    if not _REPOSITORY.fullmatch(repo):
        raise NotThereError(
            f"There is no folder {repo!r}; expected one with {CONFIG}, {SINGLE} and "
            f"{PREPROCESSOR}, or a hub repository such as MCG-NJU/videomae-base"
        )
    pinned = checkpoint.revision if repo == checkpoint.repo else ""
    path = _download(repo, revision or pinned or "main", text=text)
    commit = path.name if _COMMIT.fullmatch(path.name) else ""
    return _checked(path, checkpoint, repo, revision=commit, untrained=untrained)


def require_model_type(folder: CheckpointFolder, family: str, model_types: tuple[str, ...]) -> None:
    """Refuse a checkpoint of another architecture.

    Raises
    ------
    WeightsError
        ``model_type`` in config.json is another.
    """
    found = folder.config.get("model_type")
    if found not in model_types:
        needs = " or ".join(map(repr, model_types))
        raise WeightsError(
            f"{folder.origin} holds a model of type {found!r}, but {family} needs {needs}; "
            f"choose the matching --model, or {family} weights"
        )


def _checked(
    path: Path, checkpoint: Checkpoint, origin: str, *, revision: str, untrained: bool
) -> CheckpointFolder:
    config = _read_json(path, CONFIG, origin)
    if quantised := config.get("quantization_config"):
        method = quantised.get("quant_method") if isinstance(quantised, dict) else quantised
        raise WeightsError(
            f"{origin} is quantised ({method}); name the full network that it was made from"
        )
    for values in (config, *(each for each in config.values() if isinstance(each, dict))):
        for name, value in values.items():
            if name.startswith("num_") and isinstance(value, int) and value < 0:
                raise WeightsError(f"{path / CONFIG} says {name} {value}; copy the file again")
    if untrained:
        config[RANDOM_MARKER] = True
    preprocessor = _preprocessor(path, origin)
    known = origin == checkpoint.repo
    stem = path.resolve().name if not revision else origin.rpartition("/")[2]
    name = checkpoint.name if known else f"{checkpoint.family}/{stem}"
    if config.get(RANDOM_MARKER) and "random" not in name:
        name += "-random"
    return CheckpointFolder(
        path=path,
        name=name,
        origin=origin,
        revision=revision,
        licence=checkpoint.licence if known else "see checkpoint",
        config=config,
        preprocessor=preprocessor,
        weight_files=_weight_files(path, origin),
    )


def _preprocessor(path: Path, origin: str) -> dict[str, Any]:
    """The values that transformers would take: nested ones first, then the file of their own."""
    if (path / PROCESSOR).is_file():
        document = _read_json(path, PROCESSOR, origin)
        for name in _NESTED:
            nested = document.get(name)
            if isinstance(nested, dict):
                return nested
    named = PREPROCESSOR
    if not (path / PREPROCESSOR).is_file() and (path / VIDEO_PREPROCESSOR).is_file():
        named = VIDEO_PREPROCESSOR
    return _read_json(path, named, origin)


def _read_json(path: Path, name: str, origin: str) -> dict[str, Any]:
    file = path / name
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"{origin} has no {name}; {_WHOLE}") from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file} cannot be read as JSON ({error}); copy it again") from error
    if not isinstance(document, dict):
        raise WeightsError(f"{file} is not a JSON object; copy it again")
    return document


def _weight_files(path: Path, origin: str) -> tuple[Path, ...]:
    """The safetensors files that transformers would load: the single one first, else the index."""
    if (path / SINGLE).is_file():
        return (path / SINGLE,)
    if not (path / INDEX).is_file():
        found = (
            (told, sorted(each.name for each in path.glob(like))) for like, told in _OTHERS.items()
        )
        told = next((told.format(names[0]) for told, names in found if names), f"none; {_WHOLE}")
        raise WeightsError(f"{origin} has no {SINGLE}: found {told}")
    weight_map = _read_json(path, INDEX, origin).get("weight_map")
    listed = weight_map.values() if isinstance(weight_map, dict) else ()
    names = sorted({str(name) for name in listed})
    # An index is a file from elsewhere: it may name files of its own folder only.
    if not names or any(Path(name).name != name for name in names):
        raise WeightsError(
            f"{path / INDEX} does not list the shards of its own folder under 'weight_map'; copy "
            "it again"
        )
    absent = [name for name in names if not (path / name).is_file()]
    if absent:
        raise WeightsError(
            f"{origin} lacks {len(absent)} of {len(names)} weight files, first {absent[0]}; "
            "copy the whole folder"
        )
    return tuple(path / name for name in names)


def _download(repo: str, revision: str, *, text: bool) -> Path:
    """Fetch, or find in the cache, the files of one revision; a cached commit needs no network."""
    from huggingface_hub import HfApi, snapshot_download

    cached = _cached(repo, revision, text=text)
    wanted = [*_WANTED, *(TOKENIZER if text else ())]
    if cached is not None and _COMMIT.fullmatch(revision):
        return cached
    try:
        # One quick question first: the download itself retries for half a minute when offline.
        commit = HfApi().model_info(repo, revision=revision, timeout=_ANSWER_S).sha
        return Path(snapshot_download(repo, revision=commit, allow_patterns=wanted))
    except Exception as error:  # the hub client, its HTTP library and the disk each raise their own
        if cached is not None:
            return cached  # a branch, last resolved when there was a network
        reason = " ".join(str(error).split())[:160]
        raise WeightsError(
            f"{repo} (revision {revision}) is neither a folder here, nor cached, nor could it be "
            f"fetched ({type(error).__name__}: {reason}); on a machine with network run "
            f"'hf download {repo} --revision {revision} --local-dir DIR', copy DIR here and pass "
            "--weights DIR"
        ) from error


def _cached(repo: str, revision: str, *, text: bool) -> Path | None:
    """The cached files of a revision, when all are there."""
    from huggingface_hub import snapshot_download

    try:
        path = Path(snapshot_download(repo, revision=revision, local_files_only=True))
    except (OSError, ValueError):
        return None
    whole = (path / CONFIG).is_file() and any(path.glob("*processor_config.json"))
    readable = not text or any((path / name).is_file() for name in TOKENIZER[:2])
    return path if whole and readable and any(path.glob("*.safetensors")) else None
