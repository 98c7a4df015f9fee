"""`loop.fit`: what `model.fit` does, in plain sight.

`fit` turns its arguments into the few things that training needs, `run_epochs` is the loop over
epochs, `run_steps` the loop over batches (`epoch.py`). What happens to one batch is in `step.py`.
"""

import keras

from loop._keras import first_epoch
from loop.epoch import run_steps
from loop.metrics import epoch_logs
from loop.setup import Training, set_up
from loop.types import Asked, Logs, StepFunction, Structure
from loop.whole import WholeEpochs


def fit(
    model: keras.Model,
    x: Structure = None,
    y: Structure = None,
    batch_size: int | None = None,
    epochs: int = 1,
    verbose: str | int = "auto",
    callbacks: Structure = None,
    validation_split: float = 0.0,
    validation_data: Structure = None,
    shuffle: bool | str = True,
    class_weight: dict[int, float] | None = None,
    sample_weight: Structure = None,
    initial_epoch: int = 0,
    steps_per_epoch: int | None = None,
    validation_steps: int | None = None,
    validation_batch_size: int | None = None,
    validation_freq: int | list[int] = 1,
    *,
    plan: str = "auto",
    train_step: StepFunction | None = None,
    test_step: StepFunction | None = None,
    strict: bool = False,
) -> keras.callbacks.History:
    """Trains a model exactly as `model.fit` would, to the last bit.

    Every argument means what it means in `keras.Model.fit`; `plan`, `train_step`,
    `test_step` and `strict` are ours.

    Args:
        model: A compiled Keras model, or any Keras model with `train_step` given.
        x: Inputs `[samples, ...]`, nested as the model takes them, or a `tf.data.Dataset`.
        y: Targets `[samples, ...]`; None for a dataset.
        batch_size: Samples in a batch: 32, or as many as `steps_per_epoch` asks for.
        epochs: The epoch to stop before; with `initial_epoch` a number, not a count.
        verbose: 0 silent, 1 or "auto" a bar for each epoch, 2 a line for each epoch.
        callbacks: Keras callbacks, in the order in which they are told.
        validation_split: The fraction of the arrays, from their end, to validate on.
        validation_data: `(x, y)`, `(x, y, sample_weight)` or a dataset to validate on.
        shuffle: True: a new order for each epoch; "batch": within batches; False.
        class_weight: A weight for each class of integer targets.
        sample_weight: `[samples]` or `[samples, ...]`, one array or one for each output.
        initial_epoch: The epoch to start at.
        steps_per_epoch: Steps in an epoch; None for one pass over the data.
        validation_steps: Batches to validate on; None for all.
        validation_batch_size: Samples in a batch of validation.
        validation_freq: Validate every n epochs, or after the epochs listed, counted from 1.
        plan: How steps become compiled calls: "step", one call a batch; "fused", as many steps as
            nobody watches in one; "auto", fused where that can be; "xla", fused and compiled with
            XLA; "fastest", what a few steps measure. Step, fused and auto have Keras's bits.
        train_step: A step to use in place of the model's: `train_step(model, batch) -> logs`.
            Pass the same function again to train on with the graph that it has.
        test_step: The same for validation.
        strict: Whether to refuse what fit lets pass without a word: see docs/quirks.md.

    Returns:
        The History: `.history` has a list of floats, one an epoch, for each log.

    Raises:
        ValueError: The model is not compiled, or the arguments contradict each other.
        KeyError: There is no data.
        NotImplementedError: A source or a model that `model.fit` takes and loop does not yet.

    Mirrors: keras.Model.fit
    """
    asked = Asked(
        model, x, y, batch_size, epochs, verbose, callbacks, validation_split, validation_data,
        shuffle, class_weight, sample_weight, initial_epoch, steps_per_epoch, validation_steps,
        validation_batch_size, validation_freq, plan, train_step, test_step, strict,
    )  # fmt: skip
    return run_epochs(set_up(asked))


def run_epochs(training: Training) -> keras.callbacks.History:
    """The loop over epochs: train, then validate where it is due, then tell the callbacks.

    Mirrors: keras.Model.fit
    """
    model, train, schedule, validation, callbacks, initial_epoch, epochs = training
    model.stop_training = False
    callbacks.on_train_begin()
    step_logs: Logs = {}
    logs: Logs | None = None
    whole = WholeEpochs(model, train, schedule, validation, callbacks)
    epoch = first_epoch(model, initial_epoch)
    while epoch < epochs:
        model.reset_metrics()
        callbacks.on_epoch_begin(epoch)
        if whole.why_not() is None:  # nobody looks into the next epochs: one call runs them
            every = whole.run(epoch, epochs)
        else:
            # An epoch without a batch reports on the logs of the one before, as Keras does.
            hooks = callbacks.training
            step_logs = run_steps(train, schedule, hooks, lambda: model.stop_training) or step_logs
            every = [epoch_logs(model, step_logs)]  # before validation: it resets the same metrics
            if validation is not None and validation.is_due(epoch):
                every[0] |= validation.run(callbacks)
        for logs in every:
            callbacks.on_epoch_end(epoch, logs)
            epoch += 1
        if model.stop_training:
            break
    if epochs > 0 and isinstance(getattr(model, "optimizer", None), keras.optimizers.Optimizer):
        # An optimizer that averages weights puts the averages in place, before the last hook.
        model.optimizer.finalize_variable_values(model.trainable_weights)
    callbacks.on_train_end(logs)
    return model.history  # put there with the callbacks, which may look for it
