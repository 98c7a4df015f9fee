"""The rules of fit that hand-written loops break, each with the line that such a loop lacks."""

from importlib import import_module
from typing import Any

import keras

from compare.diagnosis import mistakes
from compare.diagnosis.broken import (
    BrokenRule,
    in_steps,
    in_test_step,
    patched,
    with_arguments,
    without_arguments,
)
from loop import metrics
from loop.data import arrays

objective = import_module("loop.objective")  # `loop.objective` is its function

RULES: tuple[BrokenRule, ...] = (
    BrokenRule(
        "regularization_losses",
        "leaves out regularizers and what layers add with add_loss",
        "loss += keras.ops.sum(model.losses)",
        "keras.src.trainers.trainer.Trainer._aggregate_additional_loss",
        in_steps("added_losses", mistakes.nothing_added),
    ),
    BrokenRule(
        "validation_regularization",
        "leaves out regularizers in validation",
        "val_loss += keras.ops.sum(model.losses)",
        "keras.src.trainers.trainer.Trainer._aggregate_additional_loss",
        in_test_step("added_losses", mistakes.nothing_added),
    ),
    BrokenRule(
        "batch_size_weights",
        "averages the losses of batches without their sizes",
        "loss_mean.update_state(loss, sample_weight=len(x))",
        "keras.Model.train_step",
        in_steps("track_loss", mistakes.unweighted_mean),
    ),
    BrokenRule(
        "epoch_mean",
        "logs the loss of the last batch as that of the epoch",
        "loss_mean = keras.metrics.Mean(); loss_mean.update_state(loss, sample_weight=len(x))",
        "keras.Model.train_step",
        in_steps("track_loss", mistakes.last_loss_only),
    ),
    BrokenRule(
        "last_partial_batch",
        "drops the short last batch",
        "dataset.batch(batch_size, drop_remainder=False)",
        "keras.src.trainers.data_adapters.array_data_adapter.ArrayDataAdapter.get_tf_dataset",
        mistakes.full_batches_only,
    ),
    BrokenRule(
        "training_flag",
        "trains with training=False: no dropout, stale batch statistics",
        "y_pred = model(x, training=True)",
        "keras.Model.train_step",
        in_steps("forward", mistakes.never_training),
    ),
    BrokenRule(
        "validation_training_flag",
        "validates with training=True: dropout, and averages that move",
        "y_pred = model(x, training=False)",
        "keras.Model.test_step",
        in_steps("forward", mistakes.always_training),
    ),
    BrokenRule(
        "one_forward_pass",
        "runs two forward passes in a step: seeds and moving averages advance twice",
        "y_pred = model(x, training=True)  # once; metrics see the same y_pred",
        "keras.Model.train_step",
        in_steps("forward", mistakes.forward_twice),
    ),
    BrokenRule(
        "metrics_before_update",
        "shows metrics a second forward pass, after the update",
        "metric.update_state(y, y_pred)  # y_pred of the training forward pass",
        "keras.Model.train_step",
        in_steps("update_metrics", mistakes.metrics_of_a_second_forward),
    ),
    BrokenRule(
        "plain_metrics",
        "gives sample weights to plain metrics as well",
        "metric.update_state(y, y_pred)  # weights only for weighted_metrics",
        "keras.src.trainers.compile_utils.CompileMetrics.update_state",
        patched(metrics, "output_metrics", mistakes.weights_in_all_metrics),
    ),
    BrokenRule(
        "weighted_metrics",
        "forgets the sample weights in weighted_metrics",
        "weighted_metric.update_state(y, y_pred, sample_weight)",
        "keras.src.trainers.compile_utils.CompileMetrics.update_state",
        in_steps("update_metrics", mistakes.metrics_without_weights),
    ),
    BrokenRule(
        "class_weights",
        "forgets class_weight",
        "sample_weight = [class_weight[label] for label in y]",
        "keras.src.trainers.data_adapters.data_adapter_utils.class_weight_to_sample_weights",
        without_arguments("class_weight"),
    ),
    BrokenRule(
        "sample_weights",
        "forgets sample and class weights in the loss",
        "loss = loss_fn(y, y_pred, sample_weight)",
        "keras.src.trainers.compile_utils.CompileLoss.call",
        in_steps("data_loss", mistakes.loss_without_weights),
    ),
    BrokenRule(
        "weights_in_numerator_only",
        "divides the weighted loss by the sum of the weights",
        "loss = sum(weight * loss_of_sample) / number_of_samples",
        "keras.losses.Loss.__call__",
        in_steps("data_loss", mistakes.mean_by_weights),
    ),
    BrokenRule(
        "loss_weights",
        "forgets the loss weights of outputs",
        "loss = sum(weight * loss for weight, loss in zip(loss_weights, losses))",
        "keras.src.trainers.compile_utils.CompileLoss.call",
        patched(objective, "loss_terms", mistakes.without_loss_weights),
    ),
    BrokenRule(
        "masks",
        "ignores the mask of the predictions",
        "mask = y_pred._keras_mask",
        "keras.losses.Loss.__call__",
        in_steps("data_loss", mistakes.without_masks),
    ),
    BrokenRule(
        "same_rank",
        "subtracts [n] from [n, 1], which makes [n, n]",
        "y = y[:, None]",
        "keras.losses.Loss.__call__",
        in_steps("data_loss", mistakes.broadcast),
    ),
    BrokenRule(
        "shuffle",
        "does not shuffle",
        "fit shuffles arrays unless shuffle=False",
        "keras.src.trainers.data_adapters.array_data_adapter.ArrayDataAdapter.get_tf_dataset",
        with_arguments(shuffle=False),
    ),
    BrokenRule(
        "permutation",
        "shuffles with NumPy",
        "order = tf.random.shuffle(tf.range(n))  # in a map, under the global seed",
        "keras.src.trainers.data_adapters.array_data_adapter.ArrayDataAdapter.get_tf_dataset",
        patched(arrays, "orders", mistakes.numpy_order),
    ),
    BrokenRule(
        "metric_reset",
        "never resets the metrics",
        "model.reset_metrics()  # before every epoch and every validation",
        "keras.Model.fit",
        patched(keras.Model, "reset_metrics", mistakes.nothing),
    ),
    BrokenRule(
        "final_averages",
        "never puts the averaged weights in place",
        "optimizer.finalize_variable_values(model.trainable_weights)  # after the last epoch",
        "keras.Model.fit",
        patched(keras.optimizers.Optimizer, "finalize_variable_values", mistakes.nothing),
    ),
    BrokenRule(
        "optimizer_epsilon",
        "takes 1e-8 for the epsilon of the optimizer, as other libraries do",
        "keras.optimizers.Adam(epsilon=1e-7)",
        "keras.optimizers.Adam.update_step",
        mistakes.optimizer_settings(epsilon=1e-8),
    ),
    BrokenRule(
        "gradient_clipping",
        "does not clip gradients",
        "optimizer.apply_gradients(zip(gradients, weights))  # clips inside",
        "keras.optimizers.Optimizer.apply",
        mistakes.optimizer_settings(clipnorm=None, clipvalue=None, global_clipnorm=None),
    ),
    BrokenRule(
        "weight_decay",
        "does not decay weights",
        "optimizer.apply_gradients(zip(gradients, weights))  # decays inside",
        "keras.optimizers.Optimizer.apply",
        mistakes.optimizer_settings(weight_decay=None),
    ),
    BrokenRule(
        "loss_scaling",
        "does not scale the loss of half precision, and divides the gradients all the same",
        "gradients = tape.gradient(optimizer.scale_loss(loss), weights)",
        "keras.optimizers.LossScaleOptimizer.scale_loss",
        mistakes.unscaled_loss,
    ),
    BrokenRule(
        "validation_tail",
        "validates on the head of the data",
        "train, validation = data[:split], data[split:]  # before shuffling",
        "keras.src.trainers.data_adapters.array_slicing.train_validation_split",
        mistakes.validation_first,
    ),
    BrokenRule(
        "validation_batch_size",
        "validates on all samples in one batch",
        "validation_batch_size=batch_size",
        "keras.Model.fit",
        with_arguments(validation_batch_size=2**20),
    ),
    BrokenRule(
        "validation",
        "does not validate",
        "val_logs = evaluate(model, validation_data)",
        "keras.Model.fit",
        without_arguments("validation_data", "validation_split"),
    ),
    BrokenRule(
        "initial_epoch",
        "begins at epoch 0",
        "for epoch in range(initial_epoch, epochs):",
        "keras.Model.fit",
        without_arguments("initial_epoch"),
    ),
    BrokenRule(
        "callbacks",
        "does not call the callbacks",
        "callbacks.on_epoch_end(epoch, logs)",
        "keras.Model.fit",
        without_arguments("callbacks"),
    ),
)
"""Every rule that `diagnose` breaks. If two give the same bits, the more specific one is first."""

BROKEN = {rule.rule: rule for rule in RULES}
"""The same by name."""

PATCHED: tuple[tuple[Any, str, str], ...] = (
    (
        metrics,
        "output_metrics",
        "compile decides which metric sees sample weights; no argument changes it",
    ),
    (objective, "loss_terms", "compile resolves the loss weights; no argument of fit changes them"),
    (arrays, "orders", "no argument of fit is a permutation of the samples"),
    (arrays.Samples, "num_batches", "no argument of fit drops the short last batch of a pass"),
    (keras.Model, "reset_metrics", "fit calls it before each epoch, not in a step"),
    (
        keras.optimizers.Optimizer,
        "finalize_variable_values",
        "fit calls it after the last epoch, not in a step",
    ),
    (
        keras.optimizers.Optimizer,
        "scale_loss",
        "the step calls it on the optimizer, of whatever subclass",
    ),
)
"""What is patched while a fit with a broken rule lasts: owner, attribute, and why it is patched.

Everything else is passed to `loop.fit`, as arguments or as a step."""
