"""Which rules can matter to a training at all: the others need not be broken to know."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras

from compare.diagnosis.broken import BrokenRule
from compare.diagnosis.mistakes import every_layer
from compare.scenario import FitArguments

Need = Callable[[keras.Model, FitArguments], Any]


def _is_weighted(model: keras.Model, arguments: FitArguments) -> bool:
    x = arguments.get("x")
    yields_batches = x is not None and arguments.get("y") is None  # which may have weights
    return (
        bool(arguments.get("class_weight"))
        or arguments.get("sample_weight") is not None
        or yields_batches
    )


def _has_metrics(model: keras.Model, arguments: FitArguments) -> bool:
    return (
        len(model.metrics) > 1 or not model.built or _compiled(model, "metrics", "weighted_metrics")
    )


def _compiled(model: keras.Model, *names: str) -> bool:
    try:
        config = model.get_compile_config() or {}
    except Exception:  # a loss that cannot be serialized: what was compiled is not known
        return True
    return any(config.get(name) for name in names)


def _validates(model: keras.Model, arguments: FitArguments) -> bool:
    return bool(arguments.get("validation_split")) or arguments.get("validation_data") is not None


def _differs_in_training(model: keras.Model, arguments: FitArguments) -> bool:
    """Whether a layer may draw random numbers or keep averages: it is told whether it trains."""
    return _has_own_call(model) or any(
        not _is_simple(layer)
        or (
            not isinstance(layer, keras.layers.Dense)  # which is told, and does the same
            and "training" in inspect.signature(layer.call).parameters
        )
        for layer in model.layers
    )


def _has_outputs(model: keras.Model, arguments: FitArguments) -> bool:
    return not model.built or len(getattr(model, "outputs", None) or [0, 0]) > 1


def _normalizes(model: keras.Model, arguments: FitArguments) -> bool:
    normalizing = keras.layers.BatchNormalization
    return _has_own_call(model) or any(isinstance(it, normalizing) for it in every_layer(model))


def _keeps_states(model: keras.Model, arguments: FitArguments) -> bool:
    return any(getattr(layer, "stateful", False) for layer in every_layer(model))


def _may_add_losses(model: keras.Model, arguments: FitArguments) -> bool:
    return _has_own_call(model) or any(
        not _is_simple(layer)
        or any(value for name, value in vars(layer).items() if name.endswith("regularizer"))
        for layer in model.layers
    )


def _may_mask(model: keras.Model, arguments: FitArguments) -> bool:
    return _has_own_call(model) or any(
        not _is_simple(layer)
        or isinstance(layer, keras.layers.Masking)
        or getattr(layer, "mask_zero", False)
        for layer in model.layers
    )


def _is_simple(layer: keras.Layer) -> bool:
    """Whether a layer is Keras's own, and made of no other layers."""
    parts = [part for part in vars(layer).values() if isinstance(part, keras.Layer)]
    return type(layer).__module__.startswith("keras.") and not parts


def _has_own_call(model: keras.Model) -> bool:
    """Whether the user wrote what the model computes: it may do more than its layers."""
    return not type(model).call.__module__.startswith("keras.")


def _averages(model: keras.Model, arguments: FitArguments) -> bool:
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    return bool(getattr(optimizer, "use_ema", False))


def _scales(model: keras.Model, arguments: FitArguments) -> bool:
    return isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


NEEDS: dict[str, Need] = {
    "regularization_losses": _may_add_losses,
    "validation_regularization": lambda *of: _may_add_losses(*of) and _validates(*of),
    "logged_regularization": _may_add_losses,
    "training_flag": _differs_in_training,
    "batch_statistics": _normalizes,
    "states_reset": _keeps_states,
    "one_forward_pass": _differs_in_training,
    "validation_training_flag": lambda *of: _differs_in_training(*of) and _validates(*of),
    "masks": _may_mask,
    "metrics_before_update": _has_metrics,
    "metrics_of_a_second_pass": lambda *of: _differs_in_training(*of) and _has_metrics(*of),
    "metrics_of_the_epoch": _has_metrics,
    "output_metric_reset": _has_metrics,
    "metrics_of_batches": _has_metrics,
    "same_rank_in_metrics": _has_metrics,
    "plain_metrics": lambda *of: _has_metrics(*of) and _is_weighted(*of),
    "weighted_metrics": lambda *of: _has_metrics(*of) and _is_weighted(*of),
    "class_weights": lambda _, arguments: arguments.get("class_weight"),
    "sample_weights": _is_weighted,
    "weights_in_numerator_only": _is_weighted,
    "loss_weights": lambda *of: _has_outputs(*of) or _compiled(of[0], "loss_weights"),
    "final_averages": _averages,
    "loss_scaling": _scales,
    "initial_epoch": lambda _, arguments: arguments.get("initial_epoch"),
    "callbacks": lambda _, arguments: arguments.get("callbacks"),
    "validation_batch_size": _validates,
    "validation": _validates,
}
"""What a training must have for a rule to matter; a rule that is not here matters always."""


OF_THE_LOSS = (
    "regularization",
    "logged_regularization",
    "batch_size_weights",
    "epoch_mean",
    "epoch_sum",
    "loss_after_the_epoch",
    "log_factor",
)
"""Rules of logs that change no log but the loss, and some of them those of outputs."""

OF_LOSSES = ("batch_size_weights", "epoch_mean")
"""Those that change the losses of outputs, too."""

OF_METRICS = (
    "metrics_before_update",
    "plain_metrics",
    "weighted_metrics",
    "metrics_of_the_epoch",
    "metrics_of_batches",
    "same_rank_in_metrics",
    "output_metric_reset",
)
"""Rules of logs that do not change the loss."""


def may_change(rule: BrokenRule, log: str) -> bool:
    """Return whether breaking a rule of logs may change a log, by its name in fit."""
    name = rule.rule.removeprefix("validation_")
    if log in ("loss", "val_loss"):
        return name not in OF_METRICS
    return name not in OF_THE_LOSS or (name in OF_LOSSES and log.endswith("_loss"))


def may_matter(rule: BrokenRule, model: keras.Model, arguments: FitArguments) -> bool:
    """Return whether breaking a rule may change a training.

    Args:
        rule: The rule.
        model: The model, compiled.
        arguments: The arguments of fit.
    """
    need = NEEDS.get(rule.rule) or NEEDS.get(rule.rule.removeprefix("validation_"))
    return need is None or bool(need(model, arguments))
