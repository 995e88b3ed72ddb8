"""Systems and corpora: ids, printed names, families, and the slot each has in every figure.

The order of `SYSTEMS` is the order of the paper's tables. Colour stands for the family, marker and line
for the system; a slot belongs to a system for good, so adding one moves nobody's colour.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    id: str
    name: str
    photographs: bool
    beside: str | None = None
    generated: bool = False


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

CORPORA = {
    c.id: c
    for c in (
        CorpusInfo("picto_diverse", "PictoScenes diverse", False, "mscoco"),
        CorpusInfo("picto_people", "PictoScenes people", False, "flickr30k", generated=True),
        CorpusInfo("mscoco", "MS-COCO", True),
        CorpusInfo("flickr30k", "Flickr30K", True),
        CorpusInfo("openclipart", "Openclipart", False),
    )
}


def system(system_id: str) -> System:
    """The `System` of an id; InputError where there is none.

    >>> system("scan").name
    'SCAN'
    """
    if system_id not in SYSTEMS:
        raise InputError(f"unknown system {system_id!r}; expected one of {', '.join(SYSTEMS)}")
    return SYSTEMS[system_id]


def corpus(corpus_id: str) -> CorpusInfo:
    """The `CorpusInfo` of an id; InputError where there is none."""
    if corpus_id not in CORPORA:
        raise InputError(f"unknown corpus {corpus_id!r}; expected one of {', '.join(CORPORA)}")
    return CORPORA[corpus_id]
