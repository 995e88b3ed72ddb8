"""The one kind of error that is the reader's to mend."""

from __future__ import annotations

#: Characters of the longest sentence.
LONGEST = 1200


class InputError(ValueError):
    """Bad usage or bad input, in one sentence: what was given, what was expected, what to try.

    The command line prints the sentence to stderr and exits with code 2; in a notebook it is the last
    line of the traceback. Of a longer one than `LONGEST`, which quotes what somebody gave, the middle is left out.
    """

    def __init__(self, sentence: str) -> None:
        half = LONGEST // 2
        super().__init__(sentence if len(sentence) <= LONGEST else f"{sentence[:half]} ... {sentence[-half:]}")
