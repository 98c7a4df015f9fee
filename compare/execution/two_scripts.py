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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

import loop as engine
from compare.errors import (
    ExitedError,
    NeverTrainedError,
    OtherWeightsError,
    ScriptError,
    SeveralTrainingsError,
)
from compare.execution.followed import Follower, Loop, optimizers
from compare.execution.in_process import Stopped, run_script
from compare.execution.places import Place, ScriptLines
from compare.scenario import Fit, FitArguments, Scenario
from loop.state import share_values

LIMIT = 300.0
"""Seconds after which a script is ended, by default."""

STEPS = 2**20
"""The most steps of a loop whose losses are recorded."""


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
    return TwoScripts(Scenario(names[0], shows, theirs.build, theirs.data), ours.train)


def file_and_line(named: str | Path) -> tuple[Path, int | None]:
    """Return the file and the line that `train.py:12` names; no line for `train.py`."""
    file, _, line = str(named).rpartition(":")
    return (Path(file), int(line)) if file and line.isdigit() else (Path(named), None)


class Forwarding:
    """A model's method `call`, which can be replaced below what wraps it.

    Attributes:
        to: The function that is called.
    """

    def __init__(self, call: Callable[..., Any]):
        functools.update_wrapper(self, call)
        self.to = call

    def __call__(self, *inputs: Any, **more: Any) -> Any:
        return self.to(*inputs, **more)


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
            with follower.hooks():
                exited = run_script(script, Path.cwd(), limit)
            require_one([place.line for place in follower.fits], script, "calls fit", "--fit", exited)
            line = follower.fits[0].line
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
            raise _nothing(self.script, f"trains nothing by fit at line {self.line}: {where}", exited)
        return self.last.model

    def data(self) -> FitArguments:
        """Return the arguments of fit with which the last run ended."""
        assert self.last is not None, "a scenario is built before its data are asked for"
        arguments = {"callbacks": None, **self.last.arguments}
        given = arguments["callbacks"] or []
        callbacks = [*given] if isinstance(given, list | tuple) else [given]
        return {**arguments, "callbacks": [*callbacks, OnlyLoss()]}


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
        assert call is not None and call.model is model, "the model of another scenario"
        epochs = arguments.get("epochs", 1) - arguments.get("initial_epoch", 0)
        steps = engine.explain(model, **{**arguments, "callbacks": None}).steps
        training = LoopTraining(model, call.forwarding, self.script.name)
        follower = Follower(ScriptLines(self.script), self.loop, training)
        with _set_aside(call.methods, follower), follower.hooks():
            run_script(self.script, self.folder, self.limit)
        training.end()
        return {"loss": training.losses(epochs, steps)}


def _only(follower: Follower, script: Path, line: int | None, exited: SystemExit | None) -> Loop:
    """Return the loop that is meant."""
    if not follower.loops and follower.unowned:
        raise SeveralTrainingsError(
            f"{script.name} trains weights at line {_listed_places(follower.unowned)} that are not "
            "all of one model that it calls: put them into one keras.Model, and call that"
        )
    if line is None:
        lines = [loop.place.line for loop in follower.loops]
        if not lines and follower.fits:
            where = f"only its fit at line {_listed_places(follower.fits)}, which is no loop"
            raise NeverTrainedError(f"{script.name} trains in no loop of its own, {where}")
        require_one(lines, script, "trains in a loop", "--loop", exited)
        return follower.loops[0]
    inside = [loop for loop in follower.loops if loop.place.has(line)]
    chosen = inside or [loop for loop in follower.loops if loop.place.line >= line]
    if not chosen:
        where = f": it trains in a loop at line {_listed_places([it.place for it in follower.loops])}"
        words = f"trains in no loop at line {line} or after it{where * bool(follower.loops)}"
        raise _nothing(script, words, exited)
    at_once = [loop for loop in chosen if loop.place == chosen[0].place]
    require_one([it.place.line for it in at_once], script, "trains several models", "--loop", None)
    return chosen[0]


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


def _nothing(script: Path, words: str, exited: SystemExit | None) -> Exception:
    """Return the error for a script that does not train, or exits before."""
    if exited is None:
        return NeverTrainedError(f"{script.name} {words}")
    return ExitedError(
        f"{script.name} ends with sys.exit({exited.code!r}) before it trains: let it run to the end"
    )


def _listed(lines: list[int]) -> str:
    return ", ".join(map(str, dict.fromkeys(lines)))


def _listed_places(places: list[Place]) -> str:
    return _listed([place.line for place in places])


def methods() -> dict[tuple[Any, str], Any]:
    """Return the methods of Keras and TensorFlow that a training calls, by class and name."""
    kinds = [keras.losses.Loss, keras.metrics.Metric, tf.GradientTape, *optimizers()]
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


@dataclass
class LoopTraining:
    """A training of the passed model by the loop of a script: a `followed.Training`.

    Attributes:
        passed: The model that is passed to the candidate.
        forwarding: Its method `call`.
        script: The name of the script, for messages.
        optimizer: The loop's optimizer, once it has updated the model.
    """

    passed: keras.Model
    forwarding: Forwarding
    script: str
    optimizer: keras.optimizers.Optimizer | None = None
    _samples: tf.Variable = field(default_factory=lambda: _counter())
    _steps: tf.Variable = field(default_factory=lambda: _counter())
    _losses: tf.Variable = field(default_factory=lambda: _rows())

    def begin(self, model: keras.Model, inputs: Any) -> None:
        """Let the script's model read and write the weights of the passed model.

        Raises:
            Stopped: They have other shapes.
        """
        with mock.patch.object(self.passed, "call", self.forwarding):  # no taps in a symbolic call
            _build(self.passed, inputs)
        _build(model, inputs)
        self._require_same_shapes(model)
        share_values(model.weights, self.passed.weights)
        states = _states(model), _states(self.passed)
        if _shapes(states[0]) == _shapes(states[1]):
            share_values(*states)
        self.forwarding.to = model.call

        @functools.wraps(model.call)
        def by_passed_model(*inputs: Any, **more: Any) -> Any:
            self._count_samples((inputs, more))
            return self.passed.call(*inputs, **more)  # what wraps it sees the call

        model.call = by_passed_model

    def _count_samples(self, inputs: Any) -> None:
        """Record how many samples a forward pass has."""
        leaves = keras.tree.flatten(inputs)
        tensors = [leaf for leaf in leaves if tf.is_tensor(leaf) and leaf.shape.rank]
        if tensors:
            self._samples.assign(tf.shape(tensors[0], tf.int64)[0])

    def _require_same_shapes(self, model: keras.Model) -> None:
        theirs, ours = _shapes(self.passed.weights), _shapes(model.weights)
        if theirs == ours:
            return
        at = next((i for i, pair in enumerate(zip(theirs, ours, strict=False)) if pair[0] != pair[1]),
                  min(len(theirs), len(ours)))
        differing = [repr(list(shapes[at])) if at < len(shapes) else "missing" for shapes in (theirs, ours)]
        raise Stopped(
            OtherWeightsError(
                f"the loop of {self.script} trains {len(ours)} weights and the fit {len(theirs)}, "
                f"of other shapes: weight {at} is {differing[0]} in the model of fit and "
                f"{differing[1]} in that of the loop; build the same layers in the same order"
            )
        )

    def step(self, target: Any) -> None:
        """Record the loss of a step, and how many samples the last forward pass had."""
        values = [tf.reduce_sum(tf.cast(value, tf.float64)) for value in keras.tree.flatten(target)]
        row = tf.stack([tf.add_n(values), tf.cast(self._samples, tf.float64)])
        place = tf.minimum(self._steps, STEPS - 1)
        self._losses.scatter_nd_update([[place]], [row])
        self._steps.assign_add(1)

    def apply(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Note the optimizer of the loop."""
        self.optimizer = self.optimizer or optimizer

    def end(self) -> None:
        """Give the passed model's optimizer the state of the loop's, if it is of the same kind."""
        theirs, ours = self.passed.optimizer, self.optimizer
        if theirs is None or ours is None:
            return
        theirs.build(self.passed.trainable_variables)
        if type(theirs) is type(ours) and _shapes(theirs.variables) == _shapes(ours.variables):
            for variable, other in zip(theirs.variables, ours.variables, strict=True):
                variable.assign(other.value)

    def losses(self, epochs: int, steps: int | None) -> list[float]:
        """Return the loss of each epoch, a mean over samples as that of fit."""
        count = int(self._steps.numpy())
        if not count:
            raise NeverTrainedError(f"the loop of {self.script} was not reached when run again")
        if count > STEPS:
            raise ScriptError(f"the loop of {self.script} has more than {STEPS:,} steps: shorten it")
        rows = self._losses.numpy()[:count]
        size = steps_of_epoch(count, epochs, steps)
        return [_mean(rows[first : first + size]) for first in range(0, count, size)]


def steps_of_epoch(count: int, epochs: int, steps: int | None) -> int:
    """Return how many steps of a loop make an epoch.

    Args:
        count: The steps of the loop.
        epochs: The epochs of fit.
        steps: The steps of an epoch of fit; None if unknown.
    """
    if steps and (count % steps == 0 or count % max(epochs, 1)):
        return steps
    return max(count // max(epochs, 1), 1)


def _mean(rows: np.ndarray) -> float:
    """Return the mean of losses weighted by samples, in the operations of Keras: `[steps, 2]`."""
    mean = keras.metrics.Mean()
    for loss, samples in rows:
        mean.update_state(np.float32(loss), sample_weight=tf.constant(int(samples), tf.int32))
    return float(mean.result())


def _counter() -> tf.Variable:
    with tf.device("CPU"):
        return tf.Variable(0, dtype=tf.int64)


def _rows() -> tf.Variable:
    with tf.device("CPU"):
        return tf.Variable(tf.zeros([STEPS, 2], tf.float64))


def _build(model: keras.Model, inputs: Any) -> None:
    """Build a model for inputs, without calling it on them."""
    if not model.built:
        model(*keras.tree.map_structure(_symbolic, inputs))


def _symbolic(value: Any) -> keras.KerasTensor:
    tensor = value if tf.is_tensor(value) else np.asarray(value)
    return keras.KerasTensor(tuple(tensor.shape), keras.backend.standardize_dtype(tensor.dtype))


def _states(model: keras.Model) -> list[keras.Variable]:
    """Return the variables of a model that are no weights: the states of its seeds."""
    weights = {id(weight) for weight in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def _shapes(variables: list[keras.Variable]) -> list[tuple[int, ...]]:
    return [tuple(variable.shape) for variable in variables]
