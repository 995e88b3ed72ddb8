"""What retrieval costs: time, memory and bytes, measured under one protocol on plain arrays and callables.

`clock` holds the timing protocol and the rows of ``costs.csv``; `growth` fits how a cost grows and carries it to
sizes that were not run; `kept` keeps long measurements on disk. `encoding`, `storage`, `attention` and `search`
measure the paper's Tables 5, 6, 7 and Figure 4: encoding on a stream of unique scenes (`stages`), searching on
`synthetic`, FAISS's benchmark data drawn in bounded memory, or any other vectors. `gallery` finds what is found as the
gallery grows, `screen` searches in two steps, `setups` measures ways to search beside each other, `pareto` chooses.
"""

from fico_utils.costs.attention import attends, attention_rows, query_time
from fico_utils.costs.clock import measure, row
from fico_utils.costs.encoding import encoding_rows
from fico_utils.costs.gallery import Growing, gallery_rows
from fico_utils.costs.pairwise import Pairwise, again, attending, pairwise, scorer
from fico_utils.costs.pareto import deploy, front, screens
from fico_utils.costs.screen import Screen
from fico_utils.costs.search import growing, search_rows, search_sweep
from fico_utils.costs.setups import setup_rows
from fico_utils.costs.stages import Scenes, encoder, extractors
from fico_utils.costs.storage import index_on_top, storage_rows, stored_sample
from fico_utils.costs.truth import Ceiling, Truth

__all__ = [
    "Ceiling",
    "Growing",
    "Pairwise",
    "Scenes",
    "Screen",
    "Truth",
    "again",
    "attending",
    "attends",
    "attention_rows",
    "deploy",
    "encoder",
    "encoding_rows",
    "extractors",
    "front",
    "gallery_rows",
    "growing",
    "index_on_top",
    "measure",
    "pairwise",
    "query_time",
    "row",
    "scorer",
    "screens",
    "search_rows",
    "search_sweep",
    "setup_rows",
    "storage_rows",
    "stored_sample",
]
