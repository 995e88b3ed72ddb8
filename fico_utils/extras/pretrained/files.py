"""A pretrained model from its files: where they lie, whether they are whole, and what transformers makes of them.

Weights are safetensors; nothing is unpickled, and no code that comes with a checkpoint is run.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from fico_utils.errors import InputError
from fico_utils.extras.corpora.reading import first_line, read_json_object
from fico_utils.files import key_of, note, sha256_file

#: What is fetched of a hub repository, and what a model's key is made of: no pickled weights, no code.
WANTED = ("*.json", "*.safetensors", "*.txt", "*.model")
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def find_folder(path: str, revision: str = "") -> Path:
    """The folder of a pretrained model: `path` itself, or the copy of the hub repository of that name.

    InputError where there is neither such a folder nor a copy of the repository (of its branch, tag or commit
    `revision`).
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if not _HUB_ID.fullmatch(path) or path.startswith("."):
        raise InputError(
            f"there is no folder {path}; expected one with config.json, model.safetensors and the files of the "
            f"tokenizer and the image processor: fill it with `hf download ORGANISATION/NAME --local-dir {path}`"
        )
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    try:
        return Path(
            snapshot_download(path, revision=revision or None, allow_patterns=list(WANTED), local_files_only=offline)
        )
    except (OSError, ValueError, HfHubHTTPError) as error:
        cache = Path(constants.HF_HUB_CACHE) / f"models--{path.replace('/', '--')}"
        reason = "HF_HUB_OFFLINE=1 keeps the hub off" if offline else f"the hub gave nothing ({first_line(error)})"
        raise InputError(
            f"the model {path} is neither a folder here nor in {cache}, and {reason}: run `hf download {path}` where "
            "there is a network, or give as path a folder that holds config.json, model.safetensors and the files "
            "of the tokenizer and the image processor"
        ) from None


def read_config(folder: Path) -> dict[str, Any]:
    """The content of a model's ``config.json``; InputError where it is missing or is no configuration."""
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{folder} has no config.json; expected a folder written by save_pretrained")
    config = read_json_object(path)
    if not isinstance(config.get("model_type"), str):
        raise InputError(f"{path} names no model_type; expected the configuration of a transformers model")
    return config


def _check_weights(folder: Path) -> None:
    """Refuses a model whose weights are pickles or lie outside its folder."""
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        return
    if not index.is_file():
        pickled = sorted(p.name for p in folder.iterdir() if p.suffix in (".bin", ".pt", ".pth", ".ckpt"))
        instead = f", only {pickled[0]}, which is a pickle and never loaded" if pickled else ""
        raise InputError(
            f"{folder} has no model.safetensors{instead}: get the safetensors file of the model, or convert it with "
            "save_pretrained on a machine that trusts it"
        )
    try:
        names = sorted(set(read_json_object(index)["weight_map"].values()))
        outside = [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]
    except (KeyError, TypeError, AttributeError):
        raise InputError(f"{index} is no index of safetensors files; get it again") from None
    if outside:
        raise InputError(f"{index} names {outside[0]!r}; expected safetensors files of its own folder only")


def files_key(folder: Path) -> str:
    """Key of a model's files: configuration, weights, tokenizer and image processor, by content."""
    files = sorted({file for pattern in WANTED for file in folder.glob(pattern)})
    for file in files:
        note("read", file)
    return key_of(*((file.name, _sha256(str(file), file.stat().st_size, file.stat().st_mtime_ns)) for file in files))


@lru_cache(maxsize=256)
def _sha256(path: str, _size: int, _changed: int) -> str:
    """SHA-256 of a file, read once as long as its size and time stay: gigabytes of weights take seconds."""
    return sha256_file(path)


def load_parts(network_class: type, folder: Path, dtype: torch.dtype, device: str = "") -> tuple[nn.Module, Any, Any]:
    """The network of a folder, ready to encode, its image processor and its tokenizer.

    The network is put on a GPU where there is one, if `device` is empty. The image processor has its Pillow form, which
    does without torchvision.

    InputError where there is no such device, files are missing or broken, or weights are those of another model.
    """
    _check_weights(folder)
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    options = {"dtype": dtype, "use_safetensors": True, "output_loading_info": True}
    network, loading = _load(folder, "network", network_class, **options)
    missing = sorted(loading["missing_keys"])
    if missing:
        raise InputError(
            f"{folder} lacks {len(missing)} weights of a {type(network).__name__}, such as {missing[0]}; get the "
            "checkpoint that was trained as one"
        )
    try:
        network = network.to(place).eval()
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"the device {place!r} cannot be used ({first_line(error)}); try cpu") from None
    processor = _load(folder, "image processor", transformers.AutoImageProcessor, backend="pil")
    if not any((folder / name).is_file() for name in _VOCABULARIES):  # transformers would make up an empty one
        raise InputError(f"{folder} has no tokenizer; expected one of {', '.join(_VOCABULARIES)}: get it again")
    return network, processor, _load(folder, "tokenizer", transformers.AutoTokenizer)


def _load(folder: Path, what: str, made_by: type, **options: Any) -> Any:
    """What a class makes of a folder; whatever a stranger's files make transformers raise becomes one sentence."""
    try:
        return made_by.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **options)
    except ImportError as error:
        raise InputError(f"the {what} of {folder} needs a package that is missing ({first_line(error)})") from None
    except Exception as error:
        raise InputError(
            f"the {what} of {folder} cannot be made from its files ({first_line(error)}); get them again"
        ) from None
