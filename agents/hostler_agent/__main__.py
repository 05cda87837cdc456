"""Runs the agent from its unpacked folder: `python3 -I -S <folder>/hostler_agent/__main__.py`."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from hostler_agent.main import main

    main(sys.argv[1], sys.argv[2])
