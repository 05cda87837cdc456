"""`python -m hostler`."""

import sys

from hostler.cli import main

if __name__ == "__main__":
    sys.exit(main())
