"""The environment of Python processes that tests start."""

import os
from pathlib import Path

QUICK_START = str(Path(__file__).parent / "support" / "quick_start")
"""A folder for PYTHONPATH: see the `sitecustomize.py` in it."""


def quick_start() -> dict[str, str]:
    """Return this environment with `QUICK_START` first in PYTHONPATH."""
    paths = [QUICK_START, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
