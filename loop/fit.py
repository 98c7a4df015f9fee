"""`loop.fit`: does what `model.fit` does, as three functions to read.

`fit` prepares the training from its arguments, `run_epochs` is the loop over epochs, `run_steps`
the loop over batches. The computation on one batch is in `step.py`.
"""

import keras

from loop._keras import first_epoch
from loop.advice import advised
from loop.setup import Training, set_up
from loop.state import finalize_weights
from loop.types import FitArguments, Logs, StepFunction, Structure


@advised
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
    drop_remainder: bool = False,
    eval_every: int | None = None,
) -> keras.callbacks.History:
    """Train a model exactly as `model.fit` does, to the last bit.

        history = loop.fit(model, x, y, epochs=10, validation_split=0.2)

    Args:
        model: A compiled Keras model, or any Keras model with `train_step` given.
        x: Inputs `[samples, ...]`, nested as the model takes them, or a `tf.data.Dataset`.
        y: Targets `[samples, ...]`; None for a dataset.
        batch_size: Samples per batch; by default 32, or samples divided by `steps_per_epoch`.
        epochs: The epoch to stop before: training runs `epochs - initial_epoch` epochs.
        verbose: 0 silent, 1 or "auto" a bar for each epoch, 2 a line for each epoch.
        callbacks: Keras callbacks, in the order in which their hooks are called.
        validation_split: The fraction of the arrays, from their end, to validate on.
        validation_data: `(x, y)`, `(x, y, sample_weight)` or a dataset to validate on.
        shuffle: True: random order, under a global seed the same in every epoch, as in Keras;
            "batch": random order within each batch; False: the order of the arrays.
        class_weight: Weights by integer class.
        sample_weight: `[samples]` or `[samples, ...]`: one array, or an array for each output.
        initial_epoch: The epoch to start at, counted from 0.
        steps_per_epoch: Steps per epoch; None for one pass over the data.
        validation_steps: Batches to validate on; None for all.
        validation_batch_size: Samples per batch in validation.
        validation_freq: Validate every n epochs, or after the listed epochs, counted from 1.
        plan: How steps are compiled and called. "step": one call per batch; "fused": as many steps
            per call as callbacks allow; "auto": fused if it can be, else step; "xla": fused, with
            XLA; "fastest": what a few timed steps show. The first three give Keras's bits.
        train_step: `train_step(model, batch) -> logs`, traced once; without `x`, batch is None.
        test_step: Replaces the model's step of validation.
        strict: Whether to refuse arguments and data that fit silently accepts: docs/quirks.md.
        drop_remainder: Whether to leave out the last batch of a pass over arrays if it is short.
        eval_every: Validate every so many steps, too; `evaluations` of the History has the results.

    Returns:
        The History: `.history` maps the name of each log to a list of floats, one per epoch.

    Raises:
        ValueError, TypeError, KeyError: No compiled model, no data, or arguments that disagree.
        NotImplementedError: `model.fit` supports the data or the model, loop does not yet.

    Mirrors: keras.Model.fit
    """
    arguments = FitArguments(
        model=model, x=x, y=y, batch_size=batch_size, epochs=epochs, verbose=verbose,
        callbacks=callbacks, validation_split=validation_split, validation_data=validation_data,
        shuffle=shuffle, class_weight=class_weight, sample_weight=sample_weight, plan=plan,
        initial_epoch=initial_epoch, steps_per_epoch=steps_per_epoch, eval_every=eval_every,
        validation_steps=validation_steps, validation_batch_size=validation_batch_size,
        validation_freq=validation_freq, train_step=train_step, test_step=test_step, strict=strict,
        drop_remainder=drop_remainder,
    )  # fmt: skip
    training = set_up(arguments)
    with training.callbacks.closing_on_error():
        return run_epochs(training)


def run_epochs(training: Training) -> keras.callbacks.History:
    """Run the loop over epochs: train, validate if it is due, call the hooks of callbacks.

    Mirrors: keras.Model.fit
    """
    model, runner, schedule, validation, callbacks, initial_epoch, epochs = training
    model.stop_training = False
    callbacks.on_train_begin()
    step_logs: Logs = {}
    logs: Logs | None = None
    epoch = first_epoch(model, initial_epoch)
    while epoch < epochs:
        runner.step.reset_metrics()
        callbacks.on_epoch_begin(epoch)
        if ahead := runner.epochs_ahead(callbacks, validation, epoch, epochs):
            # How many epochs one call may run, as no callback needs control within them.
            finished = runner.run_epochs(schedule.whole_epochs(*ahead))
        else:
            # Matches Keras: after an epoch without batches, these are the logs of the last step.
            step_logs = run_steps(training) or step_logs
            finished = [runner.step.epoch_logs(step_logs)]  # before validation resets metrics
            if validation is not None and validation.is_due(epoch):
                finished[0] |= validation.run(callbacks)
        for logs in finished:
            callbacks.on_epoch_end(epoch, logs)
            epoch += 1
        if model.stop_training:
            break
    if epochs > 0:  # before the last hook, as in Keras
        finalize_weights(model)
    callbacks.on_train_end(logs)
    return model.history  # set before training, because callbacks may read it


def run_steps(training: Training) -> Logs:
    """Run the loop over the batches of an epoch; return the logs after the last step.

    Each call of the runner runs steps until a callback needs control or a second has passed.
    """
    model, runner, schedule, _, callbacks, *_ = training
    hooks = callbacks.training
    logs: Logs = {}
    horizon = runner.horizon_of(hooks, lambda: model.stop_training)
    with schedule.until_out_of_data():
        for segment in schedule.segments(horizon):
            hooks.begin(segment.first)
            steps, recorded = runner.run_steps(segment)
            undone = hooks.end(schedule.advance(steps), recorded, runner.go_back)
            schedule.advance(-undone)  # the steps after that in which a logs_only callback stopped
            logs = recorded[-1 - undone]
            if model.stop_training:
                break
    return logs
