"""The tables on disk: parts, written by the steps, their merge, which also holds the paper's rows, and stored.csv.

A step writes ``results/<profile>/metrics/<part>.csv``; `merge` makes ``metrics.csv`` of the parts. Same rows,
same bytes: rows have one order (that of the registry) and numbers one format. What a system stores of an image and of a
caption is our lines of Table 1, with shapes as the paper writes them: ``128x17`` are 17 vectors of 128 numbers.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fico_utils.errors import InputError
from fico_utils.escaping import cell_text, csv_text
from fico_utils.files import note, write_text
from fico_utils.provenance import PROJECT
from fico_utils.results import schema
from fico_utils.results.paper_reference import paper_reference
from fico_utils.workspace import Run

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["chance_rows", "load", "merge", "paper_reference", "score_rows", "write_part"]

#: Enough digits for a recall, few enough to swallow bits that differ between summation orders; whole bytes.
FLOAT_FORMAT = {"metrics": "%.9g", "costs": "%.15g"}
STORED, STORED_COLUMNS = "stored.csv", ("system", "embedding_dims", "image_features", "text_features", "dtype")


def score_rows(scores: pd.DataFrame, system: str, corpus: str, source: str = "ours") -> pd.DataFrame:
    """Rows of metrics.csv from what `fico_utils.evaluate` returned.

    The columns `ties`, `protocol` and `folds` are not kept, as the run's settings say them; `source` is ``ours``, or
    ``perfect`` for the perfect retriever (then the system is ``perfect``, too).

    >>> import pandas as pd
    >>> scores = pd.DataFrame({"task": ["instance"], "metric": ["recall"], "k": ["1"], "value": [0.5]})
    >>> score_rows(scores, "scan", "picto_people")[["system", "k", "value"]].to_numpy().tolist()
    [['scan', '1', 0.5]]
    """
    known = {"system": system, "corpus": corpus, "source": source, "k": scores["k"].astype(str)}
    return scores.drop(columns=["ties", "protocol", "folds"], errors="ignore").assign(**known)


def chance_rows(scores: pd.DataFrame, corpus: str) -> pd.DataFrame:
    """Rows of metrics.csv for a random ranking of `corpus`: the `chance` column of `scores` as values."""
    kept = scores[scores["chance"].notna()]
    rows = score_rows(kept, "chance", corpus, "chance")
    return rows.assign(value=kept["chance"], ci_low=float("nan"), ci_high=float("nan"), status="ok")


def write_part(run: Run, table: str, part: str, frame: pd.DataFrame) -> Path:
    """Path of ``<root>/<table>/<part>.csv``, written from `frame`, if every row of it belongs in the table.

    `table` is ``metrics`` or ``costs``, `part` ``{system}__{corpus}`` or the step. Columns that the run knows (profile,
    run, source, split, device), and `unit` and `status`, may be left out.
    """
    rows = frame.copy()
    for column, known in (("profile", run.profile), ("run", run.run_id)):
        rows[column] = rows[column].replace("", known) if column in rows else known
    if table == "costs" and "unit" not in rows:
        rows["unit"] = rows["quantity"].map(schema.unit_of)
    if "status" not in rows:
        rows["status"] = rows["value"].notna().map({True: "ok", False: "unavailable"})
    rows = schema.complete_rows(rows, table, source="ours", split="test", device="cpu")
    return _write_csv(run.path(table, f"{part}.csv"), rows, FLOAT_FORMAT[table])


def merge(run: Run, table: str) -> pd.DataFrame:
    """The table of a run: all its parts and the paper's rows, in order, written to ``<root>/<table>.csv``.

    No part yet, and parts that repeat a row or come from another profile, are an InputError.
    """
    import pandas as pd

    parts = sorted(p for p in run.path(table).glob("*.csv") if not p.name.startswith("."))
    if not parts:
        raise InputError(f"{run.path(table)} holds no results yet; run the steps that write them first")
    frames = [load(part, table) for part in parts]
    for part, frame in zip(parts, frames, strict=True):
        strange = set(frame["profile"]) - {run.profile}
        if strange:
            raise InputError(f"{part} holds rows of profile {min(strange)!r}; expected {run.profile!r}, run it again")
    rows = schema.complete_rows(pd.concat([*frames, paper_reference(table)]), table)
    _write_csv(run.path(f"{table}.csv"), rows, FLOAT_FORMAT[table])
    return rows


def load(place: str | Path | Run, table: str) -> pd.DataFrame:
    """A table read from its file, or from the run or folder that holds it; validated."""
    path = place.root if isinstance(place, Run) else Path(place)
    path = path / f"{table}.csv" if path.is_dir() else path
    frame = read_csv(path, table, "run the steps that write it", "run the step again", numbers=schema.NUMBERS[table])
    return schema.validate(frame, table)


def read_csv(
    path: Path, table: str, first: str, again: str, columns: Sequence[str] = (), numbers: Sequence[str] = ()
) -> pd.DataFrame:
    """A file of one of our tables as it stands: text, and float in the columns `numbers` that it has.

    No such file, no whole CSV file, other than `columns` where these are given, or a word where a number belongs is an
    InputError; `first` and `again` say what to try where there is no file, and where it cannot be read.
    """
    import pandas as pd

    try:
        text = path.read_bytes().decode("utf-8-sig")
        head, *rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row] or [[]]
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; expected a {table} table, {first}") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not readable as CSV ({error}); delete it and {again}") from error
    note("read", path)
    uneven = next((f"row {n} has {len(row)} cells" for n, row in enumerate(rows, 1) if len(row) != len(head)), "")
    if uneven or len({*head}) < len(head) or not text.endswith("\n"):
        found = uneven or "it repeats a column, or its end is missing"
        raise InputError(f"{path} is not a whole {table} table ({found}); delete it and {again}")
    frame = pd.DataFrame([[cell_text(cell) for cell in row] for row in rows], columns=head, dtype=str)
    if columns and list(frame.columns) != list(columns):
        raise InputError(f"{path} has the columns {', '.join(frame.columns)}; expected {', '.join(columns)}")
    for column in numbers:
        if column in frame:
            try:
                frame[column] = frame[column].replace("", "nan").astype(float)
            except ValueError as error:
                raise InputError(f"{path}, column {column}: {str(error)[:200]}; expected numbers") from error
    return frame


def results_or_committed(run: Run, table: str) -> pd.DataFrame:
    """The table of a run, or, where it has none yet, the one committed with the figures of its profile."""
    if run.path(f"{table}.csv").is_file():
        return load(run, table)
    note("missed", run.path(f"{table}.csv"))
    print(f"{table}.csv was not made in this run: using the one committed in figures/{run.profile}/")
    return load(PROJECT / "figures" / run.profile, table)


def _write_csv(path: Path, rows: pd.DataFrame, float_format: str | None = None) -> Path:
    write_text(path, csv_text(rows, float_format))
    return path


def stored_row(system: str, sample: Mapping[str, Any]) -> dict[str, str]:
    """The line of a system in stored.csv.

    `sample` is that of `fico_utils.costs.storage_samples`: ``img_emb`` (n, d), (n, q, d) or packed codes,
    ``features_img`` and ``features_txt`` (n, tokens, d) where a query needs them, ``bits`` of the codes.

    >>> import numpy as np
    >>> sample = {"img_emb": np.zeros((2, 8), np.uint8), "txt_emb": np.zeros((10, 8), np.uint8), "bits": 64}
    >>> stored_row("ucch", sample)["embedding_dims"], stored_row("ucch", sample)["dtype"]
    ('64', 'u8')
    """
    kept = [sample.get(name) for name in ("img_emb", "features_img", "features_txt")]
    kept = [None if array is None or array.shape[-1] == 0 else array for array in kept]
    dims, *features = ("" if array is None else "x".join(map(str, reversed(array.shape[1:]))) for array in kept)
    dtype = next(array.dtype for array in kept if array is not None)
    shapes = str(sample["bits"]) if sample.get("bits") else dims, *features
    return dict(zip(STORED_COLUMNS, (system, *shapes, f"{dtype.kind}{8 * dtype.itemsize}"), strict=True))


def write_stored(run: Run, rows: Iterable[Mapping[str, str]]) -> Path:
    """Path of ``<root>/stored.csv``, just written."""
    import pandas as pd

    return _write_csv(run.path(STORED), pd.DataFrame(list(rows), columns=list(STORED_COLUMNS)))


def read_stored(run: Run) -> pd.DataFrame:
    """What a run stored; else what is committed with the figures of its profile; else no rows."""
    import pandas as pd

    for path in (run.path(STORED), PROJECT / "figures" / run.profile / STORED):
        if path.is_file():
            return read_csv(path, "stored", "run notebook 05", "run notebook 05 again", STORED_COLUMNS)
        note("missed", path)
    return pd.DataFrame(columns=list(STORED_COLUMNS))
