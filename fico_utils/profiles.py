"""Profiles: the parameters of a run, one file each over a common base, checked by the types of that base.

``configs/base.yaml`` holds every parameter; ``configs/<profile>.yaml`` holds what differs. Both are papermill files.
"""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

from fico_utils.errors import InputError
from fico_utils.provenance import PROJECT, project_folder

CONFIGS = project_folder("configs")
#: The file that every profile starts from; it is no profile itself.
BASE = "base"


def profile_names() -> list[str]:
    """Names of all profiles, sorted."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem != BASE)


def profile_settings(profile: str) -> dict[str, Any]:
    """Every parameter of a profile: those of ``configs/<profile>.yaml`` over those of ``configs/base.yaml``.

    Raises
    ------
    InputError
        There is no such profile, or its file holds a parameter that the base does not have, or one of another type.
    """
    if profile not in profile_names():
        raise InputError(f"unknown profile {profile!r}; expected one of {', '.join(profile_names())}")
    paths = [CONFIGS / f"{name}.yaml" for name in (BASE, profile)]
    base, own = (deepcopy(_parsed(path, path.stat().st_mtime_ns)) for path in paths)
    for name, value in own.items():
        if name not in base:
            raise InputError(f"configs/{profile}.yaml has a parameter {name!r}, which configs/{BASE}.yaml lacks")
        check_parameter(name, value, base[name])
    return base | own


@lru_cache(maxsize=64)
def _parsed(path: Path, _stamp: int) -> dict[str, Any]:
    """The content of a file, parsed once for each state of it, as serving a system asks for it many times."""
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8"))


def check_parameter(name: str, value: Any, default: Any) -> Any:
    """`value`, if it has the type of `default` (an int passes for a float) and can be read; InputError otherwise."""
    expected = type(default)
    same = isinstance(value, expected) and (isinstance(value, bool) == isinstance(default, bool))
    if not same and not (expected is float and type(value) is int):
        raise InputError(
            f"parameter {name} was given {value!r} ({type(value).__name__}); "
            f"expected {expected.__name__}, such as {default!r}"
        )
    if isinstance(value, list) and default and any(type(v) is not type(default[0]) for v in value):
        raise InputError(f"parameter {name} was given {value!r}; expected a list of {type(default[0]).__name__}")
    if name == "metrics":
        from fico_utils.evaluation import parse_metrics

        parse_metrics(value)
    return value


def results_folder(profile: str, out: str | None) -> Path:
    """Folder of a profile's results: `out` where it ends with the profile's name, else ``<out>/<profile>``.

    >>> results_folder("mini", "/data/results").as_posix()
    '/data/results/mini'
    """
    folder = PROJECT / "results" if out is None else Path(out).expanduser().absolute()
    return folder if folder.name == profile else folder / profile
