"""Trains the members of `fit_seeds` at once: their variables in stacks, `[seeds, ...]`.

    gradients = tf.vectorized_map(gradients of a member, weights)   # [seeds, ...]
    optimizer.apply(gradients, weights)                             # each element by itself

The class is "close": a product over a stack may sum in another order than the product of a member.
`CLOSE_LOGS` and `CLOSE_WEIGHTS` are its bounds over the first tens of steps, held by a test. Every
step enlarges the difference, so after a long training only mean and spread agree.
"""

import contextlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from loop._keras import (
    every_layer,
    every_metric,
    excludes_from_weight_decay,
    is_distributed,
    is_inherited,
    symbolic_build,
    vectorize_draws,
)
from loop.checks import check_frequency
from loop.data import ArraySource, make_source
from loop.engine.given import make
from loop.engine.graphs import concrete, graph
from loop.engine.likeness import IncomparableError, Likeness
from loop.engine.loops import SourcedStep, many_steps
from loop.engine.reuse import may_share
from loop.logs import RunningLogs
from loop.metrics import track_loss, update_metrics
from loop.objective import objective
from loop.step import forward, test_step
from loop.types import MAX_SECONDS, Batch, FitArguments, Logs, Structure

CLOSE_LOGS = 1e-4
"""The largest relative difference of a log from that of a member on its own."""

CLOSE_WEIGHTS = 1e-4
"""The largest relative L2 distance of the weights of a member from those it has on its own."""

BY_ELEMENT = frozenset(
    getattr(keras.optimizers, name)
    for name in (
        "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lion", "Nadam", "RMSprop", "SGD",
    )
)  # fmt: skip
"""Optimizers that update each element of a weight by itself: a stack as well as its members."""

STEPS = "train_step", "test_step", "make_train_function", "make_test_function", "reset_metrics"
"""What a model may not override: the stack does without."""


class Stack:
    """Models that are built alike, trained together. The first one's code runs for all.

    Attributes:
        models: The models.
        optimizer: Updates the weights of all.
        source: The training arrays.
        orders: The order of the samples for each member, `[seeds, samples]` int64.
        tested: The arrays to validate on; None for no validation.
        weights: The trainable weights, `[seeds, ...]`.
        others: Moving averages, seeds and metrics, `[seeds, ...]`.

    Raises:
        ValueError: The models cannot be stacked.
    """

    def __init__(
        self,
        models: list[keras.Model],
        optimizer: keras.optimizers.Optimizer,
        source: ArraySource,
        orders: tf.Tensor,
        tested: ArraySource | None,
    ):
        self.models, self.optimizer, self.source = models, optimizer, source
        self.orders, self.tested = orders, tested
        for model in models:
            check_model(model)
            if may_share(model):
                make(model, source.spec)
            else:
                symbolic_build(model, source.new_pass().batch(0))
        check_alike(models)
        weights = zip(*(model.trainable_weights for model in models), strict=True)
        others = zip(*map(other_variables, models), strict=True)
        self.weights = [keras.Variable(stacked(same), name=same[0].name) for same in weights]
        self.others = [tf.Variable(stacked(same)) for same in others]
        optimizer.build(self.weights)
        vectorize_draws()
        with refusing():
            self._train = program(models[0], self._train_step, source, orders)
            if tested is not None:
                self._test_order = tf.range(tested.num_samples, dtype=tf.int64)
                self._test = program(models[0], self._test_step, tested, self._test_order)

    def train(self) -> dict[str, np.ndarray]:
        """Run an epoch; return the logs of all members, `[seeds]` each."""
        return self._run(self._train, self.source, self.orders)

    def test(self) -> dict[str, np.ndarray]:
        """Run the validation; return the logs of all members, `[seeds]` each, as `val_...`."""
        logs = self._run(self._test, self.tested, self._test_order)
        return {f"val_{name}": values for name, values in logs.items()}

    def put_back(self) -> None:
        """Assign to each model what training has made of its variables."""
        stacks = [*self.weights, *self.others, *self.optimizer.variables]
        for member, model in enumerate(self.models):
            for variable, stack in zip(own_variables(model), stacks, strict=True):
                is_common = stack.shape == variable.shape  # a counter, or the learning rate
                variable.assign(tf.convert_to_tensor(stack) if is_common else stack[member])
            model.optimizer.finalize_variable_values(model.trainable_weights)  # as `fit` ends

    def _run(self, run: Callable[..., Any], source: Any, orders: tf.Tensor) -> dict[str, Any]:
        self._reset_metrics()
        place, logs = tf.constant(0, tf.int64), {}
        while int(place) < source.num_batches:  # a call ends after a second
            place, logs = run((source.flat, orders), place)
        return {name: values.numpy() for name, values in sorted(logs.items())}

    def _reset_metrics(self) -> None:
        first = self.models[0]
        first.reset_metrics()
        metrics = {id(v) for metric in every_metric(first) for v in metric.variables}
        for variable, stack in zip(other_variables(first), self.others, strict=True):
            if id(variable) in metrics:
                stack.assign(tf.broadcast_to(variable.value, stack.shape))

    def _train_step(self, inputs: Structure) -> Logs:
        """Update the weights of all members, and return their logs, `[seeds]` each."""
        arrays, orders, place = inputs

        def member(parts: Structure) -> Structure:
            weights, others, order = parts
            with self._in_place_of_first(weights, others) as updated:
                batch = self.source.draw((arrays, order), place)
                gradients, logs = gradients_and_logs(self.models[0], weights, batch)
                return gradients, updated(), logs

        parts = (
            [*map(tf.convert_to_tensor, self.weights)],
            [*map(tf.convert_to_tensor, self.others)],
            orders,
        )
        gradients, others, logs = tf.vectorized_map(member, parts, fallback_to_while_loop=False)
        self.optimizer.apply(gradients, self.weights)
        self._assign_others(others)
        return logs

    def _test_step(self, inputs: Structure) -> Logs:
        """Update the metrics of all members, and return their logs, `[seeds]` each."""
        arrays, order, place = inputs
        assert self.tested is not None
        batch = self.tested.draw((arrays, order), place)

        def member(parts: Structure) -> Structure:
            with self._in_place_of_first(*parts) as updated:
                logs = test_step(self.models[0], batch)
                return updated(), logs

        parts = (
            [*map(tf.convert_to_tensor, self.weights)],
            [*map(tf.convert_to_tensor, self.others)],
        )
        others, logs = tf.vectorized_map(member, parts, fallback_to_while_loop=False)
        self._assign_others(others)
        return logs

    @contextlib.contextmanager
    def _in_place_of_first(self, weights: list, others: list) -> Iterator[Callable[[], list]]:
        """Put the values of a member in place of the variables of the first model.

        Yields a function that returns the values of `others` as they are then.
        """
        first = self.models[0]
        variables = other_variables(first)
        mapping = [*zip(first.trainable_weights, weights, strict=True)]
        mapping += zip(variables, others, strict=True)
        with keras.StatelessScope(mapping, collect_losses=True) as scope:
            yield lambda: [scope.get_current_value(variable) for variable in variables]

    def _assign_others(self, values: list[tf.Tensor]) -> None:
        for variable, value in zip(self.others, values, strict=True):
            variable.assign(value)


def gradients_and_logs(
    model: keras.Model, weights: list[tf.Tensor], batch: Batch
) -> tuple[list[tf.Tensor], Logs]:
    """Return the gradients for the weights of a member, and its logs after a batch.

    Raises:
        ValueError: The objective does not depend on a weight.

    Mirrors: keras.Model.train_step
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(weights)
        y_pred = forward(model, x, training=True)
        loss = objective(model, x, y, y_pred, sample_weight, training=True)
        track_loss(model, loss, x)
        scaled = model.optimizer.scale_loss(loss)
    gradients = tape.gradient(scaled, weights)
    pairs = zip(model.trainable_weights, gradients, strict=True)
    unused = [variable.path for variable, gradient in pairs if gradient is None]
    if unused:
        raise ValueError(f"the loss does not depend on the weights {unused}")
    logs = update_metrics(model, x, y, y_pred, sample_weight)
    return [tf.convert_to_tensor(gradient) for gradient in gradients], logs


def program(
    model: keras.Model, step: Callable[..., Logs], source: ArraySource, orders: tf.Tensor
) -> Any:
    """Return the concrete function that runs a step from a place on, for about a second."""
    arrays, _ = source.signature()
    inputs = arrays, tf.TensorSpec(orders.shape, orders.dtype)
    place = tf.TensorSpec([], tf.int64)
    function = concrete(graph(step, jit_compile=None), (*inputs, place))
    undrawn = SimpleNamespace(draw=lambda inputs, place: (*inputs, place))  # each member draws
    sourced = SourcedStep(function, undrawn, RunningLogs(model))

    def run(inputs: Structure, start: tf.Tensor) -> tuple[tf.Tensor, Logs]:
        end = tf.constant(source.num_batches, tf.int64)
        end, logs, _ = many_steps(sourced, inputs, start, end, tf.timestamp() + MAX_SECONDS)
        return end, logs

    return concrete(graph(run, jit_compile=None), inputs, place)


def stacked(variables: tuple[keras.Variable, ...]) -> tf.Tensor:
    """Return the values of a variable of every member, `[seeds, ...]`."""
    return tf.stack([variable.value for variable in variables])


def other_variables(model: keras.Model) -> list[keras.Variable]:
    """Return what a step changes apart from weights: moving averages, seeds, metrics."""
    metrics = [variable for metric in every_metric(model) for variable in metric.variables]
    weights = {id(weight) for weight in model.trainable_weights}
    owned = {id(variable): variable for variable in [*model.variables, *metrics]}
    return [variable for number, variable in owned.items() if number not in weights]


def own_variables(model: keras.Model) -> list[keras.Variable]:
    """Return all variables of a model: weights, others, those of the optimizer."""
    return [*model.trainable_weights, *other_variables(model), *model.optimizer.variables]


def check_stackable(arguments: FitArguments, callbacks: Any) -> None:
    """Raise ValueError if an argument of `fit_seeds` has no use with `vectorized=True`."""
    check_frequency(arguments.validation_freq)
    given = {
        "train_step": arguments.train_step is not None,
        "test_step": arguments.test_step is not None,
        "callbacks": callbacks is not None,
        "steps_per_epoch": arguments.steps_per_epoch is not None,
        "validation_steps": arguments.validation_steps is not None,
        "plan": arguments.plan != "auto",
        "strict": arguments.strict,
    }
    if names := ", ".join(name for name in given if given[name]):
        raise _refusal(f"it has a loop of its own, which takes no {names}")


def stackable_source(
    name: str,
    data: Structure,
    batch_size: int | None,
    class_weight: dict[int, float] | None = None,
) -> Any:
    """Return the source of `(x, y, sample_weight)`; raise ValueError if they are no arrays."""
    if data is None:
        return None
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    source = make_source(x, y, sample_weight, batch_size, class_weight=class_weight)
    if not isinstance(source, ArraySource):
        raise _refusal(f"`{name}` must be dense arrays, from which each member draws its batches")
    return source


def check_model(model: keras.Model) -> None:
    """Raise ValueError, with the reason, if a model cannot be stacked."""
    optimizer = model.optimizer
    kind = type(optimizer)
    overridden = [n for n in STEPS if not is_inherited(getattr(model, n), getattr(keras.Model, n))]
    kinds = ", ".join(sorted(kind.__name__ for kind in BY_ELEMENT))
    reasons = {
        f"the model overrides {', '.join(overridden)}": overridden,
        "the model runs eagerly or on replicas": model.run_eagerly or is_distributed(model),
        f"a {kind.__name__} does not update each element by itself, as {kinds} do": (
            kind not in BY_ELEMENT
        ),
        "clipping by norm would take the norm of all members; use clipvalue=": (
            getattr(optimizer, "clipnorm", None) or getattr(optimizer, "global_clipnorm", None)
        ),
        "exclude_from_weight_decay names variables of a single model": (
            excludes_from_weight_decay(optimizer)
        ),
        "a weight has a constraint, which would constrain all members together": any(
            weight.constraint is not None for weight in model.trainable_weights
        ),
    }
    for reason, holds in reasons.items():
        if holds:
            raise _refusal(reason)


def check_alike(models: list[keras.Model]) -> None:
    """Raise ValueError, which names the difference, if models differ in more than variables."""
    first, *rest = map(_signature, models)
    for signature in rest:
        for (name, value), (_, other) in zip(first, signature, strict=False):
            if value != other:
                raise _refusal(f"`build` returned models that differ in the {name}")


def _signature(model: keras.Model) -> list[tuple[str, Any]]:
    """Return all that members have in common, each value with what to call it."""
    layers = [layer for layer in every_layer(model) if not isinstance(layer, keras.Model)]
    parts = {"loss": model.loss, "optimizer": model.optimizer}
    parts |= {f"metric {metric.name}": metric for metric in every_metric(model)}
    parts |= {f"layer {layer.name}": layer for layer in layers}
    signature: list[tuple[str, Any]] = [("number of layers or metrics", len(parts))]
    signature += [setting for name in parts for setting in _settings(name, parts[name])]
    signature += [("shape of a variable", (tuple(v.shape), v.dtype)) for v in own_variables(model)]
    for name, part in (("loss", model.loss), ("model, such as a seed", model)):
        with contextlib.suppress(IncomparableError, ValueError):  # it has classes of the user's
            signature.append((f"values read by the {name}", Likeness(part, of_user=True).parts))
    return signature


def _settings(name: str, part: Any) -> list[tuple[str, str]]:
    """Return the settings of a part of a model that text can show: all but code of lambdas."""
    of_each = {"name": None, "seed": None}
    with contextlib.suppress(Exception), warnings.catch_warnings(action="ignore"):
        own = part.get_config() if hasattr(part, "get_config") else {"kind": part}
        text = json.dumps(keras.saving.serialize_keras_object(own | {"class": str(type(part))}))
        own = json.loads(text, object_hook=lambda c: "__lambda__" in c.values() or c | of_each)
        return [(f"{key} of the {name}", json.dumps(own[key])) for key in sorted(own)]
    return []


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Raise ValueError, with TensorFlow's reason, if the models cannot be stacked."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # TensorFlow logs pages about an op that it cannot stack
    try:
        yield
    except Exception as error:
        raise _refusal(str(error).partition("\n")[0]) from error
    finally:
        logger.setLevel(level)


def _refusal(reason: str) -> ValueError:
    change = "Leave out vectorized=True: the seeds then train in sequence and share their graphs."
    return ValueError(f"vectorized=True cannot train this: {reason}. {change}")
