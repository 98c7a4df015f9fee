"""Training, testing and prediction: the names of Keras's methods, and our step functions."""

from typing import Any, NamedTuple

import keras

from loop import step as steps
from loop._keras import is_inherited
from loop.checks import check_inherited
from loop.types import StepFunction


class StepKind(NamedTuple):
    """The names of Keras's methods for training, testing or prediction, and our step functions."""

    function: str
    """The attribute of a model that holds Keras's compiled function."""

    make: str
    """The method that sets this attribute."""

    step: str
    """The method that computes on one batch."""

    ours: StepFunction
    """The step function for models that inherit Keras's method."""

    overridden: StepFunction
    """The step function for models that override it: calls the model's own method."""

    def keras_function(self, model: keras.Model) -> Any:
        """Return Keras's compiled function for this kind of step, creating it if it is missing."""
        getattr(model, self.make)()
        return getattr(model, self.function)

    def step_of(self, model: keras.Model) -> StepFunction:
        """Return the step function for a model: ours, or its own if it overrides Keras's."""
        inherited = is_inherited(getattr(model, self.step), getattr(keras.Model, self.step))
        return self.ours if inherited else self.overridden

    def check(self, model: keras.Model) -> None:
        """Raise NotImplementedError if the model overrides the method named by `make`."""
        check_inherited(getattr(model, self.make), getattr(keras.Model, self.make))


TRAIN = StepKind(
    "train_function",
    "make_train_function",
    "train_step",
    steps.train_step,
    steps.overridden_train_step,
)
TEST = StepKind(
    "test_function", "make_test_function", "test_step", steps.test_step, steps.overridden_test_step
)
PREDICT = StepKind(
    "predict_function",
    "make_predict_function",
    "predict_step",
    steps.predict_step,
    steps.overridden_predict_step,
)
