"""What retrieval costs: time, memory and bytes, measured under one protocol on plain arrays and callables.

`clock` holds the timing protocol and the rows of ``costs.csv``; `growth` fits how a cost grows and carries it
to sizes that were not run; `encoding`, `storage`, `attention` and `search` measure the paper's Tables 5, 6, 7
and Figure 4, the last on `synthetic`, FAISS's benchmark data drawn in bounded memory, or any other vectors.
"""

from fico_utils.costs.attention import attention_rows
from fico_utils.costs.clock import measure, row
from fico_utils.costs.encoding import encoding_rows, time_encoder
from fico_utils.costs.search import growing, search_rows, search_sweep
from fico_utils.costs.storage import storage_rows

__all__ = [
    "attention_rows",
    "encoding_rows",
    "growing",
    "measure",
    "row",
    "search_rows",
    "search_sweep",
    "storage_rows",
    "time_encoder",
]
