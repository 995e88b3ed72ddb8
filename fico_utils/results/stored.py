"""What a system stores of an image and of a caption, in words: our lines of Table 1.

A shape is written as the paper writes it, width x number of vectors: ``128x17`` are 17 vectors of 128 numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fico_utils.files import write_text
from fico_utils.provenance import PROJECT
from fico_utils.results import store
from fico_utils.workspace import Run

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

COLUMNS = ("system", "embedding_dims", "image_features", "text_features", "dtype")
FILE = "stored.csv"
#: numpy kind -> letter of a data type, as the paper writes it.
LETTERS = {"f": "f", "i": "i", "u": "u"}


def stored_row(system: str, sample: Mapping[str, Any]) -> dict[str, str]:
    """The line of a system.

    Parameters
    ----------
    system : str, id of the registry.
    sample : mapping, what `fico_utils.costs.stored_sample` returns: ``img_emb`` (n, d), (n, q, d) or packed codes,
        ``features_img`` and ``features_txt`` (n, tokens, d) where a query needs them, ``bits`` of the codes.

    Examples
    --------
    >>> import numpy as np
    >>> sample = {"img_emb": np.zeros((2, 8), np.uint8), "txt_emb": np.zeros((10, 8), np.uint8), "bits": 64}
    >>> stored_row("ucch", sample)["embedding_dims"], stored_row("ucch", sample)["dtype"]
    ('64', 'u8')
    """
    kept = {name: sample.get(name) for name in ("img_emb", "features_img", "features_txt")}
    arrays = [a for a in kept.values() if a is not None and a.shape[-1]]
    dtype = arrays[0].dtype
    return {
        "system": system,
        "embedding_dims": str(sample["bits"]) if sample.get("bits") else shape_text(kept["img_emb"]),
        "image_features": shape_text(kept["features_img"]),
        "text_features": shape_text(kept["features_txt"]),
        "dtype": f"{LETTERS[dtype.kind]}{8 * dtype.itemsize}",
    }


def shape_text(array: np.ndarray | None) -> str:
    """The shape of one item, ``d`` or ``d x q`` without blanks; empty where nothing is stored."""
    if array is None or array.shape[-1] == 0:
        return ""
    return "x".join(str(n) for n in reversed(array.shape[1:]))


def write_stored(run: Run, rows: Iterable[Mapping[str, str]]) -> Path:
    """Path of ``<root>/stored.csv``, just written."""
    import pandas as pd

    path = run.path(FILE)
    write_text(path, pd.DataFrame(list(rows), columns=list(COLUMNS)).to_csv(index=False, lineterminator="\n"))
    return path


def read_stored(run: Run) -> pd.DataFrame:
    """What a run stored; else what is committed with the figures of its profile; else no rows."""
    import pandas as pd

    for path in (run.path(FILE), PROJECT / "figures" / run.profile / FILE):
        if path.is_file():
            return store.read_csv(path, "stored", "run notebook 05", "run notebook 05 again", COLUMNS)
    return pd.DataFrame(columns=list(COLUMNS))
