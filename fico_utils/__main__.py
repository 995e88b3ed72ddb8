"""``python -m fico_utils VERB ...``; the command line itself is in `fico_utils.cli`."""

import sys

from fico_utils.cli import main

if __name__ == "__main__":
    sys.exit(main())
