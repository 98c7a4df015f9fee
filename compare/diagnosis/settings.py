"""Rules read off what was observed: settings of the optimizer, a factor of the gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from compare.diagnosis import mistakes
from compare.diagnosis.broken import Break, BrokenRule, FitCall, in_test_step, in_train_step
from compare.diagnosis.observed import Observed
from compare.diagnosis.parted import PartedOptimizer
from compare.diagnosis.rules import BROKEN

NAMES = {
    "clipnorm": "gradient_clipping",
    "clipvalue": "gradient_clipping",
    "global_clipnorm": "gradient_clipping",
    "weight_decay": "weight_decay",
}
"""The rule that a setting belongs to, where the candidate's is None."""

LIKE = 1e-3
"""How close two factors have to be to be the same, relative to their size."""


def optimizer_rules(base: Observed, candidate: Observed) -> list[BrokenRule]:
    """Return a rule for each setting in which a candidate's optimizer is not the compiled one.

    Args:
        base: Our engine with the causes found so far.
        candidate: The candidate.
    """
    theirs, ours = base.optimizer, candidate.optimizer
    if theirs is None or ours is None:
        return []
    if len(candidate.run.taps.optimizers) > 1:
        return [_several_optimizers(base, candidate)]
    rates = _rate_rules(base, candidate)
    is_scaled = [isinstance(it, keras.optimizers.LossScaleOptimizer) for it in (theirs, ours)]
    found = [NO_LOSS_SCALE] if is_scaled == [True, False] else []
    if is_scaled[0]:  # otherwise the candidate's scaling is another optimizer
        theirs, ours = (getattr(it, "inner_optimizer", it) for it in (theirs, ours))
    if type(theirs) is not type(ours):
        return [_another_optimizer(theirs, ours, candidate.rates), *rates]
    configs = theirs.get_config(), ours.get_config()
    names = [name for name in configs[0] if name not in ("name", "learning_rate")]
    return [
        *found,
        *rates,
        *(
            _setting(name, configs[0][name], configs[1].get(name))
            for name in names
            if not _equal(configs[0][name], configs[1].get(name))
        ),
    ]


def _rate_rules(base: Observed, candidate: Observed) -> list[BrokenRule]:
    """Return a rule if the learning rates of steps differ."""
    theirs, ours = base.rates, candidate.rates
    pairs = [*zip(theirs, ours, strict=False)]
    if all(math.isclose(*pair, rel_tol=1e-6) for pair in pairs):
        return []
    of_fit, of_loop = (_course(rates, base.ends) for rates in (theirs, ours))
    breaks = _with_rates(ours)
    if len({*ours}) == 1 and len({*theirs}) == 1:
        mistake = f"sets learning_rate={_brief(ours[0])} in its optimizer, where fit has {of_fit}"
        return [
            _rule_of_rates("optimizer_learning_rate", mistake, f"= {_brief(theirs[0])}", breaks)
        ]
    if len({*ours}) == 1:
        mistake = f"keeps the learning rate at {of_loop}, where fit changes it {of_fit}"
        line = "= schedule(optimizer.iterations)  # or the rate that the callback of fit sets"
    elif len({*theirs}) == 1:
        mistake = f"changes the learning rate {of_loop}, where fit keeps {of_fit}"
        line = f"= {_brief(theirs[0])}  # or fit(..., callbacks=[LearningRateScheduler(...)])"
    else:
        mistake = f"changes the learning rate {of_loop}, where fit changes it {of_fit}"
        line = "= schedule(optimizer.iterations)  # the one that fit has"
    return [_rule_of_rates("learning_rates", mistake, line, breaks)]


def _rule_of_rates(name: str, mistake: str, line: str, breaks: Break) -> BrokenRule:
    mirrors = "keras.optimizers.Optimizer.apply"
    return BrokenRule(name, mistake, f"optimizer.learning_rate {line}", mirrors, breaks, "update")


def _course(rates: list[float], ends: list[int]) -> str:
    """Return in words how learning rates go on."""
    if len({*rates}) == 1:
        return _brief(rates[0])
    starts = [0, *ends[:-1]]
    by_epoch = [rates[start] for start in starts if start < len(rates)]
    is_by_epoch = all(
        len({*rates[start:end]}) <= 1 for start, end in zip(starts, ends, strict=True)
    )
    some = [_brief(rate) for rate in (by_epoch if is_by_epoch else rates)[:4]]
    return f"from {'epoch to epoch' if is_by_epoch else 'step to step'} ({', '.join(some)}, ...)"


def _with_rates(rates: list[float]) -> Break:
    """Return a change of fit that sets the learning rate before each step."""

    class Rates(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.left: list[float] = []

        def on_train_begin(self, logs: object = None) -> None:
            self.left = [*rates]

        def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
            if self.left:
                self.model.optimizer.learning_rate = self.left.pop(0)

    def breaks(call: FitCall) -> None:
        optimizer = call.model.optimizer
        config = optimizer.get_config()
        if isinstance(config.get("learning_rate"), dict):  # a schedule cannot be set to a number
            config["learning_rate"] = rates[0]
            call.model.optimizer = type(optimizer).from_config(config)
        call.arguments["callbacks"] = [*call.arguments.get("callbacks", ()), Rates()]

    return breaks


def _without_loss_scale(call: FitCall) -> None:
    inner = getattr(call.model.optimizer, "inner_optimizer", None)
    if inner is not None:
        call.model.optimizer = type(inner).from_config(inner.get_config())


NO_LOSS_SCALE = BrokenRule(
    "no_loss_scale",
    "does not scale the loss of half precision: small gradients become 0 in float16",
    "optimizer = keras.optimizers.LossScaleOptimizer(optimizer)  # as compile does; and then\n"
    "    gradients = tape.gradient(optimizer.scale_loss(loss), weights)",
    "keras.optimizers.LossScaleOptimizer",
    _without_loss_scale,
    "gradients",
)


def _several_optimizers(base: Observed, candidate: Observed) -> BrokenRule:
    optimizers, trained = candidate.run.taps.optimizers, candidate.run.taps.trained
    each = [
        f"{type(optimizer).__name__} for {_layers_of(places, candidate)}"
        for optimizer, places in zip(optimizers, trained, strict=True)
    ]
    kind = type(base.optimizer).__name__

    def breaks(call: FitCall) -> None:
        call.model.optimizer = PartedOptimizer(call.model, optimizers, trained)

    return BrokenRule(
        "several_optimizers",
        f"trains with {len(each)} optimizers ({', '.join(each)}), where fit has one {kind} for all",
        "model.optimizer.apply_gradients(zip(gradients, model.trainable_weights))",
        "keras.optimizers.Optimizer.apply",
        breaks,
        "update",
    )


def _layers_of(places: set[int], run: Observed) -> str:
    """Return the names of the layers whose variables are at these places."""
    paths = [run.names[place] for place in sorted(places)]
    names = [path.rpartition("/")[0] or path for path in paths]
    names = [*dict.fromkeys(names)]
    return ", ".join(names if len(names) <= 3 else [*names[:2], f"{len(names) - 2} more layers"])


def trained_rules(base: Observed, candidate: Observed) -> list[BrokenRule]:
    """Return a rule if a candidate trains other variables than fit.

    Args:
        base: Our engine with the causes found so far.
        candidate: The candidate.
    """
    theirs, ours = base.trained, candidate.trained
    if not theirs or not ours or theirs == ours:
        return []
    more, less = ours - theirs, theirs - ours

    def breaks(call: FitCall) -> None:
        variables = call.model.variables
        wanted = {id(variables[place]) for place in ours}
        for layer in _layers_in(call.model):
            if wanted & {*map(id, layer.variables)}:
                layer.trainable = True
        for variable in variables:
            if variable.trainable and id(variable) not in wanted:
                variable.trainable = False

    what = f"trains {_named(more, base)} too, which fit leaves as they are: they are frozen"
    line = "weights = model.trainable_weights  # after all layer.trainable = False"
    if not more:
        what = f"does not train {_named(less, base)}"
        line = "gradients = tape.gradient(loss, model.trainable_weights)  # all of them"
    return [
        BrokenRule("trained_weights", what, line, "keras.Model.train_step", breaks, "gradients")
    ]


def _layers_in(layer: keras.Layer) -> Iterator[keras.Layer]:
    """Yield a layer or model, and all layers in it."""
    yield layer
    for part in getattr(layer, "layers", []):
        yield from _layers_in(part)


def _named(places: frozenset[int], run: Observed) -> str:
    names = run.names
    found = [names[place] for place in sorted(places) if place in names]
    return ", ".join(found if len(found) <= 4 else [*found[:3], f"{len(found) - 3} more weights"])


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, float) and isinstance(second, float):
        return math.isclose(first, second, rel_tol=1e-6)
    return bool(first == second)


def _setting(name: str, theirs: Any, ours: Any) -> BrokenRule:
    known = NAMES.get(name)
    if known and ours is None:
        return BROKEN[known]
    if name == "epsilon" and ours == 1e-8:
        return BROKEN["optimizer_epsilon"]
    return BrokenRule(
        f"optimizer_{name}",
        f"sets {name}={_brief(ours)} in its optimizer, where fit has {_brief(theirs)}",
        f"optimizer.{name} = {_brief(theirs)}",
        "keras.optimizers.Optimizer.apply",
        _with_setting(name, ours),
        "update",
    )


def _another_optimizer(
    theirs: keras.optimizers.Optimizer, ours: keras.optimizers.Optimizer, rates: list[float]
) -> BrokenRule:
    names = type(theirs).__name__, type(ours).__name__

    def breaks(call: FitCall) -> None:
        config = ours.get_config()
        if isinstance(config.get("learning_rate"), float) and rates:
            config["learning_rate"] = rates[0]  # it may have been changed by hand
        call.model.optimizer = type(ours).from_config(config)

    return BrokenRule(
        "another_optimizer",
        f"trains with {names[1]}, where the model is compiled with {names[0]}",
        "model.optimizer.apply_gradients(zip(gradients, weights))",
        "keras.optimizers.Optimizer.apply",
        breaks,
        "update",
    )


def _with_setting(name: str, value: Any) -> Break:
    def breaks(call: FitCall) -> None:
        optimizer = call.model.optimizer
        config = {**optimizer.get_config(), name: value}
        call.model.optimizer = type(optimizer).from_config(config)

    return breaks


def _brief(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


def scale_rule(base: Observed, candidate: Observed, step: int, replicas: int) -> list[BrokenRule]:
    """Return a rule if all gradients of a candidate are those of fit times one factor.

    Args:
        base: Our engine with the causes found so far.
        candidate: The candidate.
        step: The step whose gradients are compared.
        replicas: The number of replicas that the model trains on.
    """
    theirs, ours = base.gradients(step), candidate.gradients(step)
    names = [name for name in theirs if name in ours]
    a, b = (np.concatenate([run[name].ravel() for name in names]) for run in (theirs, ours))
    if not a.size or not float(a @ a):
        return []
    factor = float(a @ b / (a @ a))
    parts = candidate.accumulates
    rest = float(np.linalg.norm(b - factor * a)) / max(float(np.linalg.norm(b)), 1e-30)
    size = max(map(len, candidate.batches), default=0)
    if rest > LIKE or abs(factor - 1) < LIKE or math.isclose(factor, size, rel_tol=LIKE):
        return []  # `mean_over_samples` is a rule of its own
    what = f"has gradients that are {factor:.4g} times those of fit in every weight"
    name, line = "gradient_factor", "loss = loss_fn(y, y_pred)  # differentiated as it is"
    if replicas > 1 and math.isclose(factor, replicas, rel_tol=LIKE):
        what = (
            f"takes the mean loss of each of {replicas} replicas, whose gradients are summed: they "
            f"are {replicas} times those of fit"
        )
        name, line = "replica_mean", "loss = loss / strategy.num_replicas_in_sync"
    if parts > 1 and math.isclose(factor, parts, rel_tol=LIKE):
        what = (
            f"adds up the gradients of {parts} batches and applies the sum: it is {parts} times "
            "their mean, which fit applies"
        )
        name = "accumulated_sum"
        line = f"loss = loss_fn(y, y_pred) / {parts}  # so that {parts} gradients add up to a mean"
    breaks = in_train_step("minimized", mistakes.scaled_by(factor))
    return [BrokenRule(name, what, line, "keras.Model.train_step", breaks, "gradients")]


def factor_rules(
    theirs: dict[str, list[float]], ours: dict[str, list[float]], name: str, layer: str
) -> list[BrokenRule]:
    """Return a rule if the loss that a candidate logs is that of fit times one factor.

    Args:
        theirs: The history of our engine with the causes found so far.
        ours: The history of the candidate.
        name: The log.
        layer: "logs" or "validation".
    """
    pairs = list(zip(theirs.get(name, []), ours.get(name, []), strict=False))
    if name not in ("loss", "val_loss") or len(pairs) < 2 or not all(a for a, _ in pairs):
        return []
    factors = [b / a for a, b in pairs]
    if max(factors) - min(factors) > LIKE * abs(factors[0]) or abs(factors[0] - 1) < LIKE:
        return []
    factor = float(np.mean(factors))
    part = in_train_step if layer == "logs" else in_test_step
    return [
        BrokenRule(
            f"{'validation_' * (layer != 'logs')}log_factor",
            f"logs a {name} that is {factor:.4g} times that of fit in every epoch",
            "loss_mean.update_state(loss, sample_weight=len(x))",
            "keras.Model.train_step",
            part("logged", mistakes.logged_times(factor)),
            layer,
        )
    ]
