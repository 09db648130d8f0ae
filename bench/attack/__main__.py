"""`python -m bench.attack`."""

import sys

from bench.attack.load import main

if __name__ == "__main__":
    sys.exit(main())
