"""The same as `examples/recipes/rate_range.py`, as a callback of Keras."""

import keras
import numpy as np

from examples.recipes.rate_range import build as build


class RangeTest(keras.callbacks.Callback):
    """Lets the rate grow at each step, records the losses, and restores the model."""

    def on_train_begin(self, logs=None):
        """Keep the state of the model."""
        optimizer = self.model.optimizer
        optimizer.build(self.model.trainable_variables)
        variables = [*self.model.variables, *optimizer.variables]
        self.before = [(variable, variable.numpy()) for variable in variables]
        self.rates, self.losses = np.geomspace(1e-4, 10.0, 100), []

    def on_train_batch_begin(self, batch, logs=None):
        """Set the next rate."""
        self.model.optimizer.learning_rate = self.rates[len(self.losses)]
        self.model.reset_metrics()  # so that the log is the loss of this batch alone

    def on_train_batch_end(self, batch, logs=None):
        """Record the loss, and stop after the last rate."""
        self.losses.append(logs["loss"])
        self.model.stop_training = len(self.losses) == len(self.rates)

    def on_train_end(self, logs=None):
        """Restore the state."""
        for variable, value in self.before:
            variable.assign(value)


def fit(model, callbacks=(), **arguments):
    test = RangeTest()
    model.fit(callbacks=[*callbacks, test], **arguments)
    return {"rate": test.rates.tolist(), "loss": test.losses}
