"""The one kind of error that is the reader's to mend."""

from __future__ import annotations


class InputError(ValueError):
    """Bad usage or bad input, in one sentence: what was given, what was expected, what to try.

    The command line prints the sentence to stderr and exits with code 2; in a notebook it is the last
    line of the traceback.
    """
