"""Classic image features: VGG-19's fc7, which the hashing systems of the paper read, and any vision backbone.

Doc2Vec, their text feature, is in `fico_utils.data.text`, for captions of any corpus.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from fico_utils.data.corpus import Corpus
from fico_utils.errors import InputError
from fico_utils.extras.pretrained.files import files_key, image_processor, locate, network, read_config
from fico_utils.extras.pretrained.prepared import Pictures, Preparation
from fico_utils.extras.pretrained.streaming import Side, stream
from fico_utils.workspace import key_of, sha256_file

#: Channels of VGG-19's convolutions, in multiples of the first; 0 halves the picture (Simonyan and Zisserman 2015, E).
_VGG19 = (1, 1, 0, 2, 2, 0, 4, 4, 4, 4, 0, 8, 8, 8, 8, 0, 8, 8, 8, 8, 0)
_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
KINDS = ("pooled", "cls", "patches")
#: A layer of the usual backbones holds at most so many times the bytes of a picture (VGG-19's first: 43).
_HELD = 48


class VGG19(nn.Module):
    """Pictures (B, 3, 224, 224), normalised -> fc7 (B, hidden), after the ReLU. Names are torchvision's.

    Parameters
    ----------
    width, hidden : int, channels of the first layer and width of fc6 and fc7; 64 and 4096 as published.
    """

    def __init__(self, width: int = 64, hidden: int = 4096) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for times in _VGG19:
            if times:
                layers += [nn.Conv2d(channels, times * width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = times * width
            else:
                layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        # torchvision's classifier, less its dropout in use and its last layer, which names ImageNet's classes
        self.classifier = nn.ModuleDict({"0": nn.Linear(49 * channels, hidden), "3": nn.Linear(hidden, hidden)})

    def forward(self, pictures: Tensor) -> Tensor:
        maps = F.adaptive_avg_pool2d(self.features(pictures), 7).flatten(1)
        return F.relu(self.classifier["3"](F.relu(self.classifier["0"](maps))))


@dataclass(frozen=True)
class Extractor:
    """A network that turns pictures into features.

    Attributes
    ----------
    name : str, ``global`` or ``regions``: what its features are to our systems.
    preparation : Preparation, how its pictures are cut and normalised.
    compute : callable, pictures (B, 3, H, W) float32, normalised -> features (B, d) or (B, R, d).
    key : str, of its weights and of how they are used.
    device : torch.device
    """

    name: str
    preparation: Preparation
    compute: Callable[[Tensor], Tensor]
    key: str
    device: torch.device

    def encode(self, values: Tensor) -> Tensor:
        """Features float32 on the CPU of what `Pictures` gives."""
        return self.compute(self.preparation.pixels(values.to(self.device))["pixel_values"]).float().cpu()


def load_vgg19(path: str | Path, device: str = "cpu") -> Extractor:
    """VGG-19 from a file with torchvision's state dict: features ``global`` (n, 4096).

    Parameters
    ----------
    path : .safetensors, or .pth, of which nothing but tensors is unpickled. torchvision's own is vgg19-dcbb9e9d.pth.

    Raises
    ------
    InputError
        No such file, a truncated one, one that holds other Python objects, or weights of another network.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"there is no file {path}; expected VGG-19's state dict, such as torchvision's vgg19-dcbb9e9d.pth: get it "
            "from download.pytorch.org/models"
        )
    state = _tensors(path)
    try:
        model = VGG19(len(state["features.0.weight"]), len(state["classifier.3.weight"]))
        model.load_state_dict({n: t.float() for n, t in state.items() if not n.startswith("classifier.6.")})
    except (KeyError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path} holds no VGG-19 as torchvision names its weights ({reason})") from None
    for name, tensor in model.state_dict().items():
        if not tensor.isfinite().all():
            raise InputError(f"{path}: {name} holds NaN or infinity; get the file again")
    processor = transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}, resample=2, **_IMAGENET
    )
    model = model.to(device).eval()
    key = key_of("VGG-19 fc7", sha256_file(path))
    return Extractor("global", Preparation(processor), model, key, torch.device(device))


def _tensors(path: Path) -> dict[str, Tensor]:
    """The state dict in a file, of which nothing but tensors is unpickled."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever the bytes of a foreign file make of it
        kind = "safetensors file" if isinstance(error, SafetensorError) else "file of tensors alone"
        raise InputError(f"{path} is truncated or no {kind}, and nothing else in it is loaded; get it again") from None
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise InputError(f"{path} holds no state dict; expected tensors by name, as model.state_dict() gives them")
    return state


def load_backbone(path: str, kind: str = "cls", *, revision: str = "", device: str = "") -> Extractor:
    """Any vision model of transformers as an extractor of global or patch features.

    Parameters
    ----------
    path : str, a folder or a hub id. Of a dual encoder, such as CLIP, the vision tower serves.
    kind : str, ``pooled``: what the model itself makes of a picture; ``cls``: the first token; both ``global`` (n, d).
        ``patches``: ``regions`` (n, R, d), one a patch or cell, row by row, without the tokens that are none.

    Raises
    ------
    InputError
        Another kind, or one that the model has not; see also `pretrained_files`.
    """
    if kind not in KINDS:
        raise InputError(f"features of kind {kind!r} were asked for; expected one of {', '.join(KINDS)}")
    folder = locate(path, revision)
    read_config(folder)
    whole = network(
        transformers.AutoModel, folder, torch.float32, device, optional="" if kind == "pooled" else "pooler"
    )
    model = getattr(whole, "vision_model", whole)
    if getattr(model, "main_input_name", "pixel_values") != "pixel_values":
        raise InputError(f"{folder} holds a {type(model).__name__}, which reads no pictures; expected a vision model")
    place = next(model.parameters()).device

    def compute(pictures: Tensor) -> Tensor:
        return _features(model, pictures, kind)

    name = "regions" if kind == "patches" else "global"
    return Extractor(name, Preparation(image_processor(folder)), compute, key_of(files_key(folder), kind), place)


def _features(model: nn.Module, pictures: Tensor, kind: str) -> Tensor:
    """Features of one kind from what a vision model returns."""
    out = model(pixel_values=pictures)
    if kind == "pooled":
        pooled = getattr(out, "pooler_output", None)
        if pooled is None:
            raise InputError(f"{type(model).__name__} does not pool its pictures; ask for cls or patches")
        return pooled.flatten(1)
    states = out.last_hidden_state
    if states.ndim == 4:  # maps (B, d, h, w) of a convolutional network
        extra, states = 0, states.flatten(2).transpose(1, 2)
    else:
        patch = getattr(model.config, "patch_size", None)
        patch = patch if isinstance(patch, int) else max(pictures.shape[-2:])
        # towers that merge patches on their way have fewer states than patches, and no token besides
        extra = max(0, states.shape[1] - (pictures.shape[2] // patch) * (pictures.shape[3] // patch))
    if kind == "patches":
        return states[:, extra:]
    if not extra:
        raise InputError(f"{type(model).__name__} has no token that speaks for a picture; ask for pooled or patches")
    return states[:, 0]


def visual_features(
    extractor: Extractor,
    corpus: Corpus,
    path: str | Path,
    *,
    memory_mib: int = 512,
    workers: int = 2,
    progress: bool = True,
) -> dict[str, np.ndarray]:
    """Features of a corpus's pictures by name, float16, memory-mapped from `path`; a killed run goes on there.

    Parameters
    ----------
    memory_mib : int, MiB that a batch may take.
    """
    if memory_mib < 1:
        raise InputError(f"memory_mib is {memory_mib}; expected a number of MiB from 1")
    pictures = Pictures(corpus, extractor.preparation)
    held = _HELD * 4 * pictures[:1].size
    batch = max(1, min(256, (memory_mib << 20) // held))
    side = Side(len(pictures), lambda rows: torch.from_numpy(pictures[rows]), extractor.encode, batch)
    return stream(
        path,
        {extractor.name: side},
        key_of(corpus.key, pictures.key, extractor.key),
        dtype="float16",
        label=f"{extractor.name} features of {corpus.name}",
        workers=workers,
        progress=progress,
    )
