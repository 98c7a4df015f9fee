"""Compare the fit of one script with the loop of another, and change neither.

    scenario, candidate = two_scripts("with_fit.py", "with_loop.py")
    print(diagnose(scenario, candidate)[0])

The scenario runs the first script up to its call of fit, and takes model, data and arguments there.
The candidate runs the second script: once its loop begins, the model that this loop trains reads
and writes the weights of the model that it is passed, so it begins with the same ones, and all that
the instrument sees of the passed model is what the loop makes of it. What is called in a forward
pass stays the second script's: its own layers, its own activations.
"""

import contextlib
import functools
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import keras
import tensorflow as tf

import loop as engine
from compare.errors import (
    CannotCompareError,
    ExitedError,
    NeverTrainedError,
    SeveralTrainingsError,
)
from compare.execution.followed import Follower, Loop
from compare.execution.in_process import Stopped, run_script
from compare.execution.loop_training import Forwarding, LoopTraining
from compare.execution.places import Place, ScriptLines
from compare.location.taps import optimizers_with_apply
from compare.scenario import Fit, FitArguments, Scenario

LIMIT = 300.0
"""Seconds after which a script is ended, by default."""


class TwoScripts(NamedTuple):
    """The training of a script's fit, and the loop of another script as a fit.

    Attributes:
        scenario: What the fit trains.
        candidate: Trains it as the loop does.
    """

    scenario: Scenario
    candidate: Fit


def two_scripts(fit: str | Path, loop: str | Path, limit: float = LIMIT) -> TwoScripts:
    """Return the training of a script's fit, and the loop of a script as a candidate for it.

        scenario, candidate = two_scripts("with_fit.py", "with_loop.py")
        print(parity(scenario, candidate))

    Both scripts run in this process, from the same seeds, in the current folder and without
    arguments. Each is run once here, to find its trainings, and again for each training.

    The loss that the candidate returns is computed as that of fit is, from what the loop's tape
    differentiates: what a script prints cannot be compared. No other log is compared.

    Args:
        fit: The script that calls fit, `train.py`, or `train.py:12` where it does so more than
            once: line 12 is in that call, or in one that leads to it.
        loop: The script with the loop, also with a line: that of the loop or one before it. It may
            be the same file.
        limit: Seconds after which a run of a script is ended.

    Raises:
        UnreadableScriptError: A file does not exist, or is not valid Python.
        CannotCompareError: A subclass says why: a script fails, exits, asks for input, needs
            another backend or a GPU, takes longer than the limit, trains nothing or more than once.
    """
    theirs = FitOfScript.found(*file_and_line(fit), limit)
    ours = LoopOfScript.found(*file_and_line(loop), limit, theirs)
    names = f"{theirs.script.name}:{theirs.line}", f"{ours.script.name}:{ours.loop.place.line}"
    shows = f"the fit at {names[0]} against the loop at {names[1]}"
    scenario = Scenario(names[0], shows, theirs.build, theirs.data, folder=theirs.folder)
    return TwoScripts(scenario, ours.train)


def file_and_line(named: str | Path) -> tuple[Path, int | None]:
    """Return the file and the line that `train.py:12` names; no line for `train.py`."""
    file, _, line = str(named).rpartition(":")
    return (Path(file), int(line)) if file and line.isdigit() else (Path(named), None)


class FitCall(NamedTuple):
    """A call of fit that a script was about to make.

    Attributes:
        place: Where.
        model: The model, compiled.
        arguments: The arguments, by name.
        forwarding: The model's method `call`.
        methods: The methods of Keras and TensorFlow at that time, by class and name.
    """

    place: Place
    model: keras.Model
    arguments: dict[str, Any]
    forwarding: Forwarding
    methods: dict[tuple[Any, str], Any]


@dataclass
class FitOfScript:
    """The fit of a script.

    Attributes:
        script: The file.
        folder: Where it runs.
        line: The line of the call of fit.
        limit: Seconds after which a run is ended.
        last: The call with which the last run ended.
    """

    script: Path
    folder: Path
    line: int | None
    limit: float
    last: FitCall | None = None

    @classmethod
    def found(cls, script: Path, line: int | None, limit: float) -> "FitOfScript":
        """Return the only fit of a script, or that at a line; raises as `two_scripts`."""
        script = script.absolute()
        lines = ScriptLines(script)
        if line is None:
            follower = Follower(lines)
            with follower.hooks(), _only_so_far(follower.fits, script):
                exited = run_script(script, Path.cwd(), limit)
            calls = [place.line for place in follower.fits]
            require_one(calls, script, "calls fit", "--fit", exited)
            line = calls[0]
        fit = cls(script, Path.cwd(), line, limit)
        fit.build()
        return fit

    def build(self) -> keras.Model:
        """Run the script up to its call of fit, and return the model that it is about to train."""
        self.last = None
        lines = ScriptLines(self.script)
        owner = next(kind for kind in keras.Model.__mro__ if "fit" in vars(kind))
        original, others, before = owner.fit, [], methods()

        @functools.wraps(original)
        def stopping(model: keras.Model, *args: Any, **arguments: Any) -> Any:
            place = lines.call(inspect.currentframe())
            if self.line is not None and not place.has(self.line):
                others.append(place.line)
                return original(model, *args, **arguments)
            self.last = _fit_call(place, model, original, args, arguments, before)
            raise Stopped

        with mock.patch.object(owner, "fit", stopping):
            exited = run_script(self.script, self.folder, self.limit)
        if self.last is None:
            where = f"it calls fit at line {_listed(others)}" if others else "it calls no fit"
            raise _nothing(
                self.script, f"trains nothing by fit at line {self.line}: {where}", exited
            )
        return self.last.model

    def data(self) -> FitArguments:
        """Return the arguments of fit with which the last run ended."""
        if self.last is None:
            raise ValueError("build() comes before data()")
        arguments = {"callbacks": None, **self.last.arguments}
        given = arguments["callbacks"] or []
        callbacks = [*given] if isinstance(given, list | tuple) else [given]
        return {**arguments, "callbacks": [*callbacks, OnlyLoss()]}


@contextlib.contextmanager
def _only_so_far(fits: list[Place], script: Path) -> Iterator[None]:
    """Say in an error that comes after a fit how to run the script up to that fit only."""
    try:
        yield
    except CannotCompareError as error:
        if not fits:
            raise
        name = f"{script.name}:{fits[0].line}"
        raise type(error)(f"{error}\nWith --fit {name} it runs up to that fit only") from error


def _fit_call(
    place: Place,
    model: keras.Model,
    fit: Fit,
    args: tuple,
    arguments: dict[str, Any],
    before: dict[tuple[Any, str], Any],
) -> FitCall:
    bound = inspect.signature(fit).bind(model, *args, **arguments).arguments
    named = {name: value for name, value in list(bound.items())[1:] if name != "verbose"}
    forwarding = Forwarding(model.call)
    model.call = forwarding
    return FitCall(place, model, named, forwarding, before)


class OnlyLoss(keras.callbacks.Callback):
    """Leaves the loss alone in the logs of epochs: a loop's other logs are not known.

    The last callback of a fit: those before it see all logs.
    """

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Take every other log out."""
        for name in set(logs or {}) - {"loss"}:
            (logs or {}).pop(name)


@dataclass
class LoopOfScript:
    """The loop of a script.

    Attributes:
        script: The file.
        folder: Where it runs.
        loop: The loop.
        limit: Seconds after which a run is ended.
        fit: The fit whose model and data it is compared on.
    """

    script: Path
    folder: Path
    loop: Loop
    limit: float
    fit: FitOfScript

    @classmethod
    def found(
        cls, script: Path, line: int | None, limit: float, fit: FitOfScript
    ) -> "LoopOfScript":
        """Return the only loop of a script, or that at a line; raises as `two_scripts`."""
        script = script.absolute()
        follower = Follower(ScriptLines(script))
        with follower.hooks():
            exited = run_script(script, Path.cwd(), limit)
        return cls(script, Path.cwd(), _only(follower, script, line, exited), limit, fit)

    def train(self, model: keras.Model, **arguments: Any) -> dict[str, list[float]]:
        """Train a model as the loop does: a candidate."""
        call = self.fit.last
        if call is None or call.model is not model:
            raise ValueError(f"{self.script.name} is a candidate for {self.fit.script.name} only")
        epochs = arguments.get("epochs", 1) - arguments.get("initial_epoch", 0)
        steps = engine.explain(model, **{**arguments, "callbacks": None}).steps
        training = LoopTraining(model, call.forwarding, self.script.name)
        follower = Follower(ScriptLines(self.script), self.loop, training)
        with _set_aside(call.methods, follower), follower.hooks():
            run_script(self.script, self.folder, self.limit)
        training.end()
        return {"loss": training.losses(epochs, steps)}


def _only(follower: Follower, script: Path, line: int | None, exited: SystemExit | None) -> Loop:
    """Return the loop of a script, or the first that has a line or comes after it."""
    in_fits = {*follower.fits}
    by_hand = [loop for loop in follower.loops if loop.place not in in_fits]
    # Beside a loop of its own, the fit of a model with a step of its own has to be named.
    loops = by_hand if by_hand and line is None else follower.loops
    if line is not None:
        inside = [loop for loop in loops if loop.place.has(line)]
        loops = inside[:1] or [loop for loop in loops if loop.place.line >= line][:1]
    if not loops:
        raise _no_loop(follower, script, line, exited)
    places = list(dict.fromkeys(loop.place for loop in loops))
    require_one([place.line for place in places], script, "trains in a loop", "--loop", exited)
    if sum(loop.place == places[0] for loop in follower.loops) > 1:
        raise SeveralTrainingsError(
            f"{script.name} trains several models in the loop at line {places[0].line}, and a fit "
            "trains one: there is no fit to compare it with"
        )
    return loops[0]


def _no_loop(
    follower: Follower, script: Path, line: int | None, exited: SystemExit | None
) -> CannotCompareError:
    """Return the error for a script without a loop, or without one at a line or after it."""
    words = "trains in no loop of its own" + f" at line {line} or after it" * (line is not None)
    if follower.loops:
        where = _listed([loop.place.line for loop in follower.loops])
        return NeverTrainedError(f"{script.name} {words}: its loops are at line {where}")
    if follower.unowned:
        where = _listed([place.line for place in follower.unowned])
        return SeveralTrainingsError(
            f"{script.name} trains weights at line {where} that are not all of one model that it "
            "calls: put them into one keras.Model, and call that"
        )
    if follower.fits:
        where = _listed([place.line for place in follower.fits])
        return NeverTrainedError(
            f"{script.name} {words}: its fit at line {where} has Keras's own step. --loop names a "
            "loop with a tape, or the fit of a model that overrides train_step"
        )
    return _nothing(script, words, exited)


def require_one(
    lines: list[int], script: Path, what: str, option: str, exited: SystemExit | None
) -> None:
    """Raise unless a script trains once."""
    if not lines:
        raise _nothing(script, f"trains nothing: it never {what}", exited)
    if len(lines) > 1:
        raise SeveralTrainingsError(
            f"{script.name} {what} {len(lines)} times, at line {_listed(lines)}: name the one to "
            f"compare, for example {option} {script.name}:{lines[0]}"
        )


def _nothing(script: Path, words: str, exited: SystemExit | None) -> CannotCompareError:
    """Return the error for a script that does not train, or exits before."""
    if exited is None:
        return NeverTrainedError(f"{script.name} {words}")
    return ExitedError(
        f"{script.name} ends with sys.exit({exited.code!r}) before it trains: let it run to the end"
    )


def _listed(lines: list[int]) -> str:
    return ", ".join(map(str, dict.fromkeys(lines)))


def methods() -> dict[tuple[Any, str], Any]:
    """Return the methods of Keras and TensorFlow that a training calls, by class and name."""
    kinds = [keras.losses.Loss, keras.metrics.Metric, tf.GradientTape, *optimizers_with_apply()]
    kinds += [kind for kind in keras.Model.__mro__ if kind is not object]
    return {(kind, name): value for kind in kinds for name, value in vars(kind).items()}


@contextlib.contextmanager
def _set_aside(before: dict[tuple[Any, str], Any], follower: Follower) -> Iterator[None]:
    """Let methods that were wrapped since then be wrapped in the followed loop only.

    The instrument wraps them to see what trains; what the script does elsewhere is not compared.
    """
    with contextlib.ExitStack() as stack:
        for (kind, name), wrapped in methods().items():
            original = before.get((kind, name), wrapped)
            if original is not wrapped and callable(original) and callable(wrapped):
                either = _wrapped_in_loop(original, wrapped, follower)
                stack.enter_context(mock.patch.object(kind, name, either))
        yield


def _wrapped_in_loop(original: Any, wrapped: Any, follower: Follower) -> Any:
    @functools.wraps(original)
    def either(*args: Any, **arguments: Any) -> Any:
        return (original if follower.is_aside else wrapped)(*args, **arguments)

    return either
