# Builds an index that one machine's memory would not hold: its shards are jobs, joined on disk.
#
#   snakemake -s workflow/shards.smk --cores 4 --config rows=images.npy factory=IVF4096,SQfp16 items=20000000 shards=20
#   snakemake -s workflow/shards.smk --executor slurm --jobs 20 --config ...
#
# `rows` is a .npy or .parquet file of one vector or packed code a row, `items` how many rows it has. The index is
# OUT/joined.index, with its lists beside it; move both together, and read it with faiss.read_index in their folder.
import shlex
import sys

from snakemake.exceptions import WorkflowError

DEFAULTS = {"rows": "", "factory": "IVF1024,SQfp16", "items": 0, "shards": 4, "out": "results/shards", "python": sys.executable}
for name in set(config) - set(DEFAULTS):
    raise WorkflowError(f"the workflow has no setting {name!r}; it has {', '.join(DEFAULTS)}")
ROWS, FACTORY, ITEMS, SHARDS, OUT, PYTHON = (DEFAULTS | config).values()
if not ROWS or not 1 <= int(SHARDS) <= int(ITEMS):
    raise WorkflowError(f"rows={ROWS!r}, items={ITEMS} and shards={SHARDS} were given, expected a file, its rows, and fewer shards")
ENDS = [i * int(ITEMS) // int(SHARDS) for i in range(int(SHARDS) + 1)]


def command(*words):
    """A command line of one step."""
    return shlex.join([PYTHON, "-m", "fico_utils.extras.deploy.shards", *map(str, words)])


rule all:
    input:
        f"{OUT}/joined.index",


rule train:
    input:
        ROWS,
    output:
        f"{OUT}/trained.index",
    params:
        call=command("train", ROWS, FACTORY, f"{OUT}/trained.index"),
    resources:
        mem_mb=4000,
    shell:
        "{params.call}"


rule shard:
    input:
        ROWS,
        f"{OUT}/trained.index",
    output:
        temp(f"{OUT}/shard{{i}}.index"),
    params:
        call=lambda w: command(
            "build", ROWS, f"{OUT}/trained.index", f"{OUT}/shard{w.i}.index",
            "--start", ENDS[int(w.i)], "--stop", ENDS[int(w.i) + 1],
        ),
    resources:
        mem_mb=4000,
    shell:
        "{params.call}"


rule join:
    input:
        f"{OUT}/trained.index",
        expand(f"{OUT}/shard{{i}}.index", i=range(int(SHARDS))),
    output:
        f"{OUT}/joined.index",
    params:
        call=command(
            "join", f"{OUT}/trained.index", f"{OUT}/joined.index", *[f"{OUT}/shard{i}.index" for i in range(int(SHARDS))]
        ),
    resources:
        mem_mb=4000,
    shell:
        "{params.call}"
