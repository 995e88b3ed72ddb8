"""The two tables on disk: parts, written by the steps, and their merge, which also holds the paper's rows.

A step writes ``results/<profile>/metrics/<part>.csv``; `merge` makes ``metrics.csv`` of the parts. Same rows,
same bytes: rows have one order (that of the registry) and numbers one format.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fico_utils.errors import InputError
from fico_utils.files import atomic_path
from fico_utils.provenance import PROJECT
from fico_utils.results import schema
from fico_utils.results.order import sort_rows
from fico_utils.results.paper_reference import paper_reference
from fico_utils.workspace import Run

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["chance_rows", "load", "merge", "paper_reference", "score_rows", "write_part"]

#: Enough digits for a recall, few enough to swallow bits that differ between summation orders; whole bytes.
FLOAT_FORMAT = {"metrics": "%.9g", "costs": "%.15g"}


def score_rows(
    scores: pd.DataFrame, system: str, corpus: str, source: str = "ours", split: str = "test"
) -> pd.DataFrame:
    """Rows of metrics.csv from what `fico_utils.evaluate` returned.

    Parameters
    ----------
    scores : DataFrame, columns of `evaluate`; its `ties` column is not kept, as the run's settings say it.
    system, corpus, split : str, written to every row.
    source : str, ``ours``, or ``perfect`` for the perfect retriever (then the system is ``perfect``, too).

    Examples
    --------
    >>> import pandas as pd
    >>> scores = pd.DataFrame({"task": ["instance"], "metric": ["recall"], "k": [1], "value": [0.5]})
    >>> score_rows(scores, "scan", "picto_people")[["system", "k", "value"]].to_numpy().tolist()
    [['scan', '1', 0.5]]
    """
    rows = scores.drop(columns="ties", errors="ignore").assign(
        system=system, corpus=corpus, source=source, split=split, k=scores["k"].map(_text)
    )
    return rows


def chance_rows(scores: pd.DataFrame, corpus: str, split: str = "test") -> pd.DataFrame:
    """Rows of metrics.csv for a random ranking of `corpus`: the `chance` column of `scores` as values."""
    kept = scores[scores["chance"].notna()]
    rows = score_rows(kept, "chance", corpus, "chance", split)
    return rows.assign(value=kept["chance"], ci_low=float("nan"), ci_high=float("nan"), status="ok")


def complete(run: Run, table: str, frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with every column of `table`: what the run knows, source ``ours``, unit, status, else empty."""
    import pandas as pd

    _known(table)
    rows = frame.reset_index(drop=True).copy()
    defaults = {"profile": run.profile, "source": "ours", "run": run.run_id, "split": "test", "device": "cpu"}
    for column in schema.COLUMNS[table]:
        if column not in rows:
            rows[column] = float("nan") if column in schema.NUMBERS[table] else defaults.get(column, "")
    for column in ("profile", "run"):
        rows[column] = rows[column].replace("", defaults[column])
    if table == "costs" and "unit" not in frame:
        rows["unit"] = rows["quantity"].map(schema.unit_of)
    if "status" not in frame:
        rows["status"] = rows["value"].map(lambda v: "unavailable" if pd.isna(v) else "ok")
    return rows[[*schema.COLUMNS[table], *(c for c in rows if c not in schema.COLUMNS[table])]]


def write_part(run: Run, table: str, part: str, frame: pd.DataFrame) -> Path:
    """Path of ``<root>/<table>/<part>.csv``, written from `frame`.

    Parameters
    ----------
    run : Run
    table : str, ``metrics`` or ``costs``.
    part : str, file name without ending: ``{system}__{corpus}`` for metrics, the step for costs.
    frame : DataFrame, columns of the table; those that the run knows (see `complete`) may be left out.

    Raises
    ------
    InputError
        A row does not belong in the table; nothing is written.
    """
    rows = sort_rows(schema.validate(complete(run, table, frame), table), table)
    path = run.path(table, f"{part}.csv")
    _write(rows, table, path)
    return path


def merge(run: Run, table: str) -> pd.DataFrame:
    """The table of a run: all its parts and the paper's rows, in order, written to ``<root>/<table>.csv``.

    Raises
    ------
    InputError
        No part yet, or parts that repeat a row or come from another profile.
    """
    import pandas as pd

    _known(table)
    parts = sorted(run.path(table).glob("*.csv"))
    parts = [p for p in parts if not p.name.startswith(".")]
    if not parts:
        raise InputError(f"{run.path(table)} holds no results yet; run the steps that write them first")
    frames = [load(part, table) for part in parts]
    for part, frame in zip(parts, frames, strict=True):
        strange = set(frame["profile"]) - {run.profile}
        if strange:
            raise InputError(f"{part} holds rows of profile {min(strange)!r}; expected {run.profile!r}, run it again")
    rows = pd.concat([*frames, paper_reference(table)], ignore_index=True)
    rows = sort_rows(schema.validate(rows, table), table)
    _write(rows, table, run.path(f"{table}.csv"))
    return rows


def load(place: str | Path | Run, table: str) -> pd.DataFrame:
    """A table read from its file, or from the run or folder that holds it; validated.

    Raises
    ------
    InputError
        No such file, not a CSV file, or a row that does not belong.
    """
    _known(table)
    path = place.root if isinstance(place, Run) else Path(place)
    path = path / f"{table}.csv" if path.is_dir() else path
    frame = read_csv(path, table, "run the steps that write it", "run the step again", numbers=schema.NUMBERS[table])
    return schema.validate(frame, table)


def read_csv(
    path: Path, table: str, first: str, again: str, columns: Sequence[str] = (), numbers: Sequence[str] = ()
) -> pd.DataFrame:
    """A file of one of our tables as it stands: text, and float where a column holds numbers.

    Parameters
    ----------
    path : Path
    table : str, what the file should hold.
    first, again : str, what to try where there is no file, and where it cannot be read.
    columns : sequence of str, all that the file should have, in order; none given, none are asked for.
    numbers : sequence of str, those of numbers; one that the file lacks is left to the caller.

    Raises
    ------
    InputError
        No such file, not a CSV file, other columns, or a word where a number belongs.
    """
    import pandas as pd

    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; expected a {table} table, {first}") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not readable as CSV ({error}); delete it and {again}") from error
    if columns and list(frame.columns) != list(columns):
        raise InputError(f"{path} has the columns {', '.join(frame.columns)}; expected {', '.join(columns)}")
    for column in numbers:
        if column in frame:
            try:
                frame[column] = frame[column].replace("", "nan").astype(float)
            except ValueError as error:
                raise InputError(f"{path}, column {column}: {error}; expected numbers") from error
    return frame


def results_or_committed(run: Run, table: str) -> pd.DataFrame:
    """The table of a run, or, where it has none yet, the one committed with the figures of its profile."""
    if run.path(f"{table}.csv").is_file():
        return load(run, table)
    print(f"{table}.csv was not made in this run: using the one committed in figures/{run.profile}/")
    return load(PROJECT / "figures" / run.profile, table)


def _write(rows: pd.DataFrame, table: str, path: Path) -> None:
    with atomic_path(path) as temporary:
        rows.to_csv(temporary, index=False, float_format=FLOAT_FORMAT[table], lineterminator="\n", encoding="utf-8")


def _text(k) -> str:
    """`k` as the vocabulary writes it: 1, 1.0 and "1" are ``"1"``, missing is empty."""
    if isinstance(k, str):
        return k
    return "" if k is None or k != k else str(int(k))


def _known(table: str) -> None:
    if table not in schema.COLUMNS:
        raise InputError(f"unknown table {table!r}; expected metrics or costs")
