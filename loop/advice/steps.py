"""Advice on the model: its compiled losses and metrics, its step, and what ran out."""

import re
from typing import Any

import keras

from loop.advice.failure import Advice, Failure


def keys_of_losses(failure: Failure, _: re.Match[str]) -> Advice | None:
    """Losses are given by names that no output has."""
    return _advice_on_keys(failure, "loss", failure.model.loss)


def keys_of_metrics(failure: Failure, found: re.Match[str]) -> Advice | None:
    """Metrics are given by names that no output has, or in another structure than the outputs."""
    names = getattr(failure.model, "output_names", None)
    if not names:
        return None
    return Advice(
        f"{found[1]} in compile does not fit the outputs of the model, {names}.",
        "a dict by the names of outputs, or a list with an entry for each output.",
        f"{found[1]}={{{', '.join(f'{name!r}: [...]' for name in names)}}}; the names are those "
        "of the last layers: Dense(1, name=...).",
    )


def _advice_on_keys(failure: Failure, argument: str, given: Any) -> Advice | None:
    names = getattr(failure.model, "output_names", None)
    if not names or not isinstance(given, dict):
        return None
    unknown, without = sorted(set(given) - set(names)), sorted(set(names) - set(given))
    return Advice(
        f"{argument} in compile has the keys {list(given)}, but the outputs of the model are "
        f"{names}.",
        f"the keys {names}.",
        f"{argument}={{{', '.join(f'{name!r}: ...' for name in names)}}}, or name the layers of the "
        f"outputs: {unknown} {'is' if len(unknown) == 1 else 'are'} the name of no output"
        + (f", {without} {'has' if len(without) == 1 else 'have'} no {argument}." if without else "."),
    )


def no_callback(failure: Failure, _: re.Match[str]) -> Advice | None:
    """An entry of `callbacks` is a class or a function, not an object of a class of callbacks."""
    callbacks = failure.arguments.get("callbacks")
    for callback in keras.tree.flatten(callbacks) if callbacks else []:
        if isinstance(callback, type):
            return Advice(
                f"callbacks holds the class {callback.__name__}, not an object of it.",
                "objects: a class followed by parentheses.",
                f"callbacks=[{callback.__name__}()].",
            )
        if not isinstance(callback, keras.callbacks.Callback):
            return Advice(
                f"callbacks holds {callback!r}, which is no callback.",
                "objects of keras.callbacks.Callback or of a class derived from it.",
                "callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=function)].",
            )
    return None


def variables_in_a_step(failure: Failure, _: re.Match[str]) -> Advice:
    """A step, a loss or a layer creates variables each time it is called."""
    return Advice(
        "the step, a loss or a layer creates a variable, a layer, a metric or an optimizer each "
        "time it is called.",
        "variables that are created once.",
        "move the line that creates it into __init__ or build, and use self.<name> in the step.",
    )


def no_gradients(failure: Failure, _: re.Match[str]) -> Advice:
    """The loss does not depend on the weights, as far as the tape has seen."""
    return Advice(
        "the loss does not depend on the weights by operations that have a gradient.",
        "the forward pass and the loss inside `with tf.GradientTape() as tape:`, without argmax, "
        "round, casts to integers, NumPy or tf.stop_gradient on the way.",
        "y_pred = self(x, training=True), and the loss, indented below `with ... as tape:`.",
    )


def python_in_a_step(failure: Failure, found: re.Match[str]) -> Advice:
    """A step or a loss treats a tensor of a graph as a number that Python knows."""
    return Advice(
        "the step or the loss asks for the value of a tensor while it is traced: it has none yet.",
        "TensorFlow's or Keras's functions all the way: keras.ops, tf.",
        "keras.ops.mean for np.mean, tf.cond or keras.ops.where for `if`, tensors as logs without "
        "float(); or, to debug, compile(run_eagerly=True).",
    )


def dtypes_in_a_step(_: Failure, found: re.Match[str]) -> Advice:
    """A step or a loss combines tensors of two dtypes, such as integer targets and predictions."""
    return Advice(
        f"the step or the loss combines {found[1]} with {found[2]}: TensorFlow converts neither.",
        "one dtype on both sides.",
        'y = keras.ops.cast(y, "float32") in the step, or y.astype("float32") before fit.',
    )


def out_of_memory(failure: Failure, _: re.Match[str]) -> Advice:
    """A batch needs more memory than the device has."""
    size = failure.arguments.get("batch_size") or 32
    change = f"batch_size={max(1, size // 2)}"
    if failure.data[0].kind is not None:
        change = f"smaller batches from the {failure.data[0].kind}"
    return Advice(
        "the step needs more memory than the device has left.",
        "a batch and activations that fit into memory.",
        f"{change}; also: smaller inputs, a smaller model, or the dtype policy mixed_float16.",
    )
