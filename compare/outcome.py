"""Former name of `compare.errors`, kept for code that imports from it."""

import warnings

from compare.errors import *  # noqa: F403 - every name that this module had

warnings.warn("compare.outcome is now compare.errors", DeprecationWarning, stacklevel=2)
