"""Compare an unmodified training script under Keras and under `loop.install()`, call by call.

    print(compare_script("train.py", ["--epochs", "3"]))

The script runs twice, one process after the other, in the current folder: under Keras, then under
glassfit. Where the two differ it runs a third time, under Keras again, to see whether Keras repeats
itself. All runs start from the same seeds; a script that sets seeds of its own overrides them.
Files that the script writes are written by every run.
"""

import ast
import os
import pickle
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import glassfit
from compare.errors import NeverTrainedError, Outcome, ScriptError, UnreadableScriptError
from compare.recording.bits import Difference, differences
from compare.recording.trace import Trace


@dataclass(frozen=True)
class ScriptCall:
    """A recorded call of `fit`, `evaluate`, `predict` or one of the three methods `*_on_batch`.

    Attributes:
        method: The name of the method.
        place: File and line of the call, like `train.py:12`.
        seconds: Duration of the call, tracing and compiling included.
        steps: Number of training steps in the call.
        result: The returned values as numbers and arrays; for a History its `history`, `epoch` and
            `params`.
        variables: Every variable of the model after a `fit` or a `train_on_batch`, by kind, index
            and path; empty for the other methods.
    """

    method: str
    place: str
    seconds: float
    steps: int
    result: dict[str, Any]
    variables: dict[str, Any] = field(default_factory=dict)

    @property
    def left_behind(self) -> Trace:
        """Return all that must be equal: the call, its result and the variables of the model."""
        called = {"method": self.method, "place": self.place, "steps": self.steps}
        return Trace(seen={**called, **self.result}, variables=self.variables)


@dataclass(frozen=True)
class ComparedCall:
    """A call under Keras and the call in the same position under glassfit.

    Attributes:
        reference: The call under Keras.
        candidate: The call under glassfit.
        compared: Number of values compared.
        differences: The values that differ.
    """

    reference: ScriptCall
    candidate: ScriptCall
    compared: int
    differences: list[Difference]

    @property
    def speed(self) -> float:
        """Return the seconds under Keras over those under glassfit, compiling included."""
        return self.reference.seconds / self.candidate.seconds


@dataclass(frozen=True)
class ScriptVerdict:
    """The result of comparing a script under both engines.

    Attributes:
        script: The name of the script's file.
        calls: The calls in their order, up to the shorter of the two runs.
        made: The number of calls under Keras and under glassfit.
        failed: The error with which the script ended under glassfit alone; None for no error.
        unrepeatable: Differences between two runs under Keras; looked for only where Keras and
            glassfit differ.
    """

    script: str
    calls: list[ComparedCall]
    made: tuple[int, int]
    failed: str | None = None
    unrepeatable: list[Difference] = field(default_factory=list)

    @property
    def outcome(self) -> Outcome:
        """Return the verdict as an exit status."""
        if self.unrepeatable:
            return Outcome.UNREPEATABLE
        if self.failed:
            return Outcome.CANDIDATE_FAILED
        same = self.made[0] == self.made[1] and not any(call.differences for call in self.calls)
        return Outcome.IDENTICAL if same else Outcome.PARTED

    @property
    def compared(self) -> int:
        """Return the number of values compared."""
        return sum(call.compared for call in self.calls)

    def __str__(self) -> str:
        differing = [difference for call in self.calls for difference in call.differences]
        if self.unrepeatable:
            return (
                f"{self.script}: Keras does not repeat itself, so nothing can be said: "
                f"{self.unrepeatable[0]} when run again"
            )
        if self.failed:
            return f"{self.script}: runs under Keras, but not under glassfit: {self.failed}"
        if self.made[0] != self.made[1]:
            return f"{self.script}: {self.made[0]} calls under Keras, {self.made[1]} under glassfit"
        if differing:
            return (
                f"{self.script}: {len(differing):,} of {self.compared:,} values differ; first "
                f"{differing[0]} under glassfit"
            )
        return f"{self.script}: identical, {len(self.calls)} calls, {self.compared:,} values"


def compare_script(path: str | Path, arguments: Sequence[str] = ()) -> ScriptVerdict:
    """Run a script under Keras, then under `loop.install()`, and compare call by call.

    Args:
        path: The script.
        arguments: Its arguments, `sys.argv[1:]` in the script.

    Raises:
        UnreadableScriptError: The file does not exist, or is not valid Python.
        ScriptError: The script fails under Keras.
        NeverTrainedError: The script calls none of `fit`, `evaluate`, `predict` and `*_on_batch`.
    """
    path = Path(path)
    _require_python(path)
    theirs, failed = _recorded("keras", path, arguments)
    if failed:
        raise ScriptError(f"{path} fails under Keras itself:\n{failed}")
    if not theirs:
        raise NeverTrainedError(f"{path} trains nothing: it calls no fit, evaluate or predict")
    ours, failed = _recorded("loop", path, arguments)
    verdict = _verdict(path, theirs, ours, failed)
    if verdict.outcome is Outcome.IDENTICAL:
        return verdict
    again, failed_again = _recorded("keras", path, arguments)
    itself = _verdict(path, theirs, again, failed_again)
    if itself.outcome is Outcome.IDENTICAL:
        return verdict
    found = [difference for call in itself.calls for difference in call.differences]
    if failed_again:  # for example because a file of the first run is in the way
        found = [Difference("the script", "run to its end", failed_again)]
    return _verdict(path, theirs, ours, failed, found or [Difference("calls", *itself.made)])


def _require_python(path: Path) -> None:
    try:
        ast.parse(path.read_bytes(), str(path))
    except OSError as error:
        raise UnreadableScriptError(f"cannot read {path}: {error.strerror}") from None
    except (SyntaxError, ValueError) as error:
        raise UnreadableScriptError(f"cannot read {path} as Python: {error}") from None


def _recorded(
    engine: str, path: Path, arguments: Sequence[str]
) -> tuple[list[ScriptCall], str | None]:
    """Return the calls of a script under an engine, and its error message, None for success."""
    with tempfile.TemporaryDirectory(prefix="glassfit-") as folder:
        out = Path(folder) / "calls.pickle"
        script = [os.fspath(path), *arguments]
        command = glassfit.recording("compare.execution.script_worker", engine, str(out), script)
        done = subprocess.run(command, capture_output=True, check=False)
        calls = pickle.loads(out.read_bytes()) if out.exists() else []
    lines = done.stderr.decode(errors="replace").strip().split("\n")
    lines = [line.rstrip() for line in lines if "\r" not in line.rstrip()]  # no progress bars
    last = "\n".join(lines[-8:])
    return calls, (last or f"exit status {done.returncode}") if done.returncode else None


def _verdict(
    path: Path,
    theirs: list[ScriptCall],
    ours: list[ScriptCall],
    failed: str | None = None,
    unrepeatable: Sequence[Difference] = (),
) -> ScriptVerdict:
    calls = [
        ComparedCall(reference, call, *differences(reference.left_behind, call.left_behind))
        for reference, call in zip(theirs, ours, strict=False)
    ]
    made = len(theirs), len(ours)
    return ScriptVerdict(path.name, calls, made, failed, list(unrepeatable))
