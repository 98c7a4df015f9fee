"""A training script as it stands, under Keras and under `loop.install()`, call by call.

    print(compare_script("train.py", ["--epochs", "3"]))

Each run is a process of its own in the current folder, one after the other, from the same seeds;
the script's own seeds come on top. What the script writes, every run writes again: there are two,
and where they differ a third, under Keras once more.
"""

import ast
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compare.errors import NeverTrainedError, Outcome, ScriptError, UnreadableScriptError
from compare.recording.bits import Difference, differences
from compare.recording.trace import Trace


@dataclass(frozen=True)
class ScriptCall:
    """One call of fit, evaluate, predict or one of their friends on a batch, as it was recorded.

    Attributes:
        method: Its name.
        place: File and line of the call, like `train.py:12`.
        seconds: How long it took, tracing and compiling included.
        steps: Training steps that it made.
        result: What it returned, as plain values and arrays; a History as its three dicts.
        variables: Every variable of the model after a fit or a train_on_batch, by kind, place and
            path; else empty.
    """

    method: str
    place: str
    seconds: float
    steps: int
    result: dict[str, Any]
    variables: dict[str, Any] = field(default_factory=dict)

    @property
    def left_behind(self) -> Trace:
        """All that has to be the same: the call, what it returned, what it made of the model."""
        called = {"method": self.method, "place": self.place, "steps": self.steps}
        return Trace(seen={**called, **self.result}, variables=self.variables)


@dataclass(frozen=True)
class ComparedCall:
    """The same call under both engines.

    Attributes:
        reference: The call under Keras.
        candidate: The call under glassfit.
        compared: How many values were compared.
        differences: Those that differ.
    """

    reference: ScriptCall
    candidate: ScriptCall
    compared: int
    differences: list[Difference]

    @property
    def speed(self) -> float:
        """How many times as fast this one call was, tracing and compiling included."""
        return self.reference.seconds / self.candidate.seconds


@dataclass(frozen=True)
class ScriptVerdict:
    """What came of a script.

    Attributes:
        script: Its name.
        calls: Every call that both made, in order.
        made: How many calls the reference and the candidate made.
        failed: What the script died of under glassfit alone; None where it did not.
        unrepeatable: What differs when Keras runs the script again, if the two differ at all.
    """

    script: str
    calls: list[ComparedCall]
    made: tuple[int, int]
    failed: str | None = None
    unrepeatable: list[Difference] = field(default_factory=list)

    @property
    def outcome(self) -> Outcome:
        """How it ended, as an exit status."""
        if self.unrepeatable:
            return Outcome.UNREPEATABLE
        if self.failed:
            return Outcome.CANDIDATE_FAILED
        same = self.made[0] == self.made[1] and not any(one.differences for one in self.calls)
        return Outcome.IDENTICAL if same else Outcome.PARTED

    @property
    def compared(self) -> int:
        """How many values were compared."""
        return sum(one.compared for one in self.calls)

    def __str__(self) -> str:
        differing = [one for call in self.calls for one in call.differences]
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
    """Runs a script under Keras, then under `loop.install()`, and compares call by call.

    Args:
        path: The script.
        arguments: What it finds in `sys.argv` behind its name.

    Raises:
        UnreadableScriptError: There is no such file, or it is no Python.
        ScriptError: It fails under Keras.
        NeverTrainedError: It calls neither fit nor evaluate nor predict, nor one of their friends
            on a batch.
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
    found = [one for call in itself.calls for one in call.differences]
    if failed_again:  # on what the first run left behind, maybe
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
    """The calls of a script under an engine, and what it died of."""
    with tempfile.TemporaryDirectory(prefix="glassfit-") as folder:
        out = Path(folder) / "calls.pickle"
        worker = [
            sys.executable,
            "-P",
            "-m",
            "compare.execution.script_worker",
            engine,
            str(out),
            str(path),
        ]
        done = subprocess.run([*worker, *arguments], capture_output=True, check=False)
        calls = pickle.loads(out.read_bytes()) if out.exists() else []
    said = done.stderr.decode(errors="replace").strip().split("\n")
    said = [line.rstrip() for line in said if "\r" not in line.rstrip()]  # no progress bars
    last = "\n".join(said[-8:])
    return calls, (last or f"exit status {done.returncode}") if done.returncode else None


def _verdict(
    path: Path,
    theirs: list[ScriptCall],
    ours: list[ScriptCall],
    failed: str | None = None,
    unrepeatable: Sequence[Difference] = (),
) -> ScriptVerdict:
    calls = [
        ComparedCall(one, other, *differences(one.left_behind, other.left_behind))
        for one, other in zip(theirs, ours, strict=False)
    ]
    made = len(theirs), len(ours)
    return ScriptVerdict(path.name, calls, made, failed, list(unrepeatable))
