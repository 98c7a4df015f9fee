"""`loop.predict`: forward passes over the data, joined along the batch axis."""

import keras
import tensorflow as tf

from loop.callbacks import with_defaults
from loop.checks import check_one_device
from loop.data import make_source
from loop.epoch import Epochs, capped_steps
from loop.function import joined, predict_call
from loop.types import Structure


def predict(
    model: keras.Model,
    x: Structure,
    batch_size: int | None = None,
    verbose: str | int = "auto",
    steps: int | None = None,
    callbacks: Structure = None,
) -> Structure:
    """The predictions of a model for data, as `model.predict` gives them.

    Args:
        model: Any Keras model; it need not be compiled.
        x: Inputs `[samples, ...]`, nested as the model takes them, or a `tf.data.Dataset`.
        batch_size: Samples in a batch, 32 by default.
        verbose: 0 silent, 1 or "auto" a bar, 2 a line.
        steps: Batches to predict; None for all.
        callbacks: Keras callbacks.

    Returns:
        NumPy arrays `[samples, ...]` in the structure of the model's outputs.

    Raises:
        ValueError: There was no batch to predict.
        KeyError: There is no data.
        NotImplementedError: A source or a model that Keras takes and loop does not yet.

    Mirrors: keras.Model.predict
    """
    check_one_device(model)
    steps = capped_steps(steps)
    source = make_source(x, None, None, batch_size, steps)
    schedule = Epochs(source, steps, model.steps_per_execution)
    told = with_defaults(callbacks, model, verbose, epochs=1, steps=schedule.num_batches)
    call = predict_call(model)
    model.stop_predicting = False
    told.on_predict_begin()
    outputs: list[Structure] = []
    with schedule.until_out_of_data():
        for first, last, batches in schedule.one_epoch():
            told.on_predict_batch_begin(first)
            outputs.append(call(batches))
            told.on_predict_batch_end(last, {"outputs": outputs[-1]})
            if model.stop_predicting:
                break
    told.on_predict_end()
    if not outputs:
        raise ValueError(f"Expected at least one batch to predict, got an empty {type(x)} as `x`.")
    return keras.tree.map_structure(_as_numpy, joined(outputs))


def _as_numpy(output: Structure) -> Structure:
    """Reads predictions: waits for the device. Ragged and sparse ones stay what they are."""
    return output.numpy() if isinstance(output, tf.Tensor) else output
