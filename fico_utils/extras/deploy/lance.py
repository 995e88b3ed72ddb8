"""What may be deployed besides FAISS: tables of LanceDB, which lie on disk with their index (extra `lance`).

A table has the columns ``id`` and ``vector``; a factory string is the configuration of its index in `lancedb.index`.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from fico_utils.errors import InputError
from fico_utils.extras.deploy.candidates import A_CENTROID, ALL, GRAPH, LISTS, Build
from fico_utils.extras.deploy.timing import BATCH

#: What the names of these candidates begin with, and the factory string of a table that is read from end to end.
NAME, NO_INDEX = "LanceDB", "no index"


class Table(NamedTuple):
    """A table, and the folder that it lies in, which is deleted with it."""

    folder: TemporaryDirectory
    table: Any


@dataclass(frozen=True)
class LanceBuild(Build):
    """A table with an index, or without one; its searches run on threads of LanceDB's own."""

    clock = staticmethod(time.process_time)  # so that these threads count

    def filled_index(self, items: np.ndarray, folder: Path | None = None) -> Table:
        """The table of some items (n, d); it lies in a folder of its own among temporary ones, whatever `folder` is."""
        lancedb, pa = require_lancedb()
        place = TemporaryDirectory(prefix="fico-lance-")
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(items.reshape(-1)), items.shape[1])
        columns = pa.table({"id": np.arange(len(items)), "vector": vectors})
        table = lancedb.connect(place.name).create_table("gallery", columns)
        if self.factory != NO_INDEX:
            call = ast.parse(self.factory, mode="eval").body
            settings = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
            table.create_index("vector", config=getattr(lancedb.index, call.func.id)(**settings))
        return Table(place, table)

    @staticmethod
    def written_bytes(index: Table) -> int:
        return sum(path.stat().st_size for path in Path(index.folder.name).rglob("*") if path.is_file())

    def find(self, index: Table, search: str, asked: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        if len(asked) > BATCH:  # LanceDB would hold what all of them read
            parts = [self.find(index, search, asked[i : i + BATCH], k) for i in range(0, len(asked), BATCH)]
            scores, ids = (np.concatenate(side) for side in zip(*parts, strict=True))
            return scores, ids
        query = index.table.search(asked[0] if len(asked) == 1 else [*asked])
        query = query.distance_type(self.distance).limit(k).select(["id", "_distance"])
        for name, value in (part.split("=") for part in search.split(",") if part):
            query = getattr(query, name)(int(value))
        found = query.to_arrow()
        distances, at = found["_distance"].to_numpy(), np.zeros(len(found), np.int64)
        if "query_index" in found.column_names:  # the answers of a batch come in any order
            at = found["query_index"].to_numpy()
        order = np.lexsort((distances, at))
        place = np.arange(len(at)) - np.searchsorted(at[order], at[order])
        scores, ids = np.full((len(asked), k), -np.inf, np.float32), np.full((len(asked), k), -1)
        scores[at[order], place], ids[at[order], place] = -distances[order], found["id"].to_numpy()[order]
        return scores, ids

    @property
    def distance(self) -> str:
        """LanceDB's name of the distance; of unit vectors ``dot`` is one minus the cosine."""
        return "hamming" if self.codes else "dot"


def list_tables(n: int, codes: Sequence[str], quick: bool) -> Iterator[LanceBuild]:
    """Tables of `n` vectors, and of the last of their `codes`."""
    widths = [f"ef={width}" for width in ((64,) if quick else (64, 256))]
    graph = "HnswSq(distance_type='dot', num_partitions=1, m=16, ef_construction=100)"
    yield LanceBuild(f"{NAME} HNSW-SQ", graph, GRAPH, widths)
    n_list, depths = round(n**0.5), [depth for depth in (0, 100) if depth < n]
    for made in codes[-1:]:
        yield LanceBuild(NAME, NO_INDEX, ALL, codes=made, depths=depths)
        if n >= A_CENTROID * n_list and n_list > 1:
            lists = f"IvfFlat(distance_type='hamming', num_partitions={n_list})"
            probes = [f"nprobes={p}" for p in ((16,) if quick else (4, 16, 64)) if p <= n_list]
            yield LanceBuild(f"{NAME} IVF", lists, LISTS, probes, made, depths)


def table_code(row: Any, items: str, asked: str) -> list[str]:
    """Python that makes the table of one row from the array `items` and asks it with the array `asked`."""
    lines = [
        "import lancedb, lancedb.index, pyarrow as pa",
        f"held = pa.FixedSizeListArray.from_arrays(pa.array({items}.reshape(-1)), {items}.shape[1])",
        f"columns = pa.table({{'id': np.arange(len({items})), 'vector': held}})",
        "table = lancedb.connect('lance').create_table('gallery', columns, mode='overwrite')",
    ]
    if row["factory"] != NO_INDEX:
        lines.append(f"table.create_index('vector', config=lancedb.index.{row['factory']})")
    how = f".distance_type('{'hamming' if row['codes'] else 'dot'}').limit({row['depth'] or 10})"
    how += "".join(".{}({})".format(*part.split("=")) for part in row["search"].split(",") if part)
    ask = f"table.search(q){how}.select(['id', '_distance']).to_arrow()['id'].to_numpy()"
    return [*lines, f"ids = [{ask} for q in {asked}]"]


def require_lancedb() -> tuple[Any, Any]:
    """The modules lancedb and pyarrow, which comes with it; InputError where the extra is missing."""
    try:
        import lancedb
        import lancedb.index
        import pyarrow
    except ImportError:
        raise InputError(
            "tables of LanceDB are asked for, and the package lancedb is not installed: pip install lancedb, or leave "
            "lance out"
        ) from None
    return lancedb, pyarrow
