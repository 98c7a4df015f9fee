"""Taps: fingerprints of the tensors in every step of a training, taken inside its graphs.

    taps = Taps()
    with taps.on(model):
        my_fit(model, ...)              # any loop, compiled or not
    taps.prints()                       # {"batch/x/0": one number for each step, ...}

Every loop calls the model, the losses, the tape and the optimizer; taps wrap these four. They write
a fingerprint of every tensor into one variable, a row for each step, so they work inside a loop in
a graph, too. They can also capture tensors (`compare.location.capture`).

A loop may call the layers of the model instead: one by one, or through another model that it makes
of them. Then the first of these calls begins the forward pass.
"""

import contextlib
import functools
from collections.abc import Iterable, Iterator
from typing import Any
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from compare.errors import CannotCompareError
from compare.location.capture import Capture
from compare.location.fingerprint import fingerprints, sizes_of
from compare.location.ingraph import InGraph
from compare.recording.recorder import variables_by_name
from loop.callbacks.watch import apart

ROWS, COLUMNS = 1024, 8192
"""How many steps are recorded in one run, and at most how many tensors in each."""

ENDS = ("optimizer", "gradient")
"""What ends a step: an optimizer applies gradients or, in loops that update weights by hand, a tape
computes them."""


class Taps:
    """The tensors in the steps of one training, as fingerprints.

    If a step has two forward passes, the last one is recorded. The state before the forward pass is
    named `begun/...`. Weights and optimizer are recorded after the update, metrics at the start of
    the next forward pass, which may be one of validation.

    Attributes:
        first: The first step to record; `ROWS` steps are recorded.
        keep: Where to capture tensors besides their fingerprints, if anywhere.
        ends: What ends a step, one of `ENDS`.
        prints_wanted: Whether to take fingerprints; without, only `keep` sees the tensors.
        optimizers: The optimizers that end steps, in the order of their first use. A later one that
            is applied without another forward pass belongs to the step that has just ended.
        uses_own: Whether the model's own optimizer, that of `compile`, is one of them.
        trained: The places of the weights that each of them updates, among the model's variables.
        losses: The loss objects that were called, in the order of their first use.
        runs_eagerly: Whether gradients were computed outside of any graph.
        columns: The column of each tap, in the order of tracing.
        dtypes: The dtype of each tap's tensor.
        sizes: The largest number of elements of each tap's tensor, once the training is over.
    """

    def __init__(
        self,
        first: int = 0,
        keep: Capture | None = None,
        ends: str = ENDS[0],
        prints_wanted: bool = True,
    ):
        self.first = first
        self.keep = keep
        self.ends = ends
        self.prints_wanted = prints_wanted
        self.optimizers: list[keras.optimizers.Optimizer] = []
        self.uses_own = False
        self.trained: list[set[int]] = []
        self.losses: list[keras.losses.Loss] = []
        self.runs_eagerly = False
        self.columns: dict[str, int] = {}
        self.dtypes: dict[str, tf.DType] = {}
        with tf.device("CPU"):
            self._steps = tf.Variable(0, dtype=tf.int64)
            empty = tf.zeros([ROWS + 1 if prints_wanted else 0, COLUMNS], tf.int64)
            self._prints = tf.Variable(empty, shape=[None, None])
            self._sizes = tf.Variable(tf.zeros([COLUMNS], tf.int64))
            # Whether a forward pass, if any is seen at all, began after the last step ended.
            self._has_begun = tf.Variable(True)
        self._writes = {
            first: InGraph(functools.partial(self._write, first)) for first in (False, True)
        }
        self._read = np.zeros([0, 0], np.int64)
        self.sizes: dict[str, int] = {}
        self._losses = 0
        self._back: Any = 0  # 1 where an update belongs to the step that has just ended
        self._depth = 0  # how many optimizers are inside each other's `apply` now
        self._in_forward = False
        self._entry: keras.Layer | None = None  # the layer whose call begins a forward pass

    @property
    def seen_late(self) -> tuple[str, ...]:
        """The stages of a step that are recorded only when the next forward pass begins."""
        return ("weights", "metrics") if self.ends == "gradient" else ("metrics",)

    @property
    def steps(self) -> int:
        """How many steps have ended so far."""
        return int(self._steps.numpy())

    def prints(self) -> dict[str, np.ndarray]:
        """Return the fingerprints of each tap, int64 `[steps + 1]`; the last step is unfinished."""
        rows = self._read[: min(self.steps + 1 - self.first, ROWS)]
        return {name: rows[:, column] for name, column in self.columns.items()}

    @contextlib.contextmanager
    def on(self, model: keras.Model) -> Iterator[None]:
        """Tap a model while the context lasts; graphs traced before are not tapped."""
        with contextlib.ExitStack() as stack:
            patch = mock.patch.object
            stack.enter_context(patch(model, "call", self._around_call(model)))
            by_layer = self._around_layers(model, keras.Layer.__call__)
            stack.enter_context(patch(keras.Layer, "__call__", by_layer))
            by_loss = self._around_loss(keras.losses.Loss.__call__)
            stack.enter_context(patch(keras.losses.Loss, "__call__", by_loss))
            gradient = self._around_gradient(model, tf.GradientTape.gradient)
            stack.enter_context(patch(tf.GradientTape, "gradient", gradient))
            for owner in optimizers_with_apply():
                stack.enter_context(patch(owner, "apply", self._around_apply(model, owner.apply)))
            yield
            self._read = self._prints.numpy()[:, : len(self.columns)].copy()
            self.sizes = dict(zip(self.columns, self._sizes.numpy().tolist(), strict=False))
            # Keras never frees some of its graphs, and these hold this variable: shrink it.
            self._prints.assign(tf.zeros([0, 0], tf.int64))

    def see_state(self, model: keras.Model, when: str = "") -> None:
        """Record weights and the model's own optimizer, as far as they are built.

        Metrics are left out: loops reset them at different places between epochs.
        """
        state = variables_by_name(model) if model.built else {}
        self.see_all(
            {
                when + name: variable
                for name, variable in state.items()
                if stage_of(name) in ("weights", "update")
            }
        )

    def see(self, name: str, value: Any) -> None:
        """Record the tensors of a structure as `name/0`, `name/1`, ...; None has no tensors."""
        leaves = [part for leaf in keras.tree.flatten(value) for part in _parts(leaf)]
        self.see_all({f"{name}/{place}": leaf for place, leaf in enumerate(leaves)})

    def see_all(self, values: dict[str, Any], first: bool = False) -> None:
        """Record tensors or variables: their last value in a step, or (`first`) their first."""
        names = values if self.prints_wanted else self._wanted(values)
        tensors = {name: tf.convert_to_tensor(values[name]) for name in names}
        self.dtypes |= {name: tensor.dtype for name, tensor in tensors.items()}
        if self.prints_wanted and tensors:
            self._write_prints(tensors, first)
        self._capture({name: tensors[name] for name in self._wanted(tensors)}, first)

    def _wanted(self, names: Iterable[str]) -> list[str]:
        """Return the taps whose tensors are captured."""
        return [name for name in names if self.keep is not None and self.keep.wants(name)]

    def _capture(self, values: dict[str, Any], first: bool = False) -> None:
        """Show tensors to `keep`, which wants them."""
        if self.keep is not None and values:
            dense = {name: tf.convert_to_tensor(value) for name, value in values.items()}
            seen = {name: tf.stop_gradient(tensor) for name, tensor in dense.items()}
            self.keep.see(seen, self._steps - self._back, first)

    def _write_prints(self, tensors: dict[str, tf.Tensor], first: bool) -> None:
        """Write the fingerprints of tensors into the row of the step."""
        columns = [self.columns.setdefault(name, len(self.columns)) for name in tensors]
        if len(self.columns) > COLUMNS:
            raise CannotCompareError(
                f"a step of this model has more than {COLUMNS:,} tensors, too many to record: use "
                "`glassfit parity`, which compares what training leaves behind"
            )
        step = self._steps - self._back
        self._writes[first](tf.constant(columns, tf.int64), step, [*tensors.values()])

    def _write(
        self, first: bool, columns: tf.Tensor, step: tf.Tensor, tensors: list[tf.Tensor]
    ) -> None:
        row = step - self.first
        row = tf.where((row >= 0) & (row < ROWS), row, ROWS)  # steps not recorded share a last row
        places = tf.stack([tf.fill(tf.shape(columns), row), columns], axis=1)
        prints = fingerprints(tensors)
        if first:
            seen = tf.gather(tf.gather(self._prints, row), columns)  # XLA cannot gather_nd here
            prints = tf.where(seen == 0, prints, seen)
        self._prints.scatter_nd_update(places, prints)
        sizes = tf.maximum(sizes_of(tensors), tf.gather(self._sizes, columns))
        self._sizes.scatter_nd_update(columns[:, tf.newaxis], sizes)

    def _around_call(self, model: keras.Model) -> Any:
        call = model.call

        @functools.wraps(call)
        def tapped(*inputs: Any, **more: Any) -> Any:
            with self._forward():
                self._begin_forward(model, inputs)
                outputs = call(*inputs, **more)
            self.see("prediction", outputs)
            return outputs

        return tapped

    def _around_layers(self, model: keras.Model, call: Any) -> Any:
        @functools.wraps(call)
        def tapped(layer: keras.Layer, *inputs: Any, **more: Any) -> Any:
            if self._in_forward or not _is_part(layer, model) or is_symbolic(inputs):
                return call(layer, *inputs, **more)
            self._entry = self._entry or layer
            with self._forward():
                if layer is self._entry:
                    self._begin_forward(model, _autocast(inputs))
                outputs = call(layer, *inputs, **more)
            if _shares_layers(layer, model) or layer is model.layers[-1]:
                self.see("prediction", outputs)
            return outputs

        return tapped

    @contextlib.contextmanager
    def _forward(self) -> Iterator[None]:
        """Leave the layers that are called meanwhile alone."""
        self._in_forward, before = True, self._in_forward
        try:
            yield
        finally:
            self._in_forward = before

    def _begin_forward(self, model: keras.Model, inputs: Any) -> None:
        """Record the state before a forward pass, and its inputs."""
        self._losses = 0
        self._has_begun.assign(True)
        late = variables_by_name(model) if model.built else {}
        stages = self.seen_late
        late = {name: state for name, state in late.items() if stage_of(name) in stages}
        self.see_all(late, first=True)
        self.see_state(model, "begun/")
        self.see("batch/x", inputs)
        if self.keep is not None:
            dense = [part for leaf in keras.tree.flatten(inputs) for part in _dense(leaf)]
            if dense:
                self.keep.see_forward(dense, self._steps)

    def _around_loss(self, call: Any) -> Any:
        @functools.wraps(call)
        def tapped(
            loss: keras.losses.Loss, y_true: Any, y_pred: Any, sample_weight: Any = None
        ) -> Any:
            number, self._losses = self._losses, self._losses + 1
            if not any(loss is seen for seen in self.losses):
                self.losses.append(loss)
            # Cast as the loss does first: float64 targets of the same values are no difference.
            cast = _cast(y_true, loss.dtype)
            self.see(f"batch/y/{number}", cast)
            if self.keep is not None and not number and (targets := _dense(cast)):
                self.keep.see_targets(targets)
            self.see(f"batch/sample_weight/{number}", sample_weight)
            value = call(loss, y_true, y_pred, sample_weight)
            self.see(f"loss/{number}/{loss.name}", value)
            return value

        return tapped

    def _keep_gradients(self, model: keras.Model, gradients: Any, variables: Any) -> set[int]:
        """Show gradients to `keep`; return the places of their variables among the model's."""
        places = {_storage(variable): place for place, variable in enumerate(model.variables)}
        given = model.trainable_weights if variables is None else variables
        trained = [places.get(_storage(variable)) for variable in given]
        named = {
            f"gradient_of/{place}": gradient
            for gradient, place in zip(gradients, trained, strict=False)
            if gradient is not None
        }
        self._capture({name: apart(named[name]) for name in self._wanted(named)})
        return {place for place in trained if place is not None}

    def _around_gradient(self, model: keras.Model, gradient: Any) -> Any:
        @functools.wraps(gradient)
        def tapped(tape: tf.GradientTape, target: Any, *sources: Any, **more: Any) -> Any:
            self.runs_eagerly |= tf.executing_eagerly()
            self.see("loss/objective", [apart(t) for t in keras.tree.flatten(target)])
            gradients = gradient(tape, target, *sources, **more)
            given = keras.tree.flatten(sources[0] if sources else more.get("sources"))
            if self.keep is not None and any(map(_is_variable, given)):
                self.keep.see_differentiated()
            if self.ends == "gradient":
                self._keep_gradients(model, keras.tree.flatten(gradients), given)
                self.see("gradients", [apart(leaf) for leaf in keras.tree.flatten(gradients)])
                self._steps.assign_add(1)
            return gradients

        return tapped

    def _around_apply(self, model: keras.Model, apply: Any) -> Any:
        @functools.wraps(apply)
        def tapped(optimizer: Any, grads: Any, trainable_variables: Any = None) -> Any:
            if self._depth or self.ends != "optimizer":
                return apply(optimizer, grads, trainable_variables)
            self._begin_update(model, optimizer, grads, trainable_variables)
            self._depth += 1
            try:
                done = apply(optimizer, grads, trainable_variables)
            finally:
                self._depth -= 1
            self.see_state(model)
            self._steps.assign_add(1 - self._back)
            self._has_begun.assign(False)
            self._back = 0
            return done

        return tapped

    def _begin_update(self, model: keras.Model, optimizer: Any, grads: Any, variables: Any) -> None:
        """Record what an optimizer is about to apply."""
        seen = [other is optimizer for other in self.optimizers]
        if not any(seen):
            self.optimizers.append(optimizer)
            self.trained.append(set())
        self.uses_own |= optimizer is getattr(model, "optimizer", None)
        place = seen.index(True) if any(seen) else len(seen)
        if place:
            self._back = 1 - tf.cast(self._has_begun, tf.int64)
        self.trained[place] |= self._keep_gradients(model, grads, variables)
        self.see("gradients", [apart(gradient) for gradient in grads])
        rate = getattr(optimizer, "learning_rate", None)  # a MultiOptimizer has none
        if self.keep is not None and rate is not None and self.trained[place] & self.trained[0]:
            self.keep.see_rate(rate, self._steps)


def _storage(variable: Any) -> int:
    """Return what identifies the values of a variable, which two variables may share."""
    return id(variable.value if isinstance(variable, keras.Variable) else variable)


def _is_variable(source: Any) -> bool:
    return isinstance(source, tf.Variable | keras.Variable)


def optimizers_with_apply() -> set[Any]:
    """Return the optimizer classes that define a method `apply`."""
    base = keras.optimizers.Optimizer
    return {kind for kind in (*base.__mro__, *_subclasses(base)) if "apply" in vars(kind)}


def _subclasses(base: type) -> set[type]:
    """Return all direct and indirect subclasses."""
    below: list[type] = base.__subclasses__()
    return {kind for sub in below for kind in (sub, *_subclasses(sub))}


def stage_of(name: str) -> str:
    """Return the stage of a step in which a tap records, one of `divergence.STAGES`."""
    kind = name.split("/")[0]
    return {"optimizer": "update"}.get(kind, kind)


def _is_part(layer: keras.Layer, model: keras.Model) -> bool:
    """Return whether a layer is one of a model's, or another model made of some of them."""
    own = {id(part) for part in model.layers}
    return id(layer) in own or _shares_layers(layer, model)


def _shares_layers(layer: keras.Layer, model: keras.Model) -> bool:
    """Return whether a layer is a model made of some layers of another one."""
    if layer is model or not isinstance(layer, keras.Model):
        return False
    parts = {id(part) for part in layer.layers}
    return id(model) not in parts and not parts.isdisjoint(map(id, model.layers))


def is_symbolic(inputs: Any) -> bool:
    """Return whether a call only adds to a functional model."""
    return any(isinstance(leaf, keras.KerasTensor) for leaf in keras.tree.flatten(inputs))


def _autocast(inputs: Any) -> Any:
    """Return inputs with floats in Keras's dtype, as a model gives them to its `call`."""
    return keras.tree.map_structure(lambda leaf: _cast(leaf, keras.config.floatx()), inputs)


def _cast(value: Any, dtype: str) -> Any:
    """Return an array or tensor with floats in a dtype; everything else as it is."""
    if value is None or isinstance(value, tf.SparseTensor | tf.RaggedTensor):
        return value
    tensor = tf.convert_to_tensor(value)
    return tf.cast(tensor, dtype) if tensor.dtype.is_floating else tensor


def _dense(leaf: Any) -> list[Any]:
    """Return the tensor in a list; an empty list for what has no rows to tell apart."""
    if leaf is None or isinstance(leaf, tf.SparseTensor | tf.RaggedTensor):
        return []
    tensor = tf.convert_to_tensor(leaf)
    return [tensor] if tensor.shape.rank else []


def _parts(leaf: Any) -> list[Any]:
    """Return the tensor in a list; for a sparse or ragged tensor, its components."""
    if isinstance(leaf, tf.SparseTensor | tf.RaggedTensor):
        return tf.nest.flatten(leaf, expand_composites=True)
    return [] if leaf is None else [leaf]
