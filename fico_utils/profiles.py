"""Profiles: the parameters of a run, one file each over a common base, and what ``--set`` changes in them.

``configs/base.yaml`` holds every parameter; ``configs/<profile>.yaml`` holds what differs. Both are papermill files. An
unknown parameter, of which papermill only warns, is refused here. Values have the types of those in the base.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from copy import deepcopy
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

from fico_utils.errors import InputError
from fico_utils.escaping import one_line
from fico_utils.provenance import PROJECT, project_path

CONFIGS = project_path("configs")
#: The file that every profile starts from; it is no profile itself.
BASE = "base"
#: Parameters with an option of their own.
RESERVED = {"profile": "--profile", "out_dir": "--out"}


def profile_names() -> list[str]:
    """Names of all profiles, sorted."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem != BASE)


def profile_settings(profile: str, changes: Sequence[str] = ()) -> dict[str, Any]:
    """Every parameter of a profile, as ``configs/<profile>.yaml`` and the texts of ``--set`` change those of the base.

    InputError where there is no such profile, or where a parameter is given that the base lacks or has otherwise.
    """
    if profile not in profile_names():
        raise InputError(f"unknown profile {profile!r}; expected one of {', '.join(profile_names())}")
    paths = [CONFIGS / f"{name}.yaml" for name in (BASE, profile)]
    base, own = (deepcopy(_parsed(path, path.stat().st_mtime_ns)) for path in paths)
    for name, value in own.items():
        if name not in base:
            raise InputError(f"configs/{profile}.yaml has a parameter {name!r}, which configs/{BASE}.yaml lacks")
        check_parameter(name, value, base[name])
    settings = base | own
    return settings | read_overrides(changes, settings)


@lru_cache(maxsize=64)
def _parsed(path: Path, _stamp: int) -> dict[str, Any]:
    """The content of a file, parsed once for each state of it, as serving a system asks for it many times."""
    expected = f"configs/{path.name} is not read as parameters; expected lines such as seed: 0, in UTF-8"
    content = read_yaml(path.read_bytes(), expected)
    if not isinstance(content, dict):
        raise InputError(expected)
    return content


def read_yaml(text: str | bytes, refusal: str) -> Any:
    """The value of a text in YAML; InputError, which begins with `refusal`, where it is none, too deep, or has aliases.

    Brackets in brackets take quadratic time, and a short text of aliases may stand for millions of parts.
    """
    import yaml

    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        if text.count("[") + text.count("{") > 100:
            raise ValueError("it has more than 100 opening brackets")
        if "*" in text and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ValueError("it has an alias, such as *name")
        return yaml.safe_load(text)
    except Exception as error:  # whatever the parser makes of a stranger's text
        raise InputError(f"{refusal} ({one_line(str(error) or type(error).__name__)[:200]})") from None


def check_parameter(name: str, value: Any, default: Any) -> Any:
    """`value`, if it has the type of `default` (an int passes for a float) and can be read; InputError otherwise."""
    expected = type(default)
    if type(value) is not expected and not (expected is float and type(value) is int):
        raise InputError(
            f"parameter {name} was given {value!r} ({type(value).__name__}); "
            f"expected {expected.__name__}, such as {default!r}"
        )
    if expected is list and default and any(type(v) is not type(default[0]) for v in value):
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


def read_overrides(texts: Iterable[str], known: dict[str, Any]) -> dict[str, Any]:
    """Name -> value of texts such as ``seed=1``, each of the type of its entry in `known`; InputError for all others.

    Values are YAML literals; a list may be given as ``1,5,10``; a mapping is laid over the default, so that
    ``epochs={scan: 2}`` leaves the other systems alone.

    >>> read_overrides(["seed=3", "recall_at=1,5"], {"seed": 0, "recall_at": [1]})
    {'seed': 3, 'recall_at': [1, 5]}
    """
    values = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name:
            raise InputError(f"--set was given {text!r}; expected NAME=VALUE, such as --set seed=1")
        if name in RESERVED:
            raise InputError(f"--set {name} is not possible; use {RESERVED[name]}")
        if name not in known:
            raise InputError(f"unknown parameter {name!r}; {suggest_name(name, known)} (--set was given {text!r})")
        values[name] = _read_value(name, value, known[name])
    return values


def suggest_name(name: str, known: Iterable[str]) -> str:
    """``did you mean ...?`` for a slip of the pen, the list of names for anything else."""
    known = [k for k in known if k not in RESERVED]
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(sorted(known))}"


def _read_value(name: str, text: str, default: Any) -> Any:
    """The value that a text of ``--set`` stands for, of the type of `default`."""
    expected = f"parameter {name} was given {text!r}; expected a literal such as {default!r}"
    value = read_yaml(text, expected)
    if isinstance(default, list) and not isinstance(value, list):
        value = read_yaml(f"[{text}]", expected)
    if isinstance(default, dict) and isinstance(value, dict):
        for key, item in value.items():
            if default and key not in default:
                raise InputError(f"parameter {name} has no entry {key!r}; {suggest_name(str(key), default)}")
            like = default.get(key, item)
            value[key] = check_parameter(name, _converted(item, like, str(item)), like)
        return default | value
    if isinstance(default, list) and default:
        value = [_converted(item, default[0], str(item)) for item in value]
    return check_parameter(name, _converted(value, default, text), default)


def _converted(value: Any, default: Any, text: str) -> Any:
    """`value`, as the `text` that it stood in, or as a float, where `default` is one and YAML saw another type."""
    if isinstance(default, str) and not isinstance(value, str | list | dict):
        return text
    if isinstance(default, float) and isinstance(value, int | str) and not isinstance(value, bool):
        with suppress(ValueError):
            return float(value)  # YAML reads 1e-3 as text
    return value
