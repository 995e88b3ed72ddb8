"""What retrieval costs: time, memory and bytes, measured under one protocol.

`clock` holds the timing protocol, `rows` the rows of ``costs.csv``. `encoding`, `storage`, `attention` and `search`
measure the paper's Tables 5, 6, 7 and Figure 4, and `sections` does it for the systems of a run.
"""

from fico_utils.costs.blocks import Scenes, feature_stages, system_stage
from fico_utils.costs.clock import Timing, measure_time
from fico_utils.costs.encoding import encoding_rows
from fico_utils.costs.sections import (
    attention_table,
    encoding_table,
    load_subjects,
    search_table,
    storage_samples,
    storage_table,
)

__all__ = [
    "Scenes", "Timing", "attention_table", "encoding_rows", "encoding_table", "feature_stages", "load_subjects",
    "measure_time", "search_table", "storage_samples", "storage_table", "system_stage",
]  # fmt: skip
