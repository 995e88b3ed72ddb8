"""Indexes that outgrow memory: shards built block by block from a file, each in a process of its own, joined on disk.

    python -m fico_utils.extras.deploy.shards train images.npy IVF1024,SQfp16 work/trained.index
    python -m fico_utils.extras.deploy.shards build images.npy work/trained.index work/0.index --start 0 --stop 1000000
    python -m fico_utils.extras.deploy.shards join work/trained.index work/joined.index work/0.index work/1.index

``workflow/shards.smk`` runs them as jobs. What is joined holds its inverted lists in ``joined.index.ivfdata``, which
FAISS maps into memory: a query reads the lists that it visits and nothing else. An item's id is its row in the file.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.extras.corpora.arrays import read_array
from fico_utils.extras.deploy.candidates import A_CENTROID
from fico_utils.extras.deploy.inputs import unit_rows
from fico_utils.files import atomic_path

#: Rows that are read at once, and by default the most that an index is trained on.
BLOCK, TRAINED_ON = 50_000, 200_000


def open_rows(path: str | Path) -> Any:
    """Vectors of a .npy or .parquet file, or packed codes (n, bytes) uint8, as `Rows`; InputError for another file."""
    path = Path(path)
    if not path.is_file() or path.suffix not in (".npy", ".parquet"):
        raise InputError(f"{path} is given, expected a .npy or .parquet file of one vector or packed code a row")
    return read_array(path) if path.suffix == ".npy" else ParquetRows(path)


class ParquetRows:
    """Rows of the one column of lists in a Parquet file: ``rows[start:stop]`` reads the row groups that hold them."""

    def __init__(self, path: Path) -> None:
        from pyarrow import parquet

        self.file = parquet.ParquetFile(path)
        counts = [self.file.metadata.row_group(i).num_rows for i in range(self.file.num_row_groups)]
        self.ends = np.cumsum(counts)

    def __len__(self) -> int:
        return int(self.ends[-1]) if self.ends.size else 0

    def __getitem__(self, span: slice) -> np.ndarray:
        start, stop, _ = span.indices(len(self))
        first, last = np.searchsorted(self.ends, [start, stop - 1], side="right")
        column = self.file.read_row_groups([*range(first, last + 1)]).column(0).combine_chunks()
        wide = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
        before = self.ends[first - 1] if first else 0
        return wide[start - before : stop - before]


def read_blocks(rows: Any, start: int, stop: int) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, block) of what is indexed: packed codes as they are, vectors (n, d) float32 at unit length."""
    for at in range(start, stop, BLOCK):
        block = np.asarray(rows[at : min(at + BLOCK, stop)])
        yield at, block if block.dtype == np.uint8 else unit_rows(block, np.arange(len(block)))


def train_index(source: str | Path, factory: str, out: str | Path, trained_on: int = TRAINED_ON, seed: int = 0) -> None:
    """Write an empty index of a factory string with inverted lists, trained on evenly drawn blocks of the file.

    InputError where the factory string has no inverted lists, or the file fewer rows than they need.
    """
    import faiss

    rows = open_rows(source)
    first = np.asarray(rows[:1])
    coded = first.dtype == np.uint8
    try:
        make = (faiss.index_binary_factory, 8 * first.shape[1]) if coded else (faiss.index_factory, first.shape[1])
        index = make[0](make[1], factory, *(() if coded else (faiss.METRIC_INNER_PRODUCT,)))
        lists = (index if coded else faiss.extract_index_ivf(index)).nlist
    except (RuntimeError, AttributeError):
        expected = "BIVF1024" if coded else "IVF1024,SQfp16"
        raise InputError(f"the factory is {factory!r}, expected one with inverted lists such as {expected}") from None
    if len(rows) < A_CENTROID * lists:
        raise InputError(f"{len(rows):,} rows were given for {lists:,} lists, expected {A_CENTROID} for each list")
    n_block = max(1, min(len(rows), max(trained_on, A_CENTROID * lists)) // 1000)
    starts = np.sort(np.random.default_rng(seed).permutation(max(1, len(rows) // 1000))[:n_block]) * 1000
    index.train(np.concatenate([block for i in starts for _, block in read_blocks(rows, i, min(i + 1000, len(rows)))]))
    _write_index(index, out)


def build_shard(source: str | Path, trained: str | Path, out: str | Path, start: int, stop: int) -> None:
    """Write the shard of rows `start` to `stop` - 1, whose ids are their rows; memory holds one shard and a block."""
    rows, index = open_rows(source), _read_index(trained)
    if not 0 <= start < stop <= len(rows):
        raise InputError(f"rows {start} to {stop} were asked for, expected a part of the {len(rows):,} rows")
    first = np.asarray(rows[:1])
    given, held = (first.dtype == np.uint8, first.shape[1] * (8 if first.dtype == np.uint8 else 1)), _kind(index)
    if given != held:
        words = [
            f"{'codes' if coded else 'vectors'} of {width} {'bits' if coded else 'dimensions'}"
            for coded, width in (held, given)
        ]
        raise InputError(f"{trained} is an index of {words[0]} and {source} holds {words[1]}: train one on this file")
    for at, block in read_blocks(rows, start, stop):
        index.add_with_ids(block, np.arange(at, at + len(block)))
    _write_index(index, out)


def join_shards(trained: str | Path, shards: Sequence[str | Path], out: str | Path) -> None:
    """Write the index of all shards; lists of vectors lie in ``out.ivfdata`` beside it, codes are joined in memory."""
    import faiss
    from faiss.contrib.ondisk import merge_ondisk

    index = _read_index(trained)
    for shard in shards:
        part = _read_index(shard, faiss.IO_FLAG_MMAP)
        if _kind(part) != _kind(index) or _centroids(part) != _centroids(index):
            raise InputError(
                f"{shard} is of another corpus than {trained}, whose lists differ: build the shard from it"
            )
        if isinstance(index, faiss.IndexBinary):
            index.merge_from(part, 0)
    if not isinstance(index, faiss.IndexBinary):
        merge_ondisk(index, [str(shard) for shard in shards], f"{out}.ivfdata")
    _write_index(index, out)


def _read_index(path: str | Path, *mapped: int) -> Any:
    """An index of vectors or of codes, read with FAISS flags `mapped` if of vectors; InputError for other files."""
    import faiss

    try:
        with open(path, "rb") as file:
            if file.read(2) == b"IB":  # the mark of FAISS's binary indexes
                return faiss.read_index_binary(str(path))
        return faiss.read_index(str(path), *mapped)
    except (OSError, RuntimeError):
        raise InputError(f"{path} is no whole index of FAISS: expected what the step before has written") from None


def _kind(index: Any) -> tuple[bool, int]:
    """Whether an index is of codes, and its dimensions or bits."""
    import faiss

    return isinstance(index, faiss.IndexBinary), index.d


def _centroids(index: Any) -> bytes:
    """What sorts items into the lists of an index."""
    import faiss

    if isinstance(index, faiss.IndexBinary):
        return faiss.serialize_index_binary(index.quantizer).tobytes()
    return faiss.serialize_index(faiss.extract_index_ivf(index).quantizer).tobytes()


def _write_index(index: Any, out: str | Path) -> None:
    import faiss

    with atomic_path(out) as path:
        (faiss.write_index_binary if isinstance(index, faiss.IndexBinary) else faiss.write_index)(index, str(path))


def main(words: Sequence[str] | None = None) -> None:
    """The three steps as commands."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    steps = parser.add_subparsers(dest="step", required=True)
    train, build, join = (steps.add_parser(name) for name in ("train", "build", "join"))
    for name in ("source", "factory", "out"):
        train.add_argument(name)
    train.add_argument("--trained-on", type=int, default=TRAINED_ON)
    for name in ("source", "trained", "out"):
        build.add_argument(name)
    for name in ("--start", "--stop"):
        build.add_argument(name, type=int, required=True)
    for name in ("trained", "out"):
        join.add_argument(name)
    join.add_argument("shards", nargs="+")
    given = vars(parser.parse_args(words))
    step = {"train": train_index, "build": build_shard, "join": join_shards}[given.pop("step")]
    try:
        step(**given)
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
