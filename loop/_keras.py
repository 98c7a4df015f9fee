"""The only module that uses private names of Keras.

Each docstring says why no public name can be used. `tests/unit/test_house.py` asserts that every
private name exists in the installed Keras, and that no other module uses any.
"""

import contextlib
import types
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf
from keras.callbacks import Callback
from keras.src.backend.common.global_state import get_global_attribute
from keras.src.backend.common.masking import get_keras_mask
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR
from keras.src.trainers.compile_utils import CompileMetrics
from keras.src.trainers.data_adapters.py_dataset_adapter import OrderedEnqueuer
from keras.src.trainers.trainer import Trainer
from tensorflow.python.framework.config import is_op_determinism_enabled
from tensorflow.python.ops.parallel_for.pfor import _pfor_converter_registry as conversions

from loop.types import LossTerm, OutputMetrics, Structure

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "loop trains with tf.GradientTape and needs Keras on its TensorFlow backend, but Keras "
        f"was imported with the backend '{keras.backend.backend()}'. Set the environment variable "
        "KERAS_BACKEND=tensorflow before Keras is imported."
    )


def is_inherited(method: Callable, original: Callable) -> bool:
    """Return whether a bound method is Keras's original, overridden by no class or instance."""
    return isinstance(method, types.MethodType) and method.__func__ is original


def is_trainer(model: Any) -> bool:
    """Return whether an object can be fit: a model, or a layer with the private class `Trainer`."""
    return isinstance(model, Trainer)


def passes_training(model: keras.Model) -> bool:
    """Return whether `model.call` takes `training`, by the private flag that Keras uses too."""
    return model._call_has_training_arg


def compute_loss_takes_training(model: keras.Model) -> bool:
    """Return whether a model's own `compute_loss` takes `training`, which Keras 3.3 introduced."""
    return model._compute_loss_has_training_arg


def note_call(model: keras.Model) -> None:
    """Note that a model was called, as calling it does; `model.export` asks for that."""
    model._called = True


def needs_determinism() -> bool:
    """Return whether `tf.config.experimental.enable_op_determinism` was called.

    TensorFlow has no public name that tells.
    """
    return is_op_determinism_enabled()


def first_epoch(model: keras.Model, initial_epoch: int) -> int:
    """Return the epoch to start at: that restored by `BackupAndRestore`, or `initial_epoch`.

    Matches Keras: the restored epoch is never cleared, so later fits of the model start there too.
    """
    return restored_epoch(model) or initial_epoch


def restored_epoch(model: keras.Model) -> int | None:
    """Return the epoch that `BackupAndRestore` restored in this fit or an earlier one, or None."""
    return model._initial_epoch


def share_storage(variable: keras.Variable, other: keras.Variable) -> None:
    """Let a variable read and write the tensor of another; Keras can only copy values."""
    variable._value = other.value


def is_distributed(model: keras.Model) -> bool:
    """Return whether the model was created under a `tf.distribute` strategy.

    The public `model.distribute_strategy` returns the default strategy otherwise, so it cannot be
    used to decide.
    """
    return model._distribute_strategy is not None


def symbolic_build(model: keras.Model, batch: Structure) -> None:
    """Create the variables of a model, its optimizer and its metrics, without training.

    Under a strategy they must exist before a replica runs. No public method creates all of them.
    """
    model._symbolic_build(data_batch=batch)


def build_optimizer(model: keras.Model) -> None:
    """Create the variables of the optimizer before a step is traced, if that can be done.

    Keras creates them while it traces the first step. A `tf.function` that creates variables is
    traced twice, so Keras traces the first step twice; ours is traced once.

    Only for optimizers of Keras that create variables and do nothing else: ScheduleFreeAdamW
    assigns values to them as well, which Keras's second trace leaves out.

    Mirrors: keras.optimizers.Optimizer.apply
    """
    optimizer = model.optimizer
    inner = getattr(optimizer, "inner_optimizer", optimizer)  # of a LossScaleOptimizer
    if type(inner) not in _CREATE_VARIABLES_ONLY or optimizer.built or not model.trainable_weights:
        return
    if not all(layer.built for layer in model._flatten_layers()):
        return
    with keras.name_scope(optimizer.name, caller=optimizer):
        optimizer.build(model.trainable_weights)
    optimizer.built = True


def weights_of(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """Return the weights that a built optimizer trains; its public `variables` are its own."""
    return list(optimizer._trainable_variables)


def every_layer(model: keras.Model) -> list[keras.layers.Layer]:
    """Return a model and all layers in it, at every depth. `model.layers` has the first only."""
    return model._flatten_layers()


def count_variables(model: keras.Model) -> int:
    """Return the number of variables of a model, its optimizer and its metrics."""
    optimizer = [] if model.optimizer is None else model.optimizer.variables
    metrics = [variable for metric in every_metric(model) for variable in metric.variables]
    return len(model.variables) + len(optimizer) + len(metrics)


_CREATE_VARIABLES_ONLY = {
    getattr(keras.optimizers, name)
    for name in (
        "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lamb", "Lion",
        "Muon", "Nadam", "RMSprop", "SGD",
    )
}  # fmt: skip


@contextlib.contextmanager
def _variables_outside_of_the_graph() -> Iterator[None]:
    """Create the variables of losses and metrics outside of the graph that is traced, if any.

    Otherwise the graph would be traced a second time: see `build_optimizer`.
    """

    def create(next_creator: Callable[..., tf.Variable], **arguments: Any) -> tf.Variable:
        if not callable(arguments["initial_value"]):  # a tensor of the graph
            return next_creator(**arguments)
        with tf.init_scope():
            return next_creator(**{**arguments, "experimental_enable_variable_lifting": False})

    with tf.variable_creator_scope(create):
        yield


def batches_until_save(checkpoint: Callback) -> int:
    """Return the batches until `ModelCheckpoint` or `BackupAndRestore` saves, by its counter."""
    return checkpoint.save_freq - checkpoint._batches_seen_since_last_saving


def is_profiling(board: keras.callbacks.TensorBoard) -> bool:
    """Return whether `TensorBoard` profiles batches; `profile_batch` is no public attribute."""
    return board._should_trace


def enqueuer(dataset: keras.utils.PyDataset, shuffle: bool) -> OrderedEnqueuer | None:
    """Return the worker pool of a `PyDataset`, or None if it has no workers.

    The class of the pool has no public name.

    Mirrors: keras.src.trainers.data_adapters.py_dataset_adapter.PyDatasetAdapter
    """
    workers, processes = dataset.workers, dataset.use_multiprocessing
    if workers > 1 or (workers > 0 and processes):
        return OrderedEnqueuer(dataset, workers, processes, dataset.max_queue_size, shuffle)
    return None


def stop_workers(workers: OrderedEnqueuer) -> None:
    """Stop a worker pool, at once if all batches of the pass were taken from it.

    `stop` collects the batches that nobody has taken, and waits 0.1 s for another. Once the thread
    that submits batches has ended and its queue is empty, there is none.
    """
    thread = workers.run_thread
    is_empty = thread is not None and not thread.is_alive() and workers.future_queue.empty()
    workers.stop(drain_queue_and_join=not is_empty)


def loss_tracker(model: keras.Model) -> keras.metrics.Mean:
    """Return the mean reported as the log `loss`. The public `model.metrics` may be overridden."""
    return model._loss_tracker


def loss_terms(
    model: keras.Model, y: Structure, y_pred: Structure
) -> tuple[list[LossTerm], Structure, Structure]:
    """Return the losses as `compile` resolved them, and targets and predictions in their structure.

    Keras resolves strings, functions and dicts to loss objects at the first predictions, from their
    structure and shapes. No public name gives the result.

    Mirrors: keras.src.trainers.compile_utils.CompileLoss.build
    """
    compile_loss = model._compile_loss
    if compile_loss is None:
        return [], y, y_pred
    if not compile_loss.built:
        scope = keras.name_scope(compile_loss.name)  # the scope in the names of the trackers
        with scope, _variables_outside_of_the_graph():
            compile_loss.build(y, y_pred)
    y = _in_structure_of(compile_loss._y_true_build_structure, y)
    y_pred = _in_structure_of(compile_loss._y_pred_build_structure, y_pred)
    return resolved_losses(model), y, y_pred


def resolved_losses(model: keras.Model) -> list[LossTerm]:
    """Return the losses of a model whose losses are built. No public name gives them."""
    compile_loss = model._compile_loss
    if compile_loss is None:
        return []
    trackers = compile_loss.metrics or [None]
    return [
        LossTerm(path, loss, weight, tracker)
        for (path, loss, weight, _), tracker in zip(compile_loss._flat_losses, trackers)  # noqa: B905 - Keras's zip
    ]


def is_resolved(model: keras.Model) -> bool:
    """Return whether the losses and metrics of `compile` are built, by a first step or a trace."""
    parts = model._compile_loss, model._compile_metrics
    return all(part is None or part.built for part in parts)


def _in_structure_of(built: Structure, values: Structure) -> Structure:
    """Return the leaves of `values` in the structure that the losses were built for."""
    try:
        keras.tree.assert_same_structure(built, values)
    except ValueError:
        return keras.tree.pack_sequence_as(built, keras.tree.flatten(values))
    return values


def output_metrics(model: keras.Model, y: Structure, y_pred: Structure) -> OutputMetrics:
    """Return the metrics of each output as `compile` resolved them. No public name gives them.

    Mirrors: keras.src.trainers.compile_utils.CompileMetrics.build
    """
    compile_metrics = model._compile_metrics
    if compile_metrics is None:
        return OutputMetrics([], [])
    if not compile_metrics.built:
        with _variables_outside_of_the_graph():
            compile_metrics.build(y, y_pred)
    return OutputMetrics(
        [output.metrics if output else [] for output in compile_metrics._flat_metrics],
        [output.metrics if output else [] for output in compile_metrics._flat_weighted_metrics],
    )


def flat_outputs(model: keras.Model, values: Structure) -> list:
    """Return targets, predictions or weights as a flat list, in the order of `output_metrics`.

    Mirrors: keras.src.trainers.compile_utils.CompileMetrics._flatten_y
    """
    names = model._compile_metrics._resolved_output_names
    if isinstance(values, dict) and names is not None:
        return [values[name] for name in names]
    return keras.tree.flatten(values)


def every_metric(model: keras.Model) -> list[keras.metrics.Metric]:
    """Return all metrics of a model, those of `compile` included, in the order of `evaluate`."""
    return [
        part
        for metric in model.metrics
        for part in (metric.metrics if isinstance(metric, CompileMetrics) else [metric])
    ]


def mask_of(values: Structure) -> tf.Tensor | None:
    """Return the mask that a layer such as `Embedding(mask_zero=True)` left on predictions.

    Losses read it from a private attribute of the tensor.
    """
    return get_keras_mask(values)


def global_seed_state() -> keras.Variable | None:
    """Return the state of the generator that `keras.random` uses without a seed; None if unused.

    It belongs to no model, and no public name gives it.
    """
    generator = get_global_attribute(GLOBAL_SEED_GENERATOR)
    return None if generator is None else generator.state


def excludes_from_weight_decay(optimizer: keras.optimizers.Optimizer) -> bool:
    """Return whether `exclude_from_weight_decay` was called; no public name tells."""
    return "_exclude_from_weight_decay" in vars(optimizer)


def vectorize_draws() -> None:
    """Let `tf.vectorized_map` convert the ops that `keras.random` draws with.

    TensorFlow registers a conversion for the former version of each of these ops only. It draws for
    one element after the other, so the numbers are those of an element on its own.
    """
    for op in (
        "StatelessRandomGetKeyCounter", "StatelessRandomNormalV2", "StatelessRandomUniformV2",
        "StatelessRandomUniformIntV2", "StatelessTruncatedNormalV2",
    ):  # fmt: skip
        conversions.setdefault(op, conversions["StatelessRandomUniform"])
    # `keras.ops.argmax` looks at the bits of its argument: an op of each element, such as "Abs".
    conversions.setdefault("Bitcast", conversions["Abs"])
