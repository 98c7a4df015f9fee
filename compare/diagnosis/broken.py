"""Train with `loop.fit`, with one rule of fit or several of them broken.

    BROKEN["regularization_losses"].fit(model, x, y, ...)   # trains without them

`compare.diagnose` looks for the rule that gives a candidate's bits when broken. Rules are broken
with what `loop.fit` takes: other arguments, or a step of other parts. `PATCHED` in
`compare.diagnosis.rules` lists what cannot be passed and is patched while the fit lasts.
"""

import contextlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from unittest import mock

import keras
import tensorflow as tf

import loop
from loop.engine.reuse import make_optimizer
from loop.metrics import track_loss, update_metrics
from loop.objective import added_losses, data_loss, objective
from loop.step import forward
from loop.types import Batch, Logs, StepFunction


def scaled_loss(model: keras.Model, loss: tf.Tensor, _: Any) -> tf.Tensor:
    """Return what the tape differentiates, a scalar: the loss, scaled for half precision."""
    return loss if model.optimizer is None else model.optimizer.scale_loss(loss)


def objective_of(_: keras.Model, loss: tf.Tensor, __: tf.Tensor | None) -> tf.Tensor:
    """Return what is logged as the loss of a batch, a scalar: all of the objective."""
    return loss


def whole_batch(batch: Batch) -> list[Batch]:
    """Return the batches whose gradients a step takes the mean of: the one it is given."""
    return [batch]


def as_computed(gradients: list[Any]) -> list[Any]:
    """Return what the optimizer is given, of the gradients of a step: all as they are."""
    return gradients


@dataclass(frozen=True)
class StepParts:
    """The functions that a training or test step is made of; by default those of `loop`."""

    divided: Callable[..., list[Batch]] = whole_batch
    forward: Callable[..., Any] = forward
    data_loss: Callable[..., Any] = data_loss
    added_losses: Callable[..., Any] = added_losses
    minimized: Callable[..., Any] = scaled_loss
    given: Callable[..., list[Any]] = as_computed
    logged: Callable[..., Any] = objective_of
    track_loss: Callable[..., Any] = track_loss
    update_metrics: Callable[..., Any] = update_metrics

    def with_mistake(self, part: str, mistake: Callable[..., Any]) -> "StepParts":
        """Return the parts with one replaced by `mistake`, which is passed the part it replaces."""
        return replace(self, **{part: partial(mistake, vars(self)[part])})

    def train_step(self, model: keras.Model, batch: Batch) -> Logs:
        """Run `loop.train_step` with these parts."""
        found = []
        shown: tuple[Any, ...] = ()
        for part in self.divided(batch):
            if shown:  # metrics see a part before the next one, and the last after the update
                self.update_metrics(model, *shown)
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(part)
            with tf.GradientTape() as tape:
                y_pred = self.forward(model, x, training=True)
                loss = self._tracked_objective(model, x, y, y_pred, sample_weight, training=True)
                scaled = self.minimized(model, loss, x)
            weights = model.trainable_weights  # a model may be built by its first forward pass
            found.append(tape.gradient(scaled, weights) if weights else [])
            shown = x, y, y_pred, sample_weight
        if weights:
            gradients = self.given([_mean(of_parts) for of_parts in zip(*found, strict=True)])
            model.optimizer.apply_gradients(zip(gradients, weights, strict=True))
        else:
            warnings.warn("The model does not have any trainable weights.", stacklevel=2)
        return self.update_metrics(model, *shown)

    def test_step(self, model: keras.Model, batch: Batch) -> Logs:
        """Run `loop.test_step` with these parts."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        y_pred = self.forward(model, x, training=False)
        self._tracked_objective(model, x, y, y_pred, sample_weight, training=False)
        return self.update_metrics(model, x, y, y_pred, sample_weight)

    def _tracked_objective(
        self, model: keras.Model, x: Any, y: Any, y_pred: Any, weight: Any, training: bool
    ) -> Any:
        """Return the objective of a batch, a scalar, and update the mean that logs it."""
        on_data = None
        if not _inherits(model, "compute_loss"):
            loss = objective(model, x, y, y_pred, weight, training)
        else:
            on_data = self.data_loss(model, y, y_pred, weight)
            losses = [*([] if on_data is None else [on_data]), *self.added_losses(model)]
            if not losses:
                raise ValueError("no loss is left to minimize")
            loss = losses[0] if len(losses) == 1 else keras.ops.sum(losses)
        self.track_loss(model, self.logged(model, loss, on_data), x)
        return loss


def _mean(gradients: Sequence[Any]) -> Any:
    """Return the mean of the gradients of a weight; None if it has none."""
    if len(gradients) == 1 or gradients[0] is None:
        return gradients[0]
    return tf.add_n([tf.convert_to_tensor(part) for part in gradients]) / len(gradients)


@dataclass
class FitCall:
    """A call of `loop.fit` before it is made; a broken rule changes it.

    Attributes:
        model: The model to train, compiled.
        arguments: The arguments of fit.
        stack: Undoes the patches once the fit has returned.
        train: The parts of the training step.
        test: The parts of the test step.
    """

    model: keras.Model
    arguments: dict[str, Any]
    stack: contextlib.ExitStack
    train: StepParts = field(default_factory=StepParts)
    test: StepParts = field(default_factory=StepParts)

    def patch(self, owner: Any, name: str, value: Any) -> None:
        """Replace an attribute while the fit lasts."""
        self.stack.enter_context(mock.patch.object(owner, name, value))

    def add_callback(self, callback: keras.callbacks.Callback) -> None:
        """Add a callback after those that the fit has."""
        self.arguments["callbacks"] = [*(self.arguments.get("callbacks") or ()), callback]

    def run(self) -> keras.callbacks.History:
        """Train step by step; a model that overrides a step keeps its own."""
        steps: dict[str, StepFunction] = {}
        if self.train != StepParts() and _inherits(self.model, "train_step"):
            steps["train_step"] = self.train.train_step
            if self.train.update_metrics is update_metrics:  # else: metrics are made by a trace
                make_optimizer(self.model)  # the step is traced once then, not twice
        if self.test != StepParts() and _inherits(self.model, "test_step"):
            steps["test_step"] = self.test.test_step
        return loop.fit(self.model, **{**self.arguments, **steps, "plan": "step"})


LAYERS = ("epochs", "inputs", "batches", "gradients", "update", "logs", "validation", "rest")
"""What a diagnosis compares, causes before effects: how many epochs, what is done to the inputs,
which samples make which batch, the gradients of a step, its update, the logs of training,
validation, and all else."""

Break = Callable[[FitCall], None]
"""Changes a call of fit such that one rule is broken."""


def changes_nothing(call: FitCall) -> None:
    """Leave a call of fit as it is."""
    del call


@dataclass(frozen=True)
class BrokenRule:
    """A rule of fit and the common mistake of breaking it.

    Attributes:
        rule: The short name of the rule.
        mistake: What a loop that breaks it does.
        line: The line that such a loop lacks.
        mirrors: The Keras function that has it.
        breaks: How to break it in a call of fit.
        layer: Where it shows first, one of `LAYERS`.
    """

    rule: str
    mistake: str
    line: str
    mirrors: str
    breaks: Break
    layer: str

    def fit(self, model: keras.Model, **arguments: Any) -> keras.callbacks.History:
        """Train as `loop.fit` does, with this rule broken."""
        return fit_with((self,), model, **arguments)


def fit_with(
    rules: tuple[BrokenRule, ...], model: keras.Model, **arguments: Any
) -> keras.callbacks.History:
    """Train as `loop.fit` does, with these rules broken; the later ones wrap the earlier ones."""
    with contextlib.ExitStack() as stack:
        call = FitCall(model, arguments, stack)
        for rule in rules:
            rule.breaks(call)
        return call.run()


def in_turn(*changes: Break) -> Break:
    """Make changes of a call of fit one after the other."""

    def breaks(call: FitCall) -> None:
        for change in changes:
            change(call)

    return breaks


def in_steps(part: str, mistake: Callable[..., Any]) -> Break:
    """Replace a part of the training step and of the test step by a mistake."""

    def breaks(call: FitCall) -> None:
        call.train = call.train.with_mistake(part, mistake)
        call.test = call.test.with_mistake(part, mistake)

    return breaks


def in_train_step(part: str, mistake: Callable[..., Any]) -> Break:
    """Replace a part of the training step by a mistake."""

    def breaks(call: FitCall) -> None:
        call.train = call.train.with_mistake(part, mistake)

    return breaks


def in_test_step(part: str, mistake: Callable[..., Any]) -> Break:
    """Replace a part of the test step by a mistake."""

    def breaks(call: FitCall) -> None:
        call.test = call.test.with_mistake(part, mistake)

    return breaks


def without_arguments(*names: str) -> Break:
    """Leave out arguments of fit."""

    def breaks(call: FitCall) -> None:
        for name in names:
            call.arguments.pop(name, None)

    return breaks


def with_arguments(**values: Any) -> Break:
    """Pass other arguments to fit."""
    return lambda call: call.arguments.update(values)


def patched(owner: Any, name: str, mistake: Callable[..., Any]) -> Break:
    """Replace an attribute by a function with a mistake, which gets the original first."""
    return lambda call: call.patch(owner, name, partial(mistake, getattr(owner, name)))


def _inherits(model: keras.Model, method: str) -> bool:
    """Return whether a model has Keras's own method, overridden neither by class nor instance."""
    return getattr(getattr(model, method), "__func__", None) is getattr(keras.Model, method)
