"""A run: its profile, seed, folder and store, and `setup`, the first line of every notebook."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fico_utils import registry
from fico_utils.artifacts import Store
from fico_utils.errors import InputError
from fico_utils.machine import package_version, peak_memory
from fico_utils.profiles import check_parameter, profile_settings
from fico_utils.provenance import PACKAGE, PROJECT

#: The variable in which the runner hands the settings of a batch, as JSON, to each notebook.
_SETTINGS = "FICO_UTILS_SETTINGS"
#: What native thread pools read when their library is loaded.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Run:
    """One profile with one seed writing to one folder."""

    profile: str
    seed: int
    root: Path  # <out_dir>/<profile>; every artefact lies below it
    settings: dict[str, Any]  # every parameter of the profile, as overridden
    shipped: str = ""  # profile whose shipped weights serve, for a run that reads nothing else
    started: float = field(default_factory=time.monotonic)  # seconds

    def __getitem__(self, name: str) -> Any:
        """A parameter of the profile."""
        if name not in self.settings:
            raise InputError(f"profile {self.profile} has no parameter {name!r}; it has {', '.join(self.settings)}")
        return self.settings[name]

    @property
    def run_id(self) -> str:
        """What the `run` column of the result tables says: profile and seed."""
        return f"{self.profile}-s{self.seed}"

    @property
    def stamp(self) -> str:
        """Where a number came from, in words, for captions: ``mini profile, seed 0, ours``."""
        return f"{self.profile} profile, seed {self.seed}, ours"

    @cached_property
    def store(self) -> Store:
        """The run's store of artefacts."""
        return Store(self.root, {"run": self.run_id, "threads": self.settings.get("threads")})

    def path(self, *parts: str) -> Path:
        """Path of an artefact below the run's root."""
        return self.root.joinpath(*parts)

    def record(self) -> None:
        """Print the closing line of a notebook: seconds, peak memory, where the artefacts are."""
        seconds, peak = time.monotonic() - self.started, peak_memory() / 2**30
        print(f"{seconds:.0f} s, peak memory {peak:.2f} GiB, artefacts in {self.root}/")


def set_threads(n: int) -> None:
    """Pin the native thread pools of this process (BLAS, OpenMP, torch, FAISS) to `n` threads."""
    for name in _THREAD_VARIABLES:
        os.environ[name] = str(n)  # for libraries not loaded yet
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(n)
    if "faiss" in sys.modules:
        sys.modules["faiss"].omp_set_num_threads(n)


def setup(profile: str = "mini", seed: int = 0, out_dir: str = "results", **parameters: Any) -> Run:
    """The `Run` of a notebook: checks its parameters, seeds, pins threads, prints one line.

    InputError where a profile or parameter is unknown, or a value has another type.

    Parameters
    ----------
    profile : str, one of the files in ``configs/``.
    seed : int, seed of every generator of the run.
    out_dir : str, folder of all results; relative to the project's root.
    **parameters : the notebook's own parameters, over those of the profile.
    """
    settings = profile_settings(profile)
    settings |= json.loads(os.environ.get(_SETTINGS, "{}"))
    for name, value in {"seed": seed, "out_dir": out_dir, **parameters}.items():
        if name not in settings:
            raise InputError(f"unknown parameter {name!r}; profile {profile} knows {', '.join(settings)}")
        settings[name] = check_parameter(name, value, settings[name])
    registry.use_rows(settings, PROJECT / settings["data_dir"])
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # an accidental download fails instead of hanging
    set_threads(settings["threads"])
    # the package passes generators of its own; these serve libraries that draw from a global one
    random.seed(seed)
    np.random.seed(seed)
    torch = sys.modules.get("torch")
    if torch:
        torch.manual_seed(seed)
    if "pandas" in sys.modules:  # a table shows a caption, or the word <start>, as it was written
        sys.modules["pandas"].set_option("styler.format.escape", "html")
    shown = ("numpy", "torch", "transformers", "faiss-cpu")
    versions = ", ".join(f"{name} {package_version(name) or 'missing'}" for name in shown)
    device = "cuda" if torch and torch.cuda.is_available() else "cpu"
    print(f"profile {profile} · seed {seed} · {settings['threads']} threads · {device} · {versions}")
    return Run(profile, seed, PROJECT.joinpath(out_dir, profile), settings)


def kernel_environment(settings: dict[str, Any], threads: int) -> dict[str, str]:
    """Variables of a kernel in which `setup` takes some settings over those of its profile, on so many threads."""
    return {
        **os.environ,
        **dict.fromkeys((*_THREAD_VARIABLES, "NUMBA_NUM_THREADS"), str(threads)),
        _SETTINGS: json.dumps(settings),
        "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PYTHONHASHSEED": "0",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
