"""The rules of fit that loops of one's own break, each with the line that they lack."""

import keras

from compare.diagnosis import mistakes
from compare.diagnosis.broken import Broken, replaced, told, without
from loop import metrics, objective, step
from loop.data import arrays

RULES: tuple[Broken, ...] = (
    Broken(
        "regularization_losses",
        "leaves out regularizers and what layers add with add_loss",
        "loss += keras.ops.sum(model.losses)",
        "keras.src.trainers.trainer.Trainer._aggregate_additional_loss",
        replaced(objective, "added_losses", mistakes.nothing_added),
    ),
    Broken(
        "validation_regularization",
        "leaves out regularizers in validation",
        "val_loss += keras.ops.sum(model.losses)",
        "keras.src.trainers.trainer.Trainer._aggregate_additional_loss",
        replaced(step, "objective", mistakes.bare_validation),
    ),
    Broken(
        "batch_size_weights",
        "averages the losses of batches without their sizes",
        "loss_mean.update_state(loss, sample_weight=len(x))",
        "keras.Model.train_step",
        replaced(step, "track_loss", mistakes.unweighted_mean),
    ),
    Broken(
        "epoch_mean",
        "logs the loss of the last batch as that of the epoch",
        "loss_mean = keras.metrics.Mean(); loss_mean.update_state(loss, sample_weight=len(x))",
        "keras.Model.train_step",
        replaced(step, "track_loss", mistakes.last_loss_only),
    ),
    Broken(
        "last_partial_batch",
        "drops the short last batch",
        "dataset.batch(batch_size, drop_remainder=False)",
        "keras.src.trainers.data_adapters.array_data_adapter.ArrayDataAdapter.get_tf_dataset",
        mistakes.full_batches_only,
    ),
    Broken(
        "training_flag",
        "trains with training=False: no dropout, stale batch statistics",
        "y_pred = model(x, training=True)",
        "keras.Model.train_step",
        replaced(step, "forward", mistakes.never_training),
    ),
    Broken(
        "validation_training_flag",
        "validates with training=True: dropout, and averages that move",
        "y_pred = model(x, training=False)",
        "keras.Model.test_step",
        replaced(step, "forward", mistakes.always_training),
    ),
    Broken(
        "one_forward_pass",
        "runs two forward passes in a step: seeds and moving averages advance twice",
        "y_pred = model(x, training=True)  # once; metrics see the same y_pred",
        "keras.Model.train_step",
        replaced(step, "forward", mistakes.forward_twice),
    ),
    Broken(
        "metrics_before_update",
        "shows metrics a second forward pass, after the update",
        "metric.update_state(y, y_pred)  # y_pred of the training forward pass",
        "keras.Model.train_step",
        replaced(step, "update_metrics", mistakes.metrics_of_a_second_forward),
    ),
    Broken(
        "plain_metrics",
        "gives sample weights to plain metrics as well",
        "metric.update_state(y, y_pred)  # weights only for weighted_metrics",
        "keras.src.trainers.compile_utils.CompileMetrics.update_state",
        replaced(metrics, "output_metrics", mistakes.weights_in_all_metrics),
    ),
    Broken(
        "weighted_metrics",
        "forgets the sample weights in weighted_metrics",
        "weighted_metric.update_state(y, y_pred, sample_weight)",
        "keras.src.trainers.compile_utils.CompileMetrics.update_state",
        replaced(metrics, "output_metrics", mistakes.weights_in_no_metrics),
    ),
    Broken(
        "class_weights",
        "forgets class_weight",
        "sample_weight = [class_weight[label] for label in y]",
        "keras.src.trainers.data_adapters.data_adapter_utils.class_weight_to_sample_weights",
        without("class_weight"),
    ),
    Broken(
        "sample_weights",
        "forgets sample and class weights in the loss",
        "loss = loss_fn(y, y_pred, sample_weight)",
        "keras.src.trainers.compile_utils.CompileLoss.call",
        replaced(objective, "data_loss", mistakes.loss_without_weights),
    ),
    Broken(
        "weights_in_numerator_only",
        "divides the weighted loss by the sum of the weights",
        "loss = sum(weight * loss_of_sample) / number_of_samples",
        "keras.losses.Loss.__call__",
        replaced(objective, "data_loss", mistakes.mean_by_weights),
    ),
    Broken(
        "loss_weights",
        "forgets the loss weights of outputs",
        "loss = sum(weight * loss for weight, loss in zip(loss_weights, losses))",
        "keras.src.trainers.compile_utils.CompileLoss.call",
        replaced(objective, "loss_terms", mistakes.without_loss_weights),
    ),
    Broken(
        "masks",
        "ignores the mask of the predictions",
        "mask = y_pred._keras_mask",
        "keras.losses.Loss.__call__",
        replaced(objective, "data_loss", mistakes.without_masks),
    ),
    Broken(
        "same_rank",
        "subtracts [n] from [n, 1], which makes [n, n]",
        "y = y[:, None]",
        "keras.losses.Loss.__call__",
        replaced(objective, "data_loss", mistakes.stretched),
    ),
    Broken(
        "shuffle",
        "does not shuffle",
        "fit shuffles arrays unless shuffle=False",
        "keras.src.trainers.data_adapters.array_data_adapter.ArrayDataAdapter.get_tf_dataset",
        replaced(arrays, "orders", mistakes.in_place),
    ),
    Broken(
        "permutation",
        "shuffles with NumPy",
        "order = tf.random.shuffle(tf.range(n))  # in a map, under the global seed",
        "keras.src.trainers.data_adapters.array_data_adapter.ArrayDataAdapter.get_tf_dataset",
        replaced(arrays, "orders", mistakes.numpy_order),
    ),
    Broken(
        "metric_reset",
        "never resets the metrics",
        "model.reset_metrics()  # before every epoch and every validation",
        "keras.Model.fit",
        replaced(keras.Model, "reset_metrics", mistakes.nothing),
    ),
    Broken(
        "final_averages",
        "never puts the averaged weights in place",
        "optimizer.finalize_variable_values(model.trainable_weights)  # after the last epoch",
        "keras.Model.fit",
        replaced(keras.optimizers.Optimizer, "finalize_variable_values", mistakes.nothing),
    ),
    Broken(
        "optimizer_epsilon",
        "takes 1e-8 for the epsilon of the optimizer, as other libraries do",
        "keras.optimizers.Adam(epsilon=1e-7)",
        "keras.optimizers.Adam.update_step",
        mistakes.of_optimizer(epsilon=1e-8),
    ),
    Broken(
        "gradient_clipping",
        "does not clip gradients",
        "optimizer.apply_gradients(zip(gradients, weights))  # clips inside",
        "keras.optimizers.Optimizer.apply",
        mistakes.of_optimizer(clipnorm=None, clipvalue=None, global_clipnorm=None),
    ),
    Broken(
        "weight_decay",
        "does not decay weights",
        "optimizer.apply_gradients(zip(gradients, weights))  # decays inside",
        "keras.optimizers.Optimizer.apply",
        mistakes.of_optimizer(weight_decay=None),
    ),
    Broken(
        "loss_scaling",
        "does not scale the loss of half precision, and divides the gradients all the same",
        "gradients = tape.gradient(optimizer.scale_loss(loss), weights)",
        "keras.optimizers.LossScaleOptimizer.scale_loss",
        mistakes.unscaled,
    ),
    Broken(
        "validation_tail",
        "validates on the head of the data",
        "train, validation = data[:split], data[split:]  # before shuffling",
        "keras.src.trainers.data_adapters.array_slicing.train_validation_split",
        mistakes.validation_first,
    ),
    Broken(
        "validation_batch_size",
        "validates on all samples in one batch",
        "validation_batch_size=batch_size",
        "keras.Model.fit",
        told(validation_batch_size=2**20),
    ),
    Broken(
        "validation",
        "does not validate",
        "val_logs = evaluate(model, validation_data)",
        "keras.Model.fit",
        without("validation_data", "validation_split"),
    ),
    Broken(
        "initial_epoch",
        "begins at epoch 0",
        "for epoch in range(initial_epoch, epochs):",
        "keras.Model.fit",
        without("initial_epoch"),
    ),
    Broken(
        "callbacks",
        "does not call the callbacks",
        "callbacks.on_epoch_end(epoch, logs)",
        "keras.Model.fit",
        without("callbacks"),
    ),
)
"""Every rule that can be broken. Where two explain the same bits, the special one comes first."""

BROKEN = {rule.rule: rule for rule in RULES}
