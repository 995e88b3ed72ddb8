"""The verb `compare`: whether systems differ on the same queries."""

from __future__ import annotations

import argparse

from fico_utils.cli import natural_number

HELP = "test whether systems differ on the same queries"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Paired comparison of files that `evaluate --per-query FILE` wrote, one a system."
    parser.add_argument("files", nargs="+", metavar="FILE.csv", help="two or more files of values per query")
    parser.add_argument("--metric", default="recall@1", metavar="NAME@K,K,...", help="such as recall@1 or map@10,N")
    parser.add_argument("--seed", type=natural_number, default=0, metavar="N", help="of the draws")


def run(options: argparse.Namespace) -> int:
    """Exit code, 0."""
    from fico_utils.extras.paired import compare

    table = compare(options.files, metric=options.metric, seed=options.seed)
    print(table.to_string(index=False, float_format=lambda x: f"{x:.4f}"))
    return 0
