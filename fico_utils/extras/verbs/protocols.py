"""The verb `protocols`: whose numbers `evaluate --protocol` can give, and by which rules."""

from __future__ import annotations

import argparse

HELP = "list the protocols of evaluate, with their differences"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has no arguments."""


def run(options: argparse.Namespace) -> int:
    """Exit code, 0."""
    from fico_utils.evaluation.protocols import PROTOCOLS

    for protocol in PROTOCOLS.values():
        rows = protocol.described
        print(f"{rows.pop('protocol')}: {rows.pop('source')}")
        for name, value in rows.items():
            if value not in ("", 1):
                print(f"    {name:<12} {value}")
    return 0
