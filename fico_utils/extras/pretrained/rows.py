"""Rows of pretrained encoders, as the parameter ``pretrained`` of a profile names them; the paper's twelve stay."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fico_utils.errors import InputError
from fico_utils.models.serving import Embeds, Reranks
from fico_utils.registry import FAMILIES, SYSTEMS, System

#: What serves these rows.
PROVIDER = "fico_utils.extras.pretrained.embedding:PretrainedRows"
#: What `configured_rows` takes of a row, with the type of each.
_ROW = {"marker": str, "line": str, "shade": int, "name": str, "family": str, "measure": str, "weights": str}
#: What `embedding` takes of it: the checkpoint, and how it encodes.
SOURCE = {"path": str, "revision": str, "dtype": str, "device": str, "store": str, "memory_mib": int}
#: How a pretrained encoder's embeddings may be compared: approach and attention, as Table 1 says them.
_MEASURES = {
    "cosine": ("Dual", "None", Embeds()),
    "late": ("Dual", "None", Embeds(late=True)),
    "rerank": ("Dual+Fusion", "Fusion Rerank", Reranks()),
}
#: Markers that the paper's systems leave free; four lines each make the slots of configured rows, in their order.
_MARKERS, _LINES = ("p", "<", "d", "8", "H"), (":", "-", "--", "-.")


def configured_rows(pretrained: Mapping[str, Mapping[str, Any]]) -> dict[str, System]:
    """Rows of pretrained encoders by id, as a configuration names them.

    Each has a ``path`` (folder or hub id), or ``weights`` (another id whose checkpoint serves), and if wanted ``name``,
    ``family`` (vlp), ``measure`` (cosine; late or rerank of BLIP-2, rerank of BLIP), ``marker``, ``line``, ``shade``,
    and what `SOURCE` lists.

    InputError where an id is taken or would not do in a file name, a key, family or measure is unknown, a checkpoint is
    missing, two rows look the same, or there are more rows than looks.

    >>> configured_rows({"clip": {"path": "openai/clip-vit-base-patch32", "name": "CLIP ViT-B/32"}})["clip"].marker
    'p'
    """
    rows = {row_id: _row(row_id, given, n, pretrained) for n, (row_id, given) in enumerate(pretrained.items())}
    looks: dict[tuple, str] = {}
    for row in (*SYSTEMS.values(), *rows.values()):
        look = (row.marker, row.line, row.hollow)  # without the colour: a printer has none
        if look in looks:
            raise InputError(
                f"pretrained system {row.id!r} has marker {row.marker!r} and line {row.line!r} like {looks[look]!r}; "
                "choose another marker or line, or leave both out"
            )
        looks[look] = row.id
    return rows


def _row(system_id: str, given: Mapping[str, Any], place: int, pretrained: Mapping[str, Any]) -> System:
    where = f"pretrained system {system_id!r}"
    if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", str(system_id)) or system_id in (*SYSTEMS, "chance", "perfect"):
        raise InputError(f"{where} cannot be called so; expected lower-case letters, digits and _, and no id in use")
    if not isinstance(given, Mapping):
        raise InputError(f"{where} is {given!r}; expected settings such as {{path: openai/clip-vit-base-patch32}}")
    kinds = {**_ROW, **SOURCE}
    for key, value in given.items():
        if key not in kinds:
            raise InputError(f"{where} has a setting {key!r}; expected any of {', '.join(kinds)}")
        if type(value) is not kinds[key]:
            raise InputError(f"{where}: {key} is {value!r}; expected {kinds[key].__name__}")
    weights = given.get("weights", "")
    if bool(weights) == bool(given.get("path")):
        raise InputError(
            f"{where} names {'both path and' if weights else 'neither path nor'} weights; expected one of them"
        )
    if weights and "path" not in (pretrained.get(weights) or ()):
        raise InputError(
            f"{where} takes the weights of {weights!r}; expected the id of a pretrained system with a path"
        )
    family, measure = given.get("family", "vlp"), given.get("measure", "cosine")
    for key, value, known in (("family", family, FAMILIES), ("measure", measure, _MEASURES)):
        if value not in known:
            raise InputError(f"{where}: {key} is {value!r}; expected one of {', '.join(known)}")
    hues, slots = len(FAMILIES[family][1]), len(_MARKERS) * len(_LINES)
    if place >= slots:
        raise InputError(f"{len(pretrained)} pretrained systems are configured; expected at most {slots}")
    shade = given.get("shade", place % hues)
    if not 0 <= shade < hues:
        raise InputError(f"{where}: shade is {shade}; expected 0 to {hues - 1} in family {family}")
    marker = given.get("marker", _MARKERS[place % len(_MARKERS)])
    line = given.get("line", _LINES[place // len(_MARKERS)])
    name = given.get("name") or system_id
    approach, attention, serving = _MEASURES[measure]
    return System(
        system_id, name, (), family, shade, marker, line,
        approach=approach, attention=attention, serving=serving, weights=weights, provider=PROVIDER,
    )  # fmt: skip
