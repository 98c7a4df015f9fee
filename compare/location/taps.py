"""Taps: what goes through every step of a training, seen from inside its graphs.

    taps = Taps()
    with taps.on(model):
        my_fit(model, ...)              # any loop, compiled or not
    taps.prints()                       # {"batch/x/0": one number a step, ...}

A tap sits where any loop must pass: the model's call, the losses, the tape, the optimizer. It
writes a fingerprint of every tensor into one variable, a row for each step, so it works inside a
loop in a graph as well. A second run may keep the tensors themselves of one step.
"""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from compare.errors import CannotCompareError
from compare.location.capture import Album, Kept
from compare.location.fingerprint import fingerprint
from compare.recording.recorder import variables_by_name
from compare.timing.split import subclasses

ROWS, COLUMNS = 1024, 8192
"""How many steps are seen in one run, and how many tensors in each."""

ENDS = ("own optimizer", "any optimizer", "gradient")
"""What ends a step: the model's optimizer applies gradients, or any optimizer does, or (in a loop
that updates weights by hand) a tape has given them."""


class Taps:
    """What goes through the steps of one training.

    A step ends where the optimizer applies gradients; of two forward passes in a step the last one
    counts, and what it finds is named `begun/...`. Weights and optimizer are seen as the update
    leaves them, metrics as the first pass that follows finds them, in validation maybe.

    Attributes:
        first: The first step that is seen; `ROWS` of them are.
        keep: What to keep as it is, one tensor or an album of them.
        ends: What ends a step, one of `ENDS`.
        columns: The column of each name, in the order in which they were traced.
        dtypes: The dtype of each.
        sizes: The most elements that each had, `[names]`, once the training is over.
    """

    def __init__(self, first: int = 0, keep: Kept | Album | None = None, ends: str = ENDS[0]):
        self.first = first
        self.keep = keep
        self.ends = ends
        self.columns: dict[str, int] = {}
        self.dtypes: dict[str, tf.DType] = {}
        with tf.device("CPU"):
            self._steps = tf.Variable(0, dtype=tf.int64)
            empty = tf.zeros([ROWS + 1, COLUMNS], tf.int64)
            self._prints = tf.Variable(empty, shape=[None, None])
            self._sizes = tf.Variable(tf.zeros([COLUMNS], tf.int64))
        self._read = np.zeros([0, 0], np.int64)
        self.sizes: dict[str, int] = {}
        self._losses = 0
        self._depth = 0  # of optimizers that wrap each other

    @property
    def seen_late(self) -> tuple[str, ...]:
        """The stages of a step that are seen as the next pass begins."""
        return ("weights", "metrics") if self.ends == "gradient" else ("metrics",)

    @property
    def steps(self) -> int:
        """How many steps were taken so far."""
        return int(self._steps.numpy())

    def prints(self) -> dict[str, np.ndarray]:
        """The fingerprint of each tensor at each step, `[steps + 1]`: the last is unfinished."""
        rows = self._read[: min(self.steps + 1 - self.first, ROWS)]
        return {name: rows[:, column] for name, column in self.columns.items()}

    @contextlib.contextmanager
    def on(self, model: keras.Model) -> Iterator[None]:
        """Taps a model while the context lasts. What was traced before is not tapped."""
        with contextlib.ExitStack() as stack:
            patch = mock.patch.object
            stack.enter_context(patch(model, "call", self._around_call(model)))
            by_loss = self._around_loss(keras.losses.Loss.__call__)
            stack.enter_context(patch(keras.losses.Loss, "__call__", by_loss))
            gradient = self._around_gradient(tf.GradientTape.gradient)
            stack.enter_context(patch(tf.GradientTape, "gradient", gradient))
            for owner in _that_apply():
                stack.enter_context(patch(owner, "apply", self._around_apply(model, owner.apply)))
            yield
            self._read = self._prints.numpy()[:, : len(self.columns)].copy()
            self.sizes = dict(zip(self.columns, self._sizes.numpy().tolist(), strict=False))
            # Keras keeps some of its graphs for good, and they what they use: let it be little.
            self._prints.assign(tf.zeros([0, 0], tf.int64))

    def see_state(self, model: keras.Model, when: str = "") -> None:
        """Notes weights, and the optimizer if it ends the steps, as far as they were made already.

        Metrics are reset between epochs, by each loop where it likes: they are no part of this.
        """
        state = variables_by_name(model) if model.built else {}
        kinds = ("weights", "update") if self.ends == "own optimizer" else ("weights",)
        self.see_all({when + name: it for name, it in state.items() if stage_of(name) in kinds})

    def see(self, name: str, value: Any) -> None:
        """Notes the tensors of a structure under a name; None is nothing to note."""
        leaves = [part for leaf in keras.tree.flatten(value) for part in _parts(leaf)]
        self.see_all({f"{name}/{place}": leaf for place, leaf in enumerate(leaves)})

    def see_all(self, values: dict[str, Any], first: bool = False) -> None:
        """Notes tensors or variables by name: what they are last in a step, or at first."""
        if not values:
            return
        tensors = [tf.stop_gradient(tf.convert_to_tensor(value)) for value in values.values()]
        columns = [self.columns.setdefault(name, len(self.columns)) for name in values]
        if len(self.columns) > COLUMNS:
            raise CannotCompareError(f"a step of this model has more than {COLUMNS:,} tensors")
        row = self._steps - self.first
        row = tf.where((row >= 0) & (row < ROWS), row, ROWS)  # the last row is for what is not seen
        places = tf.stack([tf.fill([len(columns)], row), tf.constant(columns, tf.int64)], axis=1)
        prints = tf.stack([fingerprint(tensor) for tensor in tensors])
        if first:
            seen = tf.gather(tf.gather(self._prints, row), columns)  # XLA has no gather_nd of these
            prints = tf.where(seen == 0, prints, seen)
        self._prints.scatter_nd_update(places, prints)
        sizes = tf.stack([tf.size(tensor, tf.int64) for tensor in tensors])
        sizes = tf.maximum(sizes, tf.gather(self._sizes, columns))
        self._sizes.scatter_nd_update([[column] for column in columns], sizes)
        for name, tensor in zip(values, tensors, strict=True):
            self.dtypes[name] = tensor.dtype
            if self.keep is not None and self.keep.wants(name):
                self.keep.see(name, tensor, self._steps, first)

    def _around_call(self, model: keras.Model) -> Any:
        call = model.call

        @functools.wraps(call)
        def tapped(*inputs: Any, **more: Any) -> Any:
            self._losses = 0
            late = variables_by_name(model) if model.built else {}
            late = {name: it for name, it in late.items() if stage_of(name) in self.seen_late}
            self.see_all(late, first=True)
            self.see_state(model, "begun/")
            self.see("batch/x", inputs)
            outputs = call(*inputs, **more)
            self.see("prediction", outputs)
            return outputs

        return tapped

    def _around_loss(self, call: Any) -> Any:
        @functools.wraps(call)
        def tapped(
            loss: keras.losses.Loss, y_true: Any, y_pred: Any, sample_weight: Any = None
        ) -> Any:
            number, self._losses = self._losses, self._losses + 1
            self.see(f"batch/y/{number}", y_true)
            self.see(f"batch/sample_weight/{number}", sample_weight)
            value = call(loss, y_true, y_pred, sample_weight)
            self.see(f"loss/{number}/{loss.name}", value)
            return value

        return tapped

    def _around_gradient(self, gradient: Any) -> Any:
        @functools.wraps(gradient)
        def tapped(tape: tf.GradientTape, target: Any, *sources: Any, **more: Any) -> Any:
            self.see("loss/objective", target)
            found = gradient(tape, target, *sources, **more)
            if self.ends == "gradient":
                self.see("gradients", found)
                self._steps.assign_add(1)
            return found

        return tapped

    def _around_apply(self, model: keras.Model, apply: Any) -> Any:
        @functools.wraps(apply)
        def tapped(optimizer: Any, grads: Any, trainable_variables: Any = None) -> Any:
            counts = self.ends == "any optimizer" or (
                self.ends == "own optimizer" and optimizer is getattr(model, "optimizer", None)
            )
            if self._depth or not counts:
                return apply(optimizer, grads, trainable_variables)
            self.see("gradients", list(grads))
            self._depth += 1
            try:
                done = apply(optimizer, grads, trainable_variables)
            finally:
                self._depth -= 1
            self.see_state(model)
            self._steps.assign_add(1)
            return done

        return tapped


def _that_apply() -> set[Any]:
    """The optimizers with a method `apply` of their own."""
    base = keras.optimizers.Optimizer
    return {one for one in (*base.__mro__, *subclasses(base)) if "apply" in vars(one)}


def stage_of(name: str) -> str:
    """The stage of a step in which a tensor is seen."""
    kind = name.split("/")[0]
    return {"optimizer": "update"}.get(kind, kind)


def _parts(leaf: Any) -> list[Any]:
    """A tensor, or those that a sparse or ragged one is made of."""
    if isinstance(leaf, tf.SparseTensor | tf.RaggedTensor):
        return tf.nest.flatten(leaf, expand_composites=True)
    return [] if leaf is None else [leaf]
