"""Runs functions around methods of a model's parts, inside the graph of its training step.

A callback sees a step only between calls. What it is to see of every step, without one call for
each, must be part of the graph: the step is traced anew while the methods that every step calls
(`optimizer.apply`, `layer.call`) have the functions around them.
"""

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from loop._keras import is_distributed

Around = Callable[..., Any]
"""`around(method, *arguments)` is called in place of `method(*arguments)`, and calls it."""


class Watch:
    """Functions around methods of single objects, until `close`.

        watch = Watch(model)
        watch.around(model.optimizer, "apply", my_function)
        ...
        watch.close()

    The training step is traced anew at the next step after either end.

    Raises:
        NotImplementedError: The model runs on replicas.
    """

    def __init__(self, model: keras.Model):
        if is_distributed(model):
            raise NotImplementedError(
                "The model runs on replicas, whose steps cannot be watched. Create it under no "
                "strategy, or leave the callback out."
            )
        self._model = model
        self._watched: list[tuple[Any, str, Around]] = []
        model.make_train_function(force=True)

    def around(self, owner: Any, name: str, around: Around) -> None:
        """Call `around(method, *arguments)` in place of a method of an object."""
        method = getattr(owner, name)
        if not hasattr(method, "watchers"):
            method = _watched(method)
            setattr(owner, name, method)
        method.watchers.append(around)
        self._watched.append((owner, name, around))

    def close(self) -> None:
        """Leave the methods as they were; functions of other watches stay."""
        for owner, name, around in self._watched:
            method = getattr(owner, name)
            method.watchers.remove(around)
            if not method.watchers:
                delattr(owner, name)
                if getattr(owner, name) != method.__wrapped__:  # it was an attribute of the object
                    setattr(owner, name, method.__wrapped__)
        if self._watched:
            self._model.make_train_function(force=True)
        self._watched = []


def _watched(method: Any) -> Any:
    """Return a method that calls the functions in its attribute `watchers` around itself."""

    @functools.wraps(method)
    def watched(*arguments: Any, **more: Any) -> Any:
        call = method
        for around in watched.watchers:  # type: ignore[attr-defined]
            call = functools.partial(around, call)
        return call(*arguments, **more)

    watched.watchers = []  # type: ignore[attr-defined]
    return watched


def optimizers_of(model: keras.Model) -> list[keras.optimizers.Optimizer]:
    """Return the optimizer of a model, and optimizers that are attributes of it.

    Raises:
        ValueError: There is none.
    """
    held = [getattr(model, "optimizer", None), *vars(model).values()]
    found = {id(part): part for part in held if isinstance(part, keras.optimizers.Optimizer)}
    if not found:
        raise ValueError(
            "The model holds no optimizer whose updates could be watched. Compile it with one, or "
            "make the optimizer of your step an attribute: model.my_optimizer = optimizer."
        )
    return list(found.values())


def apart(tensor: tf.Tensor) -> tf.Tensor:
    """Return a tensor of a step for reading it, without any effect on the bits of the step.

    TensorFlow regroups a product or a sum with the operation that uses it, but only if nothing else
    uses it. So a reader gets it computed once more, in a function that TensorFlow does not inline.
    """
    if not (tf.is_symbolic_tensor(tensor) and tensor.op.type in _REGROUPED):
        return tensor
    operands = [apart(operand) for operand in tensor.op.inputs]
    return _REGROUPED[tensor.op.type](*operands)


def _not_inlined(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    attributes = {"_noinline": True}
    return tf.function(function, autograph=False, experimental_attributes=attributes)


_REGROUPED = {
    "Mul": _not_inlined(lambda a, b: tf.multiply(a, b)),
    "AddV2": _not_inlined(lambda a, b: tf.add(a, b)),
    "AddN": _not_inlined(lambda *terms: tf.add_n(terms)),
}
