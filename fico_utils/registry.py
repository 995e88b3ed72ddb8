"""Systems and corpora: ids, printed names, families, and the slot each has in every figure.

A system is one file in ``models/``, which states its rows. Colour stands for the family, marker and line for the
system; a slot belongs to a system for good, so adding one moves nobody's colour.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from fico_utils.errors import InputError
from fico_utils.escaping import one_line

#: Family id -> (printed name, hues of the Okabe-Ito palette, dark to light).
FAMILIES = {
    "vlp": ("VLP fine-grained", ("#00456B", "#0072B2", "#3D93C9")),
    "fg": ("Fine-grained", ("#7A3300", "#B34F00", "#E06A10")),
    "cg": ("Coarse-grained", ("#00382A", "#006048", "#008565", "#00A67A")),
}
#: Grey for the paper's own numbers, wherever they are drawn.
PAPER_COLOUR = "#6E6E6E"
LONGEST_NAME = 40  # characters


@dataclass(frozen=True)
class Index:
    """A search index of the paper's Table 7 and Figure 4: float ones look fine-grained, binary ones coarse-grained."""

    id: str  # in every file
    name: str  # as printed
    paper_names: tuple[str, ...]  # spellings in the paper's tables and figures
    family: str  # vlp, fg or cg; decides the colour
    shade: int  # index into the family's hues
    marker: str  # of matplotlib, as the line style is
    line: str = "-"

    def __post_init__(self) -> None:
        """People may choose the name: it is one short line that can be shown, or the id where nothing is left of it."""
        name = one_line(self.name) or self.id
        object.__setattr__(self, "name", name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…")

    @property
    def colour(self) -> str:
        """Hex colour of lines and markers."""
        return FAMILIES[self.family][1][self.shade]


@dataclass(frozen=True, kw_only=True)
class System(Index):
    """A row of the paper's tables."""

    approach: str  # Table 1: how it encodes
    attention: str  # Table 1: what it computes at query time
    serving: Any  # one of `fico_utils.models.serving`: what is kept of an item, and how queries are answered
    hollow: bool = False  # drawn with an empty marker (the no-fusion variants)
    weights: str = ""  # id of the system whose weights serve; the row's own where it is empty
    bits: int = 0  # length of the hash codes, 0 for embeddings
    provider: str = ""  # ``module:class`` of what serves a row that a configuration adds
    order: int = 1000  # place in the paper's tables; rows that the paper does not have come after them
    model: str = ""  # class of the model, in the file that states the row; in `SYSTEMS`, ``module:class``

    @property
    def measure(self) -> str:
        """The word for how it is served, for tables; what it does is asked of `serving`."""
        return self.serving.name

    @property
    def trained(self) -> str:
        """Id of the system that is trained for this row: a no-fusion row has the weights of its parent."""
        return self.weights or self.id


@dataclass(frozen=True)
class CorpusInfo:
    """A corpus: its id, printed name, whether its pictures are photographs, and what it stands beside."""

    id: str
    name: str
    photographs: bool
    beside: str | None = None  # id of the paper's corpus whose columns of the tables it shares
    generated: bool = False  # its labels are written by the label generator, as the paper's are of Flickr30K
    reader: str = "fico_utils.extras.corpora.library:FolderReader"  # ``module:class``, called with the `CorpusInfo`
    provenance: str = ""  # where it comes from and under which licence, in a sentence
    folder: str = ""  # of a folder corpus that somebody brought: where it is

    __post_init__ = Index.__post_init__

    @property
    def drawn(self) -> bool:
        """Whether the package draws it, in any size."""
        return self.reader == _DRAWN["reader"]

    def open_reader(self) -> Any:
        """What reads the corpus: ``read(run)`` gives a `Corpus`, ``regions(run)`` the region features it brings."""
        return load_entry(self.reader)(self)


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

_DRAWN = {
    "reader": "fico_utils.data.pictoscenes:DrawnReader",
    "provenance": "Drawn by this package from the font that matplotlib ships; MIT.",
}
_PUBLISHED = "fico_utils.extras.corpora.library:PublishedReader"
CORPORA = {
    c.id: c
    for c in (
        CorpusInfo("picto_diverse", "PictoScenes diverse", False, "mscoco", **_DRAWN),
        CorpusInfo("picto_people", "PictoScenes people", False, "flickr30k", True, **_DRAWN),
        CorpusInfo(
            "mscoco", "MS-COCO", True, reader=_PUBLISHED,
            provenance="Lin et al., ECCV 2014, splits of Karpathy; annotations CC BY 4.0, pictures of Flickr's users.",
        ),
        CorpusInfo(
            "flickr30k", "Flickr30K", True, reader=_PUBLISHED,
            provenance="Young et al., TACL 2014, splits of Karpathy; pictures of Flickr's users, for research.",
        ),
        CorpusInfo(
            "openclipart", "Openclipart", False,
            provenance="Openclipart 0.18 as Debian packages it: drawings and titles by many people; public domain.",
        ),
        CorpusInfo(
            "stamps", "Stamps", True,
            provenance="Tux Paint's stamps 2022.06.04 as Debian packages them: photographs and drawings by many "
            "people, a sentence each; GPL 2 or later.",
        ),
    )
}  # fmt: skip
#: Extras by their names, loaded where they are needed: what makes rows of a configuration, what finds folder corpora,
#: what compares producers with their stated versions, what makes features by pretrained towers, the page about a run;
#: and of `evaluate`: what reads the forms in which it is given its input, who asks whom in a query set, what splits the
#: input into folds, the published protocols, and what writes files beside the scores.
CONFIGURED_ROWS = "fico_utils.extras.pretrained.rows:configured_rows"
FOLDER_CORPORA = "fico_utils.extras.corpora.library:find_corpora"
VERSIONS_CHECK = "fico_utils.extras.versions:check_versions"
TOWERS = "fico_utils.extras.towers.features:Towers"
REPORT = "fico_utils.extras.pages.report:write_report"
SCORED_FORMS = "fico_utils.extras.scoring.forms:read_forms"
FOLDS = "fico_utils.extras.scoring.folds:split_folds"
PUBLISHED_PROTOCOLS = "fico_utils.extras.scoring.protocols:PROTOCOLS"
SET_TASKS = "fico_utils.extras.scoring.query_sets:query_gallery_tasks"
SCORED_FILES = "fico_utils.extras.scoring.outputs:write_outputs"


def load_entry(entry: str) -> Any:
    """What an entry such as ``package.module:Class`` names."""
    module, _, name = entry.partition(":")
    return getattr(import_module(module), name)


def read_systems(folder: Path) -> dict[str, System]:
    """The rows that the files of a folder state as ``ROWS``, in the order of the paper's tables.

    They are read from the text, since importing a model loads torch: a file is parsed as far as its ``ROWS`` go, which
    stand below its imports, and only the names that are called in them are imported.
    """
    rows = []
    for path in sorted(folder.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        start = text.find("\nROWS = (")
        if start >= 0:
            stated = _stated_rows(ast.parse(text[: text.index("\n)", start) + 2]).body)
            rows += [replace(row, model=f"fico_utils.models.{path.stem}:{row.model}") for row in stated]
    return {row.id: row for row in sorted(rows, key=lambda row: (row.order, row.id))}


def _stated_rows(body: list[ast.stmt]) -> tuple[System, ...]:
    """The value of ``ROWS``, the last statement: calls with literal arguments, of names that the others import."""
    imports = {a.name: n.module for n in body if isinstance(n, ast.ImportFrom) for a in n.names}

    def value(node: ast.expr) -> Any:
        if isinstance(node, ast.Call):
            called = load_entry(f"{imports[node.func.id]}:{node.func.id}")
            return called(*map(value, node.args), **{k.arg: value(k.value) for k in node.keywords})
        return tuple(map(value, node.elts)) if isinstance(node, ast.Tuple) else ast.literal_eval(node)

    return value(body[-1].value)


#: Every system that has a file in ``models/``, by its id.
SYSTEMS = read_systems(Path(__file__).with_name("models"))


#: What a run knows besides, by its configuration or its data folder.
_added_systems: dict[str, System] = {}
_added_corpora: dict[str, CorpusInfo] = {}


def use_rows(settings: Mapping[str, Any], data_dir: str | Path) -> None:
    """Know the rows that the parameters of a run and its data folder add, and forget those of the run before.

    InputError where one is described wrongly; nothing is changed then.
    """
    global _added_systems, _added_corpora
    pretrained = settings.get("pretrained")
    rows = load_entry(CONFIGURED_ROWS)(pretrained) if pretrained else {}
    _added_systems, _added_corpora = rows, load_entry(FOLDER_CORPORA)(data_dir)


def add_corpus(info: CorpusInfo) -> None:
    """Let the run know one more corpus."""
    _added_corpora[info.id] = info


def add_system(row: System) -> None:
    """Let the run know one more system."""
    _added_systems[row.id] = row


def systems() -> dict[str, System]:
    """Every row: the paper's twelve, then those that the configuration adds, in its order."""
    return SYSTEMS | _added_systems


def known_corpora() -> dict[str, CorpusInfo]:
    """Every corpus: the package's own entries, then folders that somebody brought."""
    return CORPORA | _added_corpora


def system(system_id: str) -> System:
    """The `System` of an id; InputError where there is none.

    >>> system("scan").name
    'SCAN'
    """
    return _row_of(system_id, systems(), "system")


def corpus(corpus_id: str) -> CorpusInfo:
    """The `CorpusInfo` of an id; InputError where there is none."""
    return _row_of(corpus_id, known_corpora(), "corpus")


def _row_of(row_id: str, known: Mapping[str, Any], kind: str) -> Any:
    if row_id not in known:
        raise InputError(f"unknown {kind} {row_id!r}; expected one of {', '.join(known)}")
    return known[row_id]
