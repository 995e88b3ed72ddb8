"""What retrieval costs: time, memory and bytes, measured under one protocol.

`clock` holds the timing protocol and the rows of ``costs.csv``; `growth` fits how a cost grows and carries it to sizes
that were not run. `encoding`, `storage`, `attention` and `search` measure the paper's Tables 5, 6, 7 and Figure 4 on
plain arrays and callables: encoding on a stream of unique scenes (`blocks`), searching on FAISS's benchmark data drawn
in bounded memory (`vectors`, `indexes`). `sections` does it for the systems of a run. Growing galleries and two-step
searches are in `fico_utils.extras.galleries`.
"""

from fico_utils.costs.attention import attention_rows
from fico_utils.costs.blocks import Scenes, feature_stages, system_stage
from fico_utils.costs.clock import Timing, cost_row, measure_time
from fico_utils.costs.encoding import encoding_rows
from fico_utils.costs.search import doubling_sizes, search_rows, search_sweep
from fico_utils.costs.sections import (
    attention_table,
    encoding_table,
    load_subjects,
    search_table,
    storage_samples,
    storage_table,
)
from fico_utils.costs.storage import index_on_top, storage_rows, stored_sample

__all__ = [
    "Scenes",
    "Timing",
    "attention_rows",
    "attention_table",
    "cost_row",
    "doubling_sizes",
    "encoding_rows",
    "encoding_table",
    "feature_stages",
    "index_on_top",
    "load_subjects",
    "measure_time",
    "search_rows",
    "search_sweep",
    "search_table",
    "storage_rows",
    "storage_samples",
    "storage_table",
    "stored_sample",
    "system_stage",
]
