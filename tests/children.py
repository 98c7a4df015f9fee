"""The environment of Python processes that tests start."""

import os
from pathlib import Path

QUICK_START = str(Path(__file__).parent / "support" / "quick_start")
"""A folder for PYTHONPATH: see the `sitecustomize.py` in it."""


def quick_start(keeps: str = "") -> dict[str, str]:
    """Return this environment with `QUICK_START` first in PYTHONPATH.

    Args:
        keeps: A library that is not hidden from the process.
    """
    paths = [QUICK_START, *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = {"PYTHONPATH": os.pathsep.join(paths), "QUICK_START_KEEPS": keeps}
    return {**os.environ, **variables}
