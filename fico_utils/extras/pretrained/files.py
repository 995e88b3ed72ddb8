"""A pretrained model from its files: where they lie, whether they are whole, and what transformers makes of them.

Weights are safetensors; nothing is unpickled, and no code that comes with a checkpoint is run.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from torch import nn

from fico_utils.errors import InputError
from fico_utils.extras.corpora.reading import first_line, read_json_object
from fico_utils.files import key_of, note, sha256_file

#: What is fetched of a hub repository, and what a model's key is made of: no pickled weights, no code.
WANTED = ("*.json", "*.safetensors", "*.txt", "*.model")
#: Files of which one must be there: without any, transformers makes up an empty tokenizer, or names the hub.
_NEEDED = {
    "tokenizer": ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model"),
    "image processor": ("preprocessor_config.json", "processor_config.json"),
}
#: Nothing is asked of the hub, and no code that lies with a model is run.
_LOCAL = {"local_files_only": True, "trust_remote_code": False}
#: Each layer that a configuration states is built before the weights show that there is none.
MOST_LAYERS = 1000
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
        raise InputError(
            f"{folder} has no config.json; expected a folder written by save_pretrained, or open_clip_config.json with "
            "open_clip_model.safetensors"
        )
    config = read_json_object(path)
    if not isinstance(config.get("model_type"), str):
        raise InputError(f"{path} names no model_type; expected the configuration of a transformers model")
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        for name, number in part.items():
            if name.endswith("layers") and isinstance(number, int | float) and number > MOST_LAYERS:
                raise InputError(f"{path} has {name} {number}; expected at most {MOST_LAYERS}: get the file again")
    return config


def _check_weights(folder: Path, name: str = "model.safetensors") -> None:
    """InputError where a model has no weights called `name`, only pickles, or parts of them lie outside its folder."""
    index = folder / f"{name}.index.json"
    if (folder / name).is_file():
        return
    if not index.is_file():
        pickled = sorted(p.name for p in folder.iterdir() if p.suffix in (".bin", ".pt", ".pth", ".ckpt"))
        instead = f", only {pickled[0]}, which is a pickle and never loaded" if pickled else ""
        raise InputError(
            f"{folder} has no {name}{instead}: get the safetensors file of the model, or convert it on a machine that "
            "trusts it, with save_pretrained of transformers or save_file of safetensors"
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


def load_network(network_class: type, folder: Path, dtype: torch.dtype, **converted: Any) -> nn.Module:
    """The network of a folder, ready; `converted` is ``config`` and ``state_dict`` where it was not saved whole.

    InputError where files are missing or broken, or weights are those of another model.
    """
    if not converted:
        _check_weights(folder)
    options = {**_LOCAL, "dtype": dtype, "use_safetensors": True, "output_loading_info": True, **converted}
    source = None if converted else folder
    logger = logging.getLogger("transformers.modeling_utils")  # what it reports of weights is judged here
    logger.disabled = True
    try:
        network, loading = load_part(folder, "network", network_class.from_pretrained, source, **options)
    finally:
        logger.disabled = False
    # what scales the cosines of a loss has no part in them
    missing = sorted(set(loading["missing_keys"]) - {"logit_scale", "logit_bias"})
    if missing:
        raise InputError(
            f"{folder} lacks {len(missing)} weights of a {type(network).__name__}, such as {missing[0]}; get the "
            "checkpoint that was trained as one"
        )
    return network.eval()


def load_weights(folder: Path, name: str = "model.safetensors") -> dict[str, torch.Tensor]:
    """The weights in one file of a folder, by name."""
    _check_weights(folder, name)
    return load_part(folder, "network", load_file, folder / name)


def load_processor(folder: Path) -> Any:
    """The image processor of a folder in its Pillow form, which does without torchvision."""
    make = transformers.AutoImageProcessor.from_pretrained
    return load_part(folder, "image processor", make, folder, backend="pil", **_LOCAL)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder."""
    return load_part(folder, "tokenizer", transformers.AutoTokenizer.from_pretrained, folder, **_LOCAL)


def load_part(folder: Path, what: str, make: Callable[..., Any], *source: Any, **options: Any) -> Any:
    """What `make` makes of a folder; whatever a stranger's files make transformers raise becomes one sentence."""
    names = _NEEDED.get(what, ())
    if names and not any((folder / name).is_file() for name in names):
        raise InputError(f"{folder} has no {what}; expected one of {', '.join(names)}: get it again")
    try:
        return make(*source, **options)
    except InputError:
        raise
    except ImportError as error:
        raise InputError(f"the {what} of {folder} needs a package that is missing ({first_line(error)})") from None
    except Exception as error:
        raise InputError(
            f"the {what} of {folder} cannot be made from its files ({first_line(error)}); get them again"
        ) from None
