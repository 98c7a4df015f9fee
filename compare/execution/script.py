"""Compare an unmodified training script under Keras and under `loop.install()`, call by call.

    print(compare_script("train.py", ["--epochs", "3"]))

The script runs twice, one process after the other, in the current folder: under Keras, then under
glassfit. Where the two differ it runs a third time, under Keras again, to see whether Keras repeats
itself. All runs start from the same seeds; a script that sets seeds of its own overrides them.
Files that the script writes are written by every run.
"""

import os
import pickle
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import glassfit
from compare.errors import (
    CannotCompareError,
    NeedsInputError,
    NeverTrainedError,
    NoGpuError,
    OtherBackendError,
    Outcome,
    ScriptError,
    TimeLimitError,
    TrainedOutsideError,
)
from compare.execution.in_process import lacks_gpu
from compare.execution.places import parsed
from compare.recording.bits import Difference, differences
from compare.recording.trace import Trace

OF_TENSORFLOW = r"WARNING: All log messages before absl::|[IWEF]\d{4} |To enable the following "
"""How lines begin that TensorFlow's native code writes to standard error."""


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
        outside: How many steps the script trained outside of these calls, which are not compared:
            by line, like `train.py:12`, as counted under Keras.
    """

    script: str
    calls: list[ComparedCall]
    made: tuple[int, int]
    failed: str | None = None
    unrepeatable: list[Difference] = field(default_factory=list)
    outside: dict[str, int] = field(default_factory=dict)

    @property
    def outcome(self) -> Outcome:
        """Return the verdict as an exit status."""
        if self.unrepeatable:
            return Outcome.UNREPEATABLE
        if self.failed:
            return Outcome.CANDIDATE_FAILED
        if self.made[0] != self.made[1] or any(call.differences for call in self.calls):
            return Outcome.PARTED
        return Outcome.TRAINED_OUTSIDE if self.outside else Outcome.IDENTICAL

    @property
    def same(self) -> bool:
        """Return whether nothing differs of what was compared."""
        return self.outcome in (Outcome.IDENTICAL, Outcome.TRAINED_OUTSIDE)

    @property
    def compared(self) -> int:
        """Return the number of values compared."""
        return sum(call.compared for call in self.calls)

    def __str__(self) -> str:
        more = f"\n{_outside(self.outside)}" if self.outside else ""
        return self._of_calls() + more

    def _of_calls(self) -> str:
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
        words = f"{len(self.calls)} calls, {self.compared:,} values"
        if self.outside:
            return f"{self.script}: nothing differs in {words}, and not all training is in them"
        return f"{self.script}: identical, {words}"


class ScriptRun(NamedTuple):
    """A run of a script.

    Attributes:
        calls: Its calls.
        outside: The steps that it trained outside of them, by line.
        failed: The error message with which it ended; None for success.
    """

    calls: list[ScriptCall]
    outside: dict[str, int]
    failed: str | None


def compare_script(
    path: str | Path, arguments: Sequence[str] = (), limit: float | None = None
) -> ScriptVerdict:
    """Run a script under Keras, then under `loop.install()`, and compare call by call.

    Args:
        path: The script.
        arguments: Its arguments, `sys.argv[1:]` in the script.
        limit: Seconds after which a run of the script is ended; None for no limit.

    Raises:
        UnreadableScriptError: The file does not exist, or is not valid Python.
        ScriptError: The script fails under Keras. If the reason is plain, its own error: it needs
            input, a GPU or another backend.
        TimeLimitError: The script takes longer than the limit.
        TrainedOutsideError: The script trains, and calls none of the six methods.
        NeverTrainedError: The script calls none of `fit`, `evaluate`, `predict` and `*_on_batch`.
    """
    path = Path(path)
    parsed(path)
    theirs = _recorded("keras", path, arguments, limit)
    if theirs.failed:
        raise _failure(path, theirs.failed)
    if not theirs.calls and theirs.outside:
        raise TrainedOutsideError(
            f"{path} calls no fit, evaluate or predict, so there is nothing to compare. "
            f"{_outside(theirs.outside)}"
        )
    if not theirs.calls:
        raise NeverTrainedError(f"{path} trains nothing: it calls no fit, evaluate or predict")
    ours = _recorded("loop", path, arguments, limit)
    verdict = _verdict(path, theirs, ours)
    if verdict.same:
        return verdict
    again = _recorded("keras", path, arguments, limit)
    itself = _verdict(path, theirs, again)
    if itself.same:
        return verdict
    found = [difference for call in itself.calls for difference in call.differences]
    if again.failed:  # for example because a file of the first run is in the way
        found = [Difference("the script", "run to its end", again.failed)]
    return _verdict(path, theirs, ours, found or [Difference("calls", *itself.made)])


def _outside(steps: dict[str, int]) -> str:
    """Return a sentence about the steps outside of all calls, and what compares them."""
    counted = [f"{count:,} step{'s' * (count != 1)} at {place}" for place, count in steps.items()]
    return (
        f"NOT compared: {', '.join(counted)}, trained outside of fit and train_on_batch; "
        f"`glassfit diagnose --fit FILE --loop {next(iter(steps))}` compares a loop with a fit"
    )


def _failure(path: Path, failed: str) -> CannotCompareError:
    """Return the error for a script that fails under Keras, in the class of its reason."""
    what = f"{path} fails under Keras itself:\n{failed}"
    if re.search(r"^EOFError", failed, re.M):
        return NeedsInputError(f"{what}\nIt asks for input, and nobody answers")
    if re.search(r"^usage: ", failed, re.M | re.I):
        return NeedsInputError(f"{what}\nGive it its arguments behind its name")
    if "KERAS_BACKEND=tensorflow" in failed:
        return OtherBackendError(what)
    of_script = [line for line in failed.split("\n")[:-1] if line.startswith("    ")]
    if lacks_gpu(" ".join([*of_script, failed.split("\n")[-1]])):
        return NoGpuError(f"{what}\nTensorFlow sees no GPU here: run it where there is one")
    return ScriptError(what)


def _recorded(engine: str, path: Path, arguments: Sequence[str], limit: float | None) -> ScriptRun:
    """Run a script under an engine in a process of its own.

    Raises:
        TimeLimitError: It took longer than `limit` seconds.
    """
    with tempfile.TemporaryDirectory(prefix="glassfit-") as folder:
        out = Path(folder) / "calls.pickle"
        script = [os.fspath(path), *arguments]
        command = glassfit.recording("compare.execution.script_worker", engine, str(out), script)
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=limit,
            )
        except subprocess.TimeoutExpired:
            raise TimeLimitError(
                f"{path} takes longer than {limit:g} seconds: train on less data or for fewer "
                "epochs, or set another --limit"
            ) from None
        calls, outside = pickle.loads(out.read_bytes()) if out.exists() else ([], {})
    lines = done.stderr.decode(errors="replace").strip().split("\n")
    lines = [line.rstrip() for line in lines if "\r" not in line.rstrip()]  # no progress bars
    last = "\n".join([line for line in lines if not re.match(OF_TENSORFLOW, line)][-8:])
    failed = (last or f"exit status {done.returncode}") if done.returncode else None
    return ScriptRun(calls, outside, failed)


def _verdict(
    path: Path, theirs: ScriptRun, ours: ScriptRun, unrepeatable: Sequence[Difference] = ()
) -> ScriptVerdict:
    calls = [
        ComparedCall(reference, call, *differences(reference.left_behind, call.left_behind))
        for reference, call in zip(theirs.calls, ours.calls, strict=False)
    ]
    made = len(theirs.calls), len(ours.calls)
    return ScriptVerdict(path.name, calls, made, ours.failed, list(unrepeatable), theirs.outside)
