"""Tests that look for faults: `python -m tests.faults` gives them more time than `make test`."""
