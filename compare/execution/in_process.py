"""Run a script in this process as `python FILE` would, and take back what it changes here.

    with mock.patch.object(keras.Model, "evaluate", ...):
        run_script(Path("train.py"), Path.cwd(), limit=300)

It gets no input, its output is kept for the message of an error only, and it ends at a time limit
or where a function that it calls raises `Stopped`.
"""

import contextlib
import io
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import keras
import tensorflow as tf

import glassfit
from compare.errors import (
    CannotCompareError,
    NeedsInputError,
    NoGpuError,
    OtherBackendError,
    ScriptError,
    TimeLimitError,
)
from compare.recording.recorder import SEED

PARSERS = ("argparse.py", "optparse.py", "/absl/", "/click/", "/docopt", "/fire/", "/typer/")
"""Parts of the paths of modules that read a script's arguments, and exit where some are missing."""

WITHOUT_ARGUMENTS = (
    "nobody answers and no arguments are passed: give every argument a default, and read nothing "
    "from standard input"
)


class Stopped(BaseException):
    """Ends a script from within; no `except Exception` of the script catches it.

    Attributes:
        error: Why nothing can be compared; None where all that is needed is known.
    """

    def __init__(self, error: CannotCompareError | None = None):
        super().__init__(str(error or ""))
        self.error = error


def run_script(script: Path, folder: Path, limit: float) -> SystemExit | None:
    """Run a script from the seeds `SEED`, until it ends or raises `Stopped`.

    Args:
        script: The file.
        folder: The folder in which it runs.
        limit: Seconds after which it is ended.

    Returns:
        The SystemExit with which the script ended, if it did.

    Raises:
        CannotCompareError: The script fails, asks for input or arguments, needs a GPU or another
            backend, or runs into the limit.
    """
    _begin_anew()
    with _taken_back(script, folder) as errors:
        try:
            with _time_limit(script, limit), glassfit.modules_of_script():
                glassfit.execute(str(script))
        except Stopped as stopped:
            if stopped.error:
                raise stopped.error from None
        except SystemExit as exited:
            if _in_traceback(exited, PARSERS):
                said = errors.getvalue().strip().splitlines()
                raise _needs_input(script, said[-1] if said else "arguments") from None
            return exited
        except Exception as error:
            raise _described(script, error) from error
        finally:
            _require_tensorflow(script)
    return None


def _begin_anew() -> None:
    """Set seeds and what Keras and TensorFlow keep for a whole process, as they are at first."""
    keras.backend.clear_session(free_memory=False)  # the layers of the script count from 0
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    keras.config.set_image_data_format("channels_last")
    tf.config.run_functions_eagerly(False)
    keras.utils.set_random_seed(SEED)


@contextlib.contextmanager
def _taken_back(script: Path, folder: Path) -> Iterator[io.StringIO]:
    """Give a script a process of its own, as far as that goes; yields what it writes as errors."""
    errors = io.StringIO()
    with contextlib.ExitStack() as stack:
        patch = mock.patch.object
        stack.enter_context(mock.patch.dict(os.environ, {"MPLBACKEND": "Agg"}))
        stack.enter_context(patch(sys, "argv", Arguments(script)))
        stack.enter_context(patch(sys, "path", list(sys.path)))
        stack.enter_context(patch(sys, "stdin", NoInput(script)))
        stack.enter_context(patch(sys, "excepthook", sys.excepthook))
        stack.callback(sys.modules.__setitem__, "__main__", sys.modules["__main__"])
        stack.callback(_forget_modules_beside, script, dict(sys.modules))
        for function in ("set_intra_op_parallelism_threads", "set_inter_op_parallelism_threads"):
            # TensorFlow refuses these once it runs, and both trainings share its threads.
            stack.enter_context(patch(tf.config.threading, function, lambda _threads: None))
        stack.enter_context(contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())))
        stack.enter_context(contextlib.redirect_stderr(errors))
        stack.callback(os.chdir, Path.cwd())
        os.chdir(folder)
        yield errors


def _forget_modules_beside(script: Path, before: dict[str, Any]) -> None:
    """Forget modules from a script's folder: its next run executes them again, as a new process."""
    folder = script.parent.resolve()
    for name in [name for name in sys.modules if name not in before]:
        file = getattr(sys.modules[name], "__file__", None)
        if file and folder in Path(file).resolve().parents and "site-packages" not in file:
            del sys.modules[name]


@contextlib.contextmanager
def _time_limit(script: Path, limit: float) -> Iterator[None]:
    """Stop the block after `limit` seconds; without effect where Python has no alarm (Windows)."""

    def stop(*_signal: Any) -> None:
        raise Stopped(
            TimeLimitError(
                f"{script.name} takes longer than {limit:g} seconds: train on less data or for "
                "fewer epochs, or set another --limit"
            )
        )

    if not hasattr(signal, "SIGALRM"):
        yield
        return
    handler = signal.signal(signal.SIGALRM, stop)
    left = signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *left)
        signal.signal(signal.SIGALRM, handler)


class Arguments(list[str]):
    """The arguments of a script that is passed none; reading one stops it."""

    def __init__(self, script: Path):
        super().__init__([str(script)])

    def __getitem__(self, place: Any) -> Any:
        """Return an argument or several."""
        if isinstance(place, int) and place >= len(self):
            raise Stopped(_needs_input(Path(self[0]), f"argument {place}"))
        return super().__getitem__(place)


class NoInput(io.TextIOBase):
    """Standard input that stops the script which reads it."""

    def __init__(self, script: Path):
        self._script = script

    def read(self, size: int | None = -1, /) -> str:
        """Stop the script."""
        raise Stopped(_needs_input(self._script, "input"))

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]
        """Stop the script; iterating over lines does, too."""
        return self.read(size)


def _needs_input(script: Path, what: str) -> NeedsInputError:
    return NeedsInputError(f"{script.name} asks for {what}, and {WITHOUT_ARGUMENTS}")


def _require_tensorflow(script: Path) -> None:
    """Raise an OtherBackendError if a script sets another backend than TensorFlow."""
    chosen = {os.environ.get("KERAS_BACKEND") or "tensorflow", keras.config.backend()}
    if others := chosen - {"tensorflow"}:
        raise OtherBackendError(
            f"{script.name} sets Keras's backend to {others.pop()!r}, and only training with "
            "TensorFlow can be followed: set KERAS_BACKEND=tensorflow"
        )


def _described(script: Path, error: Exception) -> CannotCompareError:
    """Return the error of a script with its line, in the class of its reason."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if os.path.realpath(frame.filename) == str(script.resolve())]
    line = f":{own[-1].lineno}" if own else ""
    what = f"{script.name}{line}: {type(error).__name__}: {error}"
    words = f"{error} {own[-1].line if own else ''}"
    if lacks_gpu(words):
        return NoGpuError(f"{what}\nTensorFlow sees no GPU here: run it where there is one")
    return ScriptError(f"{what}\nRun it with python first, from the same folder, without arguments")


def lacks_gpu(words: str) -> bool:
    """Return whether the words of an error, or the line that raised it, are about a missing GPU."""
    about = re.search(r"\b(gpus?|cuda)\b", words, re.I) is not None
    return about and not tf.config.list_physical_devices("GPU")


def _in_traceback(error: BaseException, parts: tuple[str, ...]) -> bool:
    """Return whether a file was running whose path has one of these parts."""
    files = [
        frame.filename.replace(os.sep, "/") for frame in traceback.extract_tb(error.__traceback__)
    ]
    return any(part in file for file in files for part in parts)
