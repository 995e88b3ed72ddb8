"""Systems and corpora: ids, printed names, families, and the slot each has in every figure.

The order of `SYSTEMS` is the order of the paper's tables. Colour stands for the family, marker and line
for the system; a slot belongs to a system for good, so adding one moves nobody's colour.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fico_utils.errors import InputError

#: Family id -> (printed name, hues of the Okabe-Ito palette, dark to light).
FAMILIES = {
    "vlp": ("VLP fine-grained", ("#00456B", "#0072B2", "#3D93C9")),
    "fg": ("Fine-grained", ("#7A3300", "#B34F00", "#E06A10")),
    "cg": ("Coarse-grained", ("#00382A", "#006048", "#008565", "#00A67A")),
}
#: Grey for the paper's own numbers, wherever they are drawn.
PAPER_COLOUR = "#6E6E6E"


@dataclass(frozen=True)
class System:
    """A row of the paper's tables.

    Attributes
    ----------
    id, name : str, the id in every file and the name as printed.
    paper_names : tuple of str, spellings in the paper's tables and figures.
    family : str, ``vlp``, ``fg`` or ``cg``; decides the colour.
    approach, attention : str, Table 1: how it encodes, what it computes at query time.
    measure : str, how two embeddings are compared: ``cosine``, ``hamming``, ``late`` (the best cosine of several
        vectors an image), ``attention`` (a model's own score of every pair) or ``rerank`` (of the first k alone).
    shade : int, index into the family's hues.
    marker, line : str, matplotlib marker and line style.
    hollow : bool, drawn with an empty marker (the no-fusion variants).
    weights : str, id of the system whose weights serve; the row's own where it is empty.
    bits : int, length of the hash codes, 0 for embeddings.
    """

    id: str
    name: str
    paper_names: tuple[str, ...]
    family: str
    approach: str
    attention: str
    measure: str
    shade: int
    marker: str
    line: str = "-"
    hollow: bool = False
    weights: str = ""
    bits: int = 0

    @property
    def serving(self) -> Any:
        """How the system is served: one of `fico_utils.models.serving`."""
        from importlib import import_module

        ways = import_module("fico_utils.models.serving")
        if self.measure == "late":
            return ways.Embeds(late=True)
        return {"attention": ways.Attends, "rerank": ways.Reranks}.get(
            self.measure, lambda: ways.Embeds(self.measure)
        )()

    @property
    def trained(self) -> str:
        """Id of the system that is trained for this row: a no-fusion row has the weights of its parent."""
        return self.weights or self.id

    @property
    def colour(self) -> str:
        """Hex colour of the system's lines and markers."""
        return FAMILIES[self.family][1][self.shade]


@dataclass(frozen=True)
class Index:
    """A search index of the paper's Table 7 and Figure 4.

    Attributes
    ----------
    id, name : str, the id in costs.csv and the name as printed.
    paper_names : tuple of str, spellings in the paper's table and figure.
    family, shade, marker, line : as for a `System`: float indexes are fine-grained, binary ones coarse-grained.
    """

    id: str
    name: str
    paper_names: tuple[str, ...]
    family: str
    shade: int
    marker: str
    line: str = "-"

    @property
    def colour(self) -> str:
        """Hex colour of the index's lines and markers."""
        return FAMILIES[self.family][1][self.shade]


@dataclass(frozen=True)
class CorpusInfo:
    """A corpus: its id, printed name, whether its pictures are photographs, and what it stands beside.

    Attributes
    ----------
    beside : str or None, id of the paper's corpus whose columns of the tables it shares.
    generated : bool, its labels are written by the label generator, as the paper's are of Flickr30K.
    kind : str, ``drawn`` by the package itself, ``published`` with Karpathy's splits, or a ``folder`` corpus.
    provenance : str, where it comes from and under which licence, in a sentence.
    folder : str, of a folder corpus that somebody brought: where it is.
    """

    id: str
    name: str
    photographs: bool
    beside: str | None = None
    generated: bool = False
    kind: str = "folder"
    provenance: str = ""
    folder: str = ""


SYSTEMS = {
    s.id: s
    for s in (
        System("blip2", "BLIP-2", ("BLIP-2",), "vlp", "Dual+Fusion", "Fusion Rerank", "rerank", 0, "s"),
        System("blip2_nf", "BLIP-2 NF", ("BLIP-2NF",), "vlp", "Dual", "None", "late", 0, "s", "--", True, "blip2"),
        System("beit3", "BEiT-3", ("BEIT-3",), "vlp", "Dual", "None", "cosine", 1, "o"),
        System("xvlm", "X-VLM", ("X-VLM",), "vlp", "Dual+Fusion", "Fusion Rerank", "rerank", 2, "D"),
        System("xvlm_nf", "X-VLM NF", ("X-VLMNF",), "vlp", "Dual", "None", "cosine", 2, "D", "--", True, "xvlm"),
        System("imram", "IMRAM", ("IMRAM",), "fg", "Local+Global", "Cross-Attn", "attention", 0, "^"),
        System("vsrn", "VSRN", ("VSRN",), "fg", "Global", "None", "cosine", 1, "v", "--"),
        System("scan", "SCAN", ("SCAN",), "fg", "Local+Global", "Cross-Attn", "attention", 2, ">", "-."),
        System("adv_2048", "ADV 2048-bit", ("ADV2048bit",), "cg", "Dual", "None", "hamming", 0, "P", bits=2048),
        System("adv_64", "ADV 64-bit", ("ADV64bit",), "cg", "Dual", "None", "hamming", 1, "X", "--", bits=64),
        System("ucch", "UCCH", ("UCCH",), "cg", "Dual Hash", "None", "hamming", 2, "h", "-.", bits=64),
        System("dadh", "DADH", ("DADH",), "cg", "Dual Hash", "None", "hamming", 3, "*", ":", bits=64),
    )
}

INDEXES = {
    i.id: i
    for i in (
        Index("flat_ip", "FG Flat", ("FG-Flat-2048D", "IndexFlatIP"), "fg", 1, "s"),
        Index("hnsw_flat", "FG HNSW", ("FG-HNSW-2048D", "IndexHNSWFlat"), "fg", 2, "^", "--"),
        Index("binary_flat", "CG Flat", ("CG-Flat-64bit", "IndexBinaryFlat"), "cg", 1, "o"),
        Index("binary_flat_counting", "CG Flat counting", (), "cg", 3, "X", ":"),
        Index("binary_ivf", "CG IVF", ("CG-IVF-64bit", "IndexBinaryIVF"), "cg", 2, "D", "--"),
    )
}

_DRAWN = "Drawn by this package from the font that matplotlib ships; MIT."
CORPORA = {
    c.id: c
    for c in (
        CorpusInfo("picto_diverse", "PictoScenes diverse", False, "mscoco", kind="drawn", provenance=_DRAWN),
        CorpusInfo(
            *("picto_people", "PictoScenes people", False, "flickr30k"),
            generated=True, kind="drawn", provenance=_DRAWN,
        ),
        CorpusInfo(
            "mscoco", "MS-COCO", True, kind="published",
            provenance="Lin et al., ECCV 2014, splits of Karpathy; annotations CC BY 4.0, pictures of Flickr's users.",
        ),
        CorpusInfo(
            "flickr30k", "Flickr30K", True, kind="published",
            provenance="Young et al., TACL 2014, splits of Karpathy; pictures of Flickr's users, for research.",
        ),
        CorpusInfo(
            "openclipart", "Openclipart", False,
            provenance="Openclipart 0.18 as Debian packages it: drawings and titles by many people; public domain.",
        ),
    )
}  # fmt: skip
_BUILT_IN = dict(CORPORA)  # before anybody brought a folder
#: What may stand in the ``corpus.yaml`` of a folder corpus, and of which type it is.
FOLDER_KEYS = {"name": str, "provenance": str, "photographs": bool, "beside": str}


# --------------------------------------------------------------------------------- rows by configuration

#: Rows beyond the paper's twelve, from the parameter ``pretrained`` of a profile; `configure` fills it.
CONFIGURED: dict[str, System] = {}

#: What `configured` takes of a row, with the type of each.
_ROW = {"marker": str, "line": str, "shade": int, "name": str, "family": str, "measure": str, "weights": str}
#: What `fico_utils.extras.pretrained.embedding` takes of it: the checkpoint, and how it encodes.
SOURCE = {"path": str, "revision": str, "dtype": str, "device": str, "store": str, "memory_mib": int}
#: How a pretrained encoder's embeddings may be compared: approach and attention, as Table 1 says them.
_MEASURES = {"cosine": ("Dual", "None"), "late": ("Dual", "None"), "rerank": ("Dual+Fusion", "Fusion Rerank")}
#: Markers that the paper's systems leave free; four lines each make the slots of configured rows, in their order.
_MARKERS, _LINES = ("p", "<", "d", "8", "H"), (":", "-", "--", "-.")


def configured(pretrained: Mapping[str, Mapping[str, Any]]) -> dict[str, System]:
    """Rows of pretrained encoders, as a configuration names them; the paper's twelve stay as they are.

    Parameters
    ----------
    pretrained : mapping, id -> ``path`` (folder or hub id), or ``weights`` (another id whose checkpoint serves), and
        if wanted ``name``, ``family`` (vlp), ``measure`` (cosine; late or rerank of BLIP-2, rerank of BLIP),
        ``marker``, ``line``, ``shade``, and what `SOURCE` lists.

    Raises
    ------
    InputError
        An id that is taken or would not do in a file name, an unknown key, family or measure, no checkpoint, two rows
        that look the same, or more rows than there are looks.

    Examples
    --------
    >>> configured({"clip_b32": {"path": "openai/clip-vit-base-patch32", "name": "CLIP ViT-B/32"}})["clip_b32"].marker
    'p'
    """
    rows: dict[str, System] = {}
    for place, (system_id, given) in enumerate(pretrained.items()):
        rows[system_id] = _row(system_id, given, place, pretrained)
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
    if weights and (weights not in pretrained or not pretrained[weights].get("path")):
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
    approach, attention = _MEASURES[measure]
    name = given.get("name") or system_id
    return System(system_id, name, (), family, approach, attention, measure, shade, marker, line, weights=weights)


def configure(pretrained: Mapping[str, Mapping[str, Any]]) -> None:
    """Let `system` and `systems` know the rows of a configuration, and forget those of the one before."""
    rows = configured(pretrained)
    CONFIGURED.clear()
    CONFIGURED.update(rows)


def systems() -> dict[str, System]:
    """Every row: the paper's twelve, then those that the configuration adds, in its order."""
    return {**SYSTEMS, **CONFIGURED}


def system(system_id: str) -> System:
    """The `System` of an id; InputError where there is none.

    >>> system("scan").name
    'SCAN'
    """
    known = systems()
    if system_id not in known:
        raise InputError(f"unknown system {system_id!r}; expected one of {', '.join(known)}")
    return known[system_id]


def corpus(corpus_id: str) -> CorpusInfo:
    """The `CorpusInfo` of an id; InputError where there is none."""
    if corpus_id not in CORPORA:
        raise InputError(f"unknown corpus {corpus_id!r}; expected one of {', '.join(CORPORA)}")
    return CORPORA[corpus_id]


def add_folder(folder: str | Path) -> CorpusInfo:
    """The `CorpusInfo` of the folder corpus in `folder`, from now on known by its id.

    The id is the folder's name in small letters, what is no letter or digit an underscore. A file ``corpus.yaml`` in
    the folder may say ``name`` (as printed), ``provenance``, ``photographs`` (true or false) and ``beside`` (the
    paper's corpus whose columns of the tables it takes).

    Raises
    ------
    InputError
        A name without letters, the name of a corpus that is no folder, or a ``corpus.yaml`` that says something else.
    """
    folder = Path(folder).resolve()
    corpus_id = re.sub("[^a-z0-9]+", "_", folder.name.lower()).strip("_")
    if not corpus_id or (corpus_id in CORPORA and CORPORA[corpus_id].kind != "folder"):
        raise InputError(
            f"the folder {folder} cannot give a corpus its name {folder.name!r}; rename it, in letters and digits, "
            f"other than {', '.join(c.id for c in CORPORA.values() if c.kind != 'folder')}"
        )
    known, table = _BUILT_IN.get(corpus_id), folder / "corpus.yaml"
    said = {"name": folder.name, "photographs": True, **_said(table)}
    if known is not None and not table.is_file():
        said = {"name": known.name, "provenance": known.provenance, "photographs": known.photographs}
    CORPORA[corpus_id] = CorpusInfo(corpus_id, **said, folder=str(folder))
    return CORPORA[corpus_id]


def add_folders(data_dir: str | Path) -> None:
    """Make every folder corpus right below `data_dir` known: a folder with ``images`` and ``captions.csv``."""
    for table in sorted(Path(data_dir).glob("*/captions.csv")):
        published = table.parent.name in CORPORA and CORPORA[table.parent.name].kind != "folder"
        if (table.parent / "images").is_dir() and not published:
            add_folder(table.parent)


def _said(path: Path) -> dict[str, Any]:
    """What a ``corpus.yaml`` says; nothing where there is none."""
    import yaml

    if not path.is_file():
        return {}
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is no YAML ({str(error).splitlines()[0]}); write lines such as `name: Mine`"
        ) from None
    said = said or {}
    expected = ", ".join(f"{name} ({kind.__name__})" for name, kind in FOLDER_KEYS.items())
    if not isinstance(said, dict) or any(type(v) is not FOLDER_KEYS.get(k) for k, v in said.items()):
        raise InputError(f"{path} says {said!r}; expected any of {expected}")
    slots = [c.id for c in CORPORA.values() if c.kind == "published"]
    if said.get("beside", slots[0]) not in slots:
        raise InputError(f"{path} says beside: {said['beside']}; expected {' or '.join(slots)}, or leave it out")
    return said
