"""How ``--set NAME=VALUE`` becomes a value of the right type.

papermill only warns of a parameter that no notebook has, so that a slip of the pen would pass in silence: here it is
refused before anything starts.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from fico_utils.errors import InputError
from fico_utils.profiles import check_parameter

#: Parameters with an option of their own.
RESERVED = {"profile": "--profile", "out_dir": "--out"}


def read_overrides(texts: Iterable[str], known: dict[str, Any]) -> dict[str, Any]:
    """Name -> value of texts such as ``seed=1``, each of the type of its entry in `known`.

    Values are YAML literals; a list may be given as ``1,5,10``; a mapping is laid over the default, so that
    ``epochs={scan: 2}`` leaves the other systems alone.

    Raises
    ------
    InputError
        No ``=``, an unknown name (the closest one is suggested), or a value of another type.

    >>> read_overrides(["seed=3", "recall_at=1,5"], {"seed": 0, "recall_at": [1]})
    {'seed': 3, 'recall_at': [1, 5]}
    """
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise InputError(f"--set was given {text!r}; expected NAME=VALUE, such as --set seed=1")
        if name in RESERVED:
            raise InputError(f"--set {name} is not possible; use {RESERVED[name]}")
        if name not in known:
            raise InputError(f"unknown parameter {name!r}; {suggest_name(name, known)} (--set was given {text!r})")
        values[name] = _value(name, value.strip(), known[name])
    return values


def suggest_name(name: str, known: Iterable[str]) -> str:
    """``did you mean ...?`` for a slip of the pen, the list of names for anything else."""
    known = [k for k in known if k not in RESERVED]
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(sorted(known))}"


def _value(name: str, text: str, default: Any) -> Any:
    import yaml

    try:
        value = yaml.safe_load(text)
        if isinstance(default, list) and not isinstance(value, list):
            value = yaml.safe_load(f"[{text}]")
    except yaml.YAMLError as error:
        raise InputError(f"parameter {name} was given {text!r}; expected a literal such as {default!r}") from error
    if isinstance(default, dict) and isinstance(value, dict):
        for key in value:
            if default and key not in default:
                raise InputError(f"parameter {name} has no entry {key!r}; {suggest_name(str(key), default)}")
        return {**default, **{k: _like(name, v, default.get(k, v)) for k, v in value.items()}}
    if isinstance(default, list) and isinstance(value, list) and default:
        value = [_like(name, v, default[0]) for v in value]
    return check_parameter(name, _like(name, value, default, text), default)


def _like(name: str, value: Any, default: Any, text: str | None = None) -> Any:
    """`value`, read as text or float where `default` is one and YAML saw something else (10, 1e-3)."""
    if isinstance(default, str) and not isinstance(value, list | dict):
        return value if isinstance(value, str) else text or str(value)
    if isinstance(default, float) and isinstance(value, int | str) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            return value
    return check_parameter(name, value, default)
