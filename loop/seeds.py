"""`loop.fit_seeds`: trains the models that one function builds under many seeds."""

import operator
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.callbacks import Callback, History
from tqdm.auto import tqdm

from loop.callbacks.terminal import number, print_line, shows_bars
from loop.checks import check_compiled
from loop.data import kind_of
from loop.data.order import orders
from loop.engine.given import sharing_given_steps
from loop.evaluate import is_due
from loop.fit import fit
from loop.setup import split_arrays
from loop.types import FitArguments, Logs, StepFunction, Structure
from loop.vectorized import Stack, check_stackable, stackable_source

Build = Callable[[], keras.Model]


class Histories(list[History]):
    """The History of each seed, with its `.seed` and trained `.model`, and their statistics."""

    @property
    def seeds(self) -> list[int]:
        """The seeds."""
        return [history.seed for history in self]

    @property
    def names(self) -> list[str]:
        """The names of the logs."""
        return list(self[0].history) if self else []

    def values(self, name: str) -> np.ndarray:
        """Return a log of every seed, `[seeds, epochs]` float64.

        Raises:
            KeyError: A seed has no log of this name.
            ValueError: The seeds ran different numbers of epochs.
        """
        for history in self:
            if name not in history.history:
                raise KeyError(
                    f"Seed {history.seed} has no log {name!r}: expected one of "
                    f"{list(history.history)}. Keras numbers default names on: give outputs, "
                    "losses and metrics a `name=`."
                )
        lengths = {len(history.history[name]) for history in self}
        if len(lengths) > 1:
            raise ValueError(
                f"The seeds ran different numbers of epochs, {min(lengths)} to {max(lengths)}: "
                "there is no mean of each epoch. Take what you compare from each History, for "
                f"example [min(h.history[{name!r}]) for h in histories]."
            )
        return np.array([history.history[name] for history in self], "float64")

    def mean(self, name: str) -> np.ndarray:
        """Return the mean of a log over the seeds, `[epochs]` float64; raises as `values`."""
        mean: np.ndarray = self.values(name).mean(axis=0)
        return mean

    def spread(self, name: str) -> np.ndarray:
        """Return the sample standard deviation of a log over the seeds, `[epochs]` float64.

        It is NaN for a single seed. Raises as `values`.
        """
        values = self.values(name)
        return values.std(axis=0, ddof=1) if len(self) > 1 else np.full(values.shape[1], np.nan)

    def __repr__(self) -> str:
        lines = [f"{len(self)} seeds, last epoch, mean ± sample standard deviation"]
        width = max(map(len, self.names), default=0)
        for name in self.names:
            last = [history.history[name][-1] for history in self if name in history.history]
            spread = f" ± {number(float(np.std(last, ddof=1)))}" if len(last) > 1 else ""
            lines.append(f"{name:{width}}  {number(float(np.mean(last)))}{spread}")
        return "\n".join(lines)


def fit_seeds(
    build: Build,
    seeds: Iterable[int],
    x: Structure = None,
    y: Structure = None,
    *,
    batch_size: int | None = None,
    epochs: int = 1,
    verbose: str | int = "auto",
    callbacks: Callable[[int], Sequence[Callback]] | None = None,
    validation_split: float = 0.0,
    validation_data: Structure = None,
    shuffle: bool | str = True,
    class_weight: dict[int, float] | None = None,
    sample_weight: Structure = None,
    steps_per_epoch: int | None = None,
    validation_steps: int | None = None,
    validation_batch_size: int | None = None,
    validation_freq: int | list[int] = 1,
    plan: str = "auto",
    train_step: StepFunction | None = None,
    test_step: StepFunction | None = None,
    strict: bool = False,
    vectorized: bool = False,
) -> Histories:
    """Train a model from each seed; return all Histories, with mean and spread.

        histories = loop.fit_seeds(build, range(20), x, y, epochs=10, validation_split=0.2)
        histories                      # prints mean ± spread of each log in the last epoch
        histories.mean("val_loss")     # [epochs]

    By default the members train in sequence. Each has the bits of `model.fit` on its own:

        keras.utils.set_random_seed(seed)
        build().fit(x, y, ...)

    Graphs are traced for the first and shared by the others if the models are built alike; those
    of a `train_step` too, if it reads nothing but the model and plain values. Afterwards the random
    states of Python, NumPy and TensorFlow are as this loop leaves them. `build` is called once more
    than there are seeds, before the first, to refuse one that does not return a new model.

    With `vectorized=True` all members train at once, many times faster if they are small. The bits
    are then not Keras's but close: see `loop/vectorized.py`. All run the code of the first member.

    Every trained model stays in memory as `history.model`, with its optimizer. If they are large,
    keep `[h.history for h in histories]` only.

    Args:
        build: Returns a new model, compiled unless `train_step` is given.
        seeds: Different integers from 0 to 2**32 - 1.
        x: Inputs `[samples, ...]`, nested as the model takes them, or a `tf.data.Dataset`.
        y: Targets `[samples, ...]`; None for a dataset.
        batch_size: As in `loop.fit`, like all that is not explained here.
        epochs: Epochs to train each member for.
        verbose: 0 silent, else one bar over the seeds, or a line for each where output is a file.
        callbacks: Returns the callbacks of a seed, new ones each time: `lambda seed: [...]`.
        validation_split: The fraction of the arrays to validate on, the same for all seeds.
        validation_data: `(x, y)`, `(x, y, sample_weight)` or a dataset.
        shuffle: True, "batch" or False; under its seed each member has an order of its own.
        class_weight: Weights by integer class.
        sample_weight: `[samples]` or `[samples, ...]`.
        steps_per_epoch: Steps per epoch; None for one pass over the data.
        validation_steps: Batches to validate on; None for all.
        validation_batch_size: Samples per batch in validation.
        validation_freq: Validate every n epochs, or after the listed epochs, counted from 1.
        plan: How steps are compiled and called.
        train_step: The step to use, `train_step(model, batch) -> logs`.
        test_step: Replaces the model's step of validation.
        strict: Whether to refuse what fit silently accepts.
        vectorized: Whether to train all members at once, on arrays.

    Returns:
        A list of `keras.callbacks.History`.

    Raises:
        ValueError: Seeds are missing, repeated or out of range; `build` returns the same model
            twice, or one that is not compiled; `vectorized` and something that cannot be stacked.
        TypeError: A seed is no integer; `build` or `callbacks` is no function.

    Mirrors: keras.Model.fit
    """
    arguments = FitArguments(
        model=None, x=x, y=y, batch_size=batch_size, epochs=epochs, verbose=0, callbacks=None,
        validation_split=validation_split, validation_data=validation_data, shuffle=shuffle,
        class_weight=class_weight, sample_weight=sample_weight, initial_epoch=0,
        steps_per_epoch=steps_per_epoch, validation_steps=validation_steps,
        validation_batch_size=validation_batch_size, validation_freq=validation_freq, plan=plan,
        train_step=train_step, test_step=test_step, strict=strict,
    )  # fmt: skip
    checked = checked_seeds(seeds)
    check_functions(build, callbacks, x, validation_data)
    if vectorized:
        check_stackable(arguments, callbacks)
        return Histories(all_at_once(build, checked, arguments, verbose))
    return Histories(in_sequence(build, checked, arguments, callbacks, verbose))


def in_sequence(
    build: Build,
    seeds: list[int],
    arguments: FitArguments,
    callbacks: Callable[[int], Sequence[Callback]] | None,
    verbose: str | int,
) -> list[History]:
    """Train one member after the other; return their Histories."""
    histories: list[History] = []
    used: list[Callback] = []
    spare = earlier = checked_model(build(), arguments.train_step)
    with sharing_given_steps(spare), bar_over(seeds, "seed", verbose) as bar:
        for seed in bar:
            keras.utils.set_random_seed(seed)
            earlier = checked_model(build(), arguments.train_step, earlier)
            own = checked_callbacks(callbacks(seed), used) if callbacks is not None else None
            history: Any = fit(**vars(replace(arguments, model=earlier, callbacks=own)))
            history.seed = seed
            histories.append(history)
            last = {name: values[-1] for name, values in history.history.items()}
            report(bar, f"seed {seed}", last, verbose)
    return histories


def all_at_once(
    build: Build, seeds: list[int], arguments: FitArguments, verbose: str | int
) -> list[History]:
    """Train all members together, see `Stack`; return their Histories."""
    spare = earlier = checked_model(build(), None)
    arrays, validation_data = split_arrays(arguments)
    source = stackable_source("x", arrays, arguments.batch_size, arguments.class_weight)
    size = arguments.validation_batch_size or arguments.batch_size
    tested = stackable_source("validation_data", validation_data, size)
    models, drawn = [], []
    for seed in seeds:
        keras.utils.set_random_seed(seed)
        earlier = checked_model(build(), None, earlier)
        models.append(earlier)
        draw = orders(source.num_samples, source.batch_size, arguments.shuffle)
        drawn.append(draw())
    stack = Stack(models, spare.optimizer, source, tf.stack(drawn), tested)
    histories = begun_histories(models, seeds, arguments.epochs, source.num_batches)
    with bar_over(range(arguments.epochs), "epoch", verbose) as bar:
        for epoch in bar:
            logs = stack.train()
            if tested is not None and is_due(epoch, arguments.validation_freq):
                logs |= stack.test()
            for member, history in enumerate(histories):
                own = {name: float(values[member]) for name, values in logs.items()}
                history.on_epoch_end(epoch, own)
            report(bar, f"epoch {epoch + 1}", logs, verbose)
    stack.put_back()
    return histories


def begun_histories(
    models: list[keras.Model], seeds: list[int], epochs: int, steps: int
) -> list[History]:
    """Return the Histories of members before their first epoch."""
    histories: list[Any] = [History() for _ in models]
    for history, model, seed in zip(histories, models, seeds, strict=True):
        history.seed = seed
        history.set_model(model)
        history.set_params({"verbose": 0, "epochs": epochs, "steps": steps})
        history.on_train_begin()
    return histories


def checked_seeds(seeds: Iterable[int]) -> list[int]:
    """Return the seeds as a list of ints; raise TypeError or ValueError if they are none."""
    expected = "expected different integers from 0 to 2**32 - 1, for example seeds=range(20)"
    if not isinstance(seeds, Iterable):
        raise TypeError(f"Expected `seeds` to be a list of seeds: {expected}. Got {seeds!r}.")
    listed = list(seeds)
    for seed in listed:
        if isinstance(seed, bool | np.bool_) or not hasattr(seed, "__index__"):
            raise TypeError(f"Seed {seed!r} is no integer: {expected}.")
    checked = [operator.index(seed) for seed in listed]
    if not checked or min(checked) < 0 or max(checked) >= 2**32:
        raise ValueError(f"Unusable seeds: {expected}. Got {listed}.")
    if repeated := sorted({seed for seed in checked if checked.count(seed) > 1}):
        raise ValueError(f"Seeds {repeated} are repeated: {expected}.")
    return checked


def check_functions(build: Any, callbacks: Any, *data: Structure) -> None:
    """Raise TypeError or ValueError if there cannot be something new for each seed."""
    if not callable(build) or isinstance(build, keras.Model):
        raise TypeError(
            "Expected `build` to be a function that returns a new model, got a "
            f"{type(build).__name__}: def build(): model = ...; model.compile(...); return model."
        )
    if callbacks is not None and not callable(callbacks):
        raise TypeError(
            "Expected `callbacks` to be a function that returns new callbacks for a seed, got a "
            f"{type(callbacks).__name__}: callbacks have state, so seeds cannot share them. "
            "Change it to callbacks=lambda seed: [...]."
        )
    if "generator" in map(kind_of, data):
        raise ValueError(
            "A generator ends with the first seed. Pass arrays, a tf.data.Dataset or a "
            "keras.utils.PyDataset."
        )


def checked_callbacks(own: Structure, used: list[Callback]) -> list[Callback]:
    """Return the callbacks of a seed and note them; raise ValueError if a seed had one before."""
    flat: list[Callback] = keras.tree.flatten(own) if own else []
    if any(callback is earlier for callback in flat for earlier in used):
        raise ValueError(
            "`callbacks` returned a callback that another seed had: callbacks have state. Create "
            "them within the function: callbacks=lambda seed: [EarlyStopping(...)]."
        )
    used += flat
    return flat


def checked_model(
    model: Any, train_step: StepFunction | None, earlier: keras.Model | None = None
) -> keras.Model:
    """Return a model from `build`; raise TypeError or ValueError if it cannot be a member.

    It has to be a model that can be trained, and to train nothing that the one before it trains.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"Expected `build` to return a Keras model, got {model!r}. End it with `return model`."
        )
    check_compiled(model, train_step)
    trained, before = (
        {id(part) for part in (m, m.optimizer, *m.trainable_weights) if part is not None}
        if m is not None
        else set()
        for m in (model, earlier)
    )
    if trained & before:
        raise ValueError(
            "`build` returned the same model, optimizer or trainable weights twice: each seed "
            "needs its own. Create model and optimizer inside `build`."
        )
    return model


def bar_over(items: Sequence[int], unit: str, verbose: str | int) -> Any:
    """Return a tqdm bar over items, which is not shown if `verbose` is 0 or output is a file."""
    return tqdm(items, unit=unit, file=sys.stdout, disable=not verbose or not shows_bars())


def report(bar: Any, title: str, logs: Logs, verbose: str | int) -> None:
    """Show logs behind the bar, or in a line of their own; of arrays over the seeds, the mean."""
    text = " - ".join(f"{name}: {number(float(np.mean(log)))}" for name, log in logs.items())
    bar.set_postfix_str(text)
    if verbose and bar.disable:
        print_line(f"{title} - {text}")
