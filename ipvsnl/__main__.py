"""python3 -m ipvsnl"""

import sys

from .cli import main

sys.exit(main())
