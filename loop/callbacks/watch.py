"""Runs functions around methods of a model's parts, inside the graph of its training step.

What a callback is to see of every step, without a call for each, must be part of the graph: the
step is traced anew while the methods that it calls have the functions of the callback around them.
"""

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras.callbacks import Callback

from loop._keras import is_distributed
from loop.types import Logs

Around = Callable[..., Any]
"""`around(method, *arguments)` is called in place of `method(*arguments)`, and calls it."""


class Watching(Callback):
    """A callback that runs functions around methods of single objects while a model trains.

    class Sees(Watching):
        def on_train_begin(self, logs=None):
            self.begin()
            self.around(self.model.optimizer, "apply", my_function)
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_open = False
        self._watched: list[tuple[Any, str, Around]] = []

    def begin(self) -> None:
        """Trace the training step of the model anew.

        Raises:
            NotImplementedError: The model runs on replicas.
        """
        self.close()  # after a fit under Keras that has raised
        if is_distributed(self.model):
            raise NotImplementedError(
                "The model runs on replicas, whose steps no callback can watch. Create it under no "
                "strategy, or leave the callback out."
            )
        self._is_open = True
        self.model.make_train_function(force=True)

    def around(self, owner: Any, name: str, around: Around) -> None:
        """Call `around(method, *arguments)` in place of a method of an object."""
        if not hasattr(getattr(owner, name), "watchers"):
            setattr(owner, name, _watched(getattr(owner, name)))
        getattr(owner, name).watchers.append(around)
        self._watched.append((owner, name, around))

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Watch no longer."""
        self.close()

    def close(self) -> None:
        """Leave the methods as they were; functions of other callbacks stay."""
        for owner, name, around in self._watched:
            method = getattr(owner, name)
            method.watchers.remove(around)
            if not method.watchers:
                delattr(owner, name)
                if getattr(owner, name) != method.__wrapped__:  # it was an attribute of the object
                    setattr(owner, name, method.__wrapped__)
        if self._is_open:
            self.model.make_train_function(force=True)
        self._is_open, self._watched = False, []


def _watched(method: Any) -> Any:
    """Return a method that calls the functions in its attribute `watchers` around itself."""
    watchers: list[Around] = []

    @functools.wraps(method)
    def watched(*arguments: Any, **named: Any) -> Any:
        call = method
        for around in watchers:
            call = functools.partial(around, call)
        return call(*arguments, **named)

    vars(watched)["watchers"] = watchers
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


def apart(tensor: Any) -> Any:
    """Return a tensor of a step to read, so that reading it changes no bit of the step.

    Grappler computes `learning_rate * (a * b)` as `(learning_rate * a) * b` where that saves a
    broadcast, and regroups sums, but only if nothing else reads `a * b`. So a reader gets `a * b`
    computed once more, in a function that grappler does not inline.
    """
    if not (tf.is_symbolic_tensor(tensor) and tensor.op.type in _REGROUPED):
        return tensor
    again = tf.function(
        _REGROUPED[tensor.op.type], autograph=False, experimental_attributes={"_noinline": True}
    )
    return again(*map(apart, tensor.op.inputs))


_REGROUPED: dict[str, Callable[..., tf.Tensor]] = {
    "Mul": tf.multiply,
    "AddV2": tf.add,
    "AddN": lambda *terms: tf.add_n(terms),
}
"""The ops whose operands grappler may regroup with those of the op that reads the result."""
