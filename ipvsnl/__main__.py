"""Run the command line as python3 -m ipvsnl."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
