"""Advice on the model: its compiled losses and metrics, its step, and what ran out."""

import difflib
import re

import keras

from loop.advice.failure import Advice, Failure, is_complete


def keys_of_losses(failure: Failure, _: re.Match[str]) -> Advice | None:
    """Losses are given by names that no output has, or in another number than the outputs."""
    names = getattr(failure.model, "output_names", None) or []
    loss = getattr(failure.model, "loss", None)
    if not names and isinstance(loss, dict):
        return Advice(
            f"loss in compile has the keys {list(loss)}, but the model names no outputs.",
            "a loss without a key, for a model with one output; or keras.Model(inputs, outputs), "
            "whose outputs have the names of the last layers.",
            f"compile(loss={next(iter(loss.values()), None)!r}).",
        )
    if not names or not isinstance(loss, dict | list | tuple) or is_complete(loss, names):
        return None
    what = f"the keys {list(loss)}" if isinstance(loss, dict) else f"{len(loss)} entries"
    return Advice(
        f"loss in compile has {what}, but the outputs of the model are {names}.",
        f"a loss for each of {names}; None for an output without one.",
        f"compile(loss={{{', '.join(f'{name!r}: ...' for name in names)}}}), or name the last "
        "layers by the keys: Dense(1, name=...).",
    )


def keys_of_metrics(failure: Failure, found: re.Match[str]) -> Advice | None:
    """Metrics are given by names that no output has, or in another number than the outputs."""
    names, argument = getattr(failure.model, "output_names", None), found[1]
    if not names:
        return None
    return Advice(
        f"{argument} in compile does not fit the outputs of the model, {names}.",
        "a dict by the names of outputs, or a list with an entry for each output.",
        f"compile({argument}={{{', '.join(f'{name!r}: [...]' for name in names)}}}), or name the "
        "last layers by the keys: Dense(1, name=...).",
    )


def unknown_name(_: Failure, found: re.Match[str]) -> Advice:
    """A loss or a metric is given by a name that Keras does not have."""
    kind, given = found.groups()
    known = [name for name in dir(MODULES[kind]) if name.islower() and not name.startswith("_")]
    near = [repr(name) for name in difflib.get_close_matches(given, known, n=1)]
    return Advice(
        f"Keras has no {kind} of the name {given!r}.",
        f"a name in {MODULES[kind].__name__}, a function (y_true, y_pred) -> values, or an object.",
        " or ".join([*near, f"{kind}={given} without quotes, for a function of your own."]),
    )


MODULES = {"loss": keras.losses, "metric": keras.metrics}


def weights_of_classes(failure: Failure, _: re.Match[str]) -> Advice | None:
    """Class weights are no dict, or its keys are no integers."""
    given = failure.arguments.get("class_weight")
    if given is None or (isinstance(given, dict) and all(type(key) is int for key in given)):
        return None
    what = f"a {type(given).__name__}"
    if isinstance(given, dict):
        what = f"a dict with keys of type {type(next(iter(given))).__name__}"
    return Advice(
        f"class_weight is {what}.",
        "a dict from classes, which are integers, to weights.",
        "class_weight={0: 1.0, 1: 2.0}, or dict(enumerate(weights)) for a list of weights.",
    )


def batch_size_that_is_no_integer(failure: Failure, _: re.Match[str]) -> Advice | None:
    """The batch size is a float, most often the result of a division."""
    size = failure.arguments.get("batch_size")
    if size is None or hasattr(size, "__index__"):
        return None
    return Advice(
        f"batch_size is {size!r} of type {type(size).__name__}.",
        "an integer.",
        "batch_size=len(x) // n, with two slashes.",
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


def variables_in_a_step(_: Failure, __: re.Match[str]) -> Advice:
    """A step, a loss or a layer creates variables each time it is called."""
    return Advice(
        "the step, a loss or a layer creates a variable, a layer, a metric or an optimizer each "
        "time it is called.",
        "variables that are created once.",
        "move the line that creates it into __init__ or build, and use self.<name> in the step.",
    )


def no_gradients(_: Failure, __: re.Match[str]) -> Advice:
    """The loss does not depend on the weights, as far as the tape has seen."""
    return Advice(
        "the loss does not depend on the weights by operations that have a gradient.",
        "the forward pass and the loss inside `with tf.GradientTape() as tape:`, without argmax, "
        "round, casts to integers, NumPy or tf.stop_gradient on the way.",
        "y_pred = self(x, training=True), and the loss, indented below `with ... as tape:`.",
    )


def python_in_a_step(_: Failure, __: re.Match[str]) -> Advice:
    """A step or a loss treats a tensor of a graph as a number that Python knows."""
    return Advice(
        "the step or the loss asks for the value of a tensor while it is traced: it has none yet.",
        "functions of keras.ops or of TensorFlow, from the inputs to the logs.",
        "keras.ops.mean for np.mean, keras.ops.where for `if`, tensors as logs without float() or "
        ".numpy(); or compile(run_eagerly=True), slow, to look at values.",
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
