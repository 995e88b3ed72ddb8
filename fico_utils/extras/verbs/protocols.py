"""The verb `protocols`: whose numbers `evaluate --protocol` can give, and by which rules."""

from __future__ import annotations

import argparse

HELP = "list the protocols of evaluate, with their differences"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has no arguments."""


def run(options: argparse.Namespace) -> int:
    """Exit code, 0."""
    from fico_utils.extras.scoring.protocols import PROTOCOLS, describe_protocol

    for protocol in PROTOCOLS.values():
        print(f"{protocol.name}: {protocol.source}")
        for name, value in describe_protocol(protocol).items():
            if value not in ("", 1):
                print(f"    {name:<12} {value}")
    return 0
