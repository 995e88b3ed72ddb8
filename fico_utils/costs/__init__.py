"""What retrieval costs: time, memory and bytes, measured under one protocol on plain arrays and callables.

`clock` holds the timing protocol and the rows of ``costs.csv``; `growth` fits how a cost grows and carries it to
sizes that were not run; `kept` keeps long measurements on disk. `encoding`, `storage`, `attention` and `search`
measure the paper's Tables 5, 6, 7 and Figure 4: encoding on a stream of unique scenes (`stages`), searching on
`synthetic`, FAISS's benchmark data drawn in bounded memory, or any other vectors. Growing galleries and
two-step searches are in `fico_utils.extras.galleries`.
"""

from fico_utils.costs.attention import attends, attention_rows, query_time
from fico_utils.costs.clock import measure, row
from fico_utils.costs.encoding import encoding_rows
from fico_utils.costs.pairwise import Pairwise, again, attending, pairwise, scorer
from fico_utils.costs.search import growing, search_rows, search_sweep
from fico_utils.costs.stages import Scenes, encoder, extractors
from fico_utils.costs.storage import index_on_top, storage_rows, stored_sample

__all__ = [
    "Pairwise",
    "Scenes",
    "again",
    "attending",
    "attends",
    "attention_rows",
    "encoder",
    "encoding_rows",
    "extractors",
    "growing",
    "index_on_top",
    "measure",
    "pairwise",
    "query_time",
    "row",
    "scorer",
    "search_rows",
    "search_sweep",
    "storage_rows",
    "stored_sample",
]
