"""Keep what native code writes to standard error out of tables and progress bars."""

import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quietly() -> Iterator[None]:
    """Hold back what native code writes to standard error; show it if the block fails."""
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(before, held.read())
            raise
        finally:
            os.dup2(before, 2)
            os.close(before)


def import_tensorflow_quietly() -> None:
    """Import TensorFlow without its messages; sets `TF_CPP_MIN_LOG_LEVEL` unless it is set.

    No garbage is collected meanwhile: nearly all objects that an import creates stay, and searching
    them again and again takes a fifth of its time.

    For commands and test suites only: importing `compare` changes neither the environment nor
    standard error.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    collecting = gc.isenabled()
    gc.disable()
    try:
        with quietly():
            import tensorflow  # noqa: F401
    finally:
        if collecting:
            gc.enable()
