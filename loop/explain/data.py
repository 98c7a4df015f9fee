"""The data of a fit: which source gives the batches and why, how many, in which order."""

from collections.abc import Iterator
from typing import Any

import keras

from loop._keras import first_epoch
from loop.data import ArraySource, DatasetSource, kind_of
from loop.data.order import global_seed
from loop.explain.document import Note, Section, facts
from loop.explain.numbers import plural, shape
from loop.explain.prepared import Prepared
from loop.types import FitArguments, Structure


def data_section(arguments: FitArguments, prepared: Prepared) -> Section:
    """Return where the batches come from, their number, order and weights; the validation."""
    return Section(
        "Data",
        (
            facts(
                ("source", _source(arguments, prepared)),
                *_leaves(arguments),
                ("batches", _batches(prepared)),
                ("order", _order(arguments)),
                ("weights", _weights(arguments)),
                ("epochs", _epochs(arguments, prepared)),
                ("validation", _validation(arguments, prepared)),
            ),
        ),
    )


def static_section(arguments: FitArguments, prepared: Prepared) -> Section:
    """Return the shapes for which the step is compiled, and what may change without a trace."""
    model = arguments.model
    if prepared.source is None:
        return Section("Static", (Note("Known once the first batch is drawn."),))
    names_and_leaves = named_leaves(prepared.source.spec)
    rows = [(name, shape(leaf)) for name, leaf in names_and_leaves if hasattr(leaf, "shape")]
    return Section(
        "Static",
        (
            facts(
                *rows,
                ("batch size", _batch_size(prepared)),
                ("compiled", _compiled(model)),
                ("steps_per_execution", _executions(model)),
                ("learning rate", _learning_rate(model)),
            ),
        ),
    )


def named_leaves(batch: Structure) -> Iterator[tuple[str, Any]]:
    """Yield the arrays of a batch with a name each: "x", "y/price", "sample_weight"."""
    parts = zip(
        ("x", "y", "sample_weight"), keras.utils.unpack_x_y_sample_weight(batch), strict=True
    )
    for name, part in parts:
        for path, leaf in keras.tree.flatten_with_path(part):
            if leaf is not None:
                yield "/".join([name, *map(str, path)]), leaf


def _leaves(arguments: FitArguments) -> Iterator[tuple[str, str]]:
    """Yield shape and dtype of each array as it was given."""
    if kind_of(arguments.x):
        return
    given = arguments.x, arguments.y, arguments.sample_weight
    for name, leaf in named_leaves(given):
        if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
            yield name, f"{shape(leaf)}, as given"


def _source(arguments: FitArguments, prepared: Prepared) -> str:
    """Return the kind of source, and why it was chosen."""
    kind, source = kind_of(arguments.x), prepared.source
    if arguments.x is None:
        return "none: the step gets None in place of a batch"
    if kind:
        article = "an" if kind[0] in "aeiou" else "a"
        if kind == "tf.data.Dataset":
            return f"{article} {kind}, which batches, shuffles and repeats by itself"
        how = "by index" if kind == "PyDataset" else "in its order"
        return f"{article} {kind}: Python code, from which tf.data takes batches {how}"
    if isinstance(source, DatasetSource):
        return "a tf.data pipeline over rows, because an array is sparse or ragged"
    return "arrays in memory, because x, y and sample_weight hold nothing but dense arrays"


def _batches(prepared: Prepared) -> str | None:
    """Return how many batches make an epoch, and their sizes."""
    source, schedule = prepared.source, prepared.schedule
    if source is None or schedule is None:
        return "their number and size are known once they are drawn"
    if schedule.num_batches is None:
        return "their number is known after the first epoch"
    count = plural(schedule.num_batches, "batch", "batches") + " an epoch"
    if isinstance(source, ArraySource) and source.flat:
        count = f"{count}: {_sizes(source)}"
        if dropped := len(source.flat[0]) - source.num_samples:
            count += f"; {plural(dropped, 'sample')} left out by drop_remainder"
    if schedule.steps and schedule.steps != source.num_batches:
        count += ", cut by steps_per_epoch; a pass over the data goes on in the next epoch"
    return count


def _sizes(source: ArraySource) -> str:
    """Return the sizes of the batches of one pass."""
    whole, rest = divmod(source.num_samples, source.batch_size)
    parts = []
    if whole:
        parts.append(f"{whole:,} with {plural(source.batch_size, 'sample')}")
    if rest:
        count = plural(rest, "sample")
        parts.append(f"a short last one with {rest}" if whole else f"one with {count}")
    samples = plural(source.num_samples, "sample")
    return f"{' and '.join(parts)}" + (f" ({samples})" if whole and rest else "")


def _order(arguments: FitArguments) -> str | None:
    """Return in which order the samples come."""
    kind, shuffle = kind_of(arguments.x), arguments.shuffle
    if arguments.x is None:
        return None
    if kind == "PyDataset" and arguments.x.num_batches is not None:
        return "batches in random order, by Python's `random`" if shuffle else "as indexed"
    if kind:
        return "that of the data; shuffle has no effect on it"
    if shuffle == "batch":
        return "batches stay in place, their rows are shuffled"
    if not shuffle:
        return "that of the arrays (shuffle=False)"
    seed = global_seed()
    if seed is None:
        return "random, another one in each epoch: no global seed is set"
    return f"random, the same in each epoch: that is what fit does under a global seed ({seed})"


def _weights(arguments: FitArguments) -> str | None:
    """Return which samples weigh how much in the loss."""
    if arguments.class_weight:
        weights = ", ".join(
            f"class {label}: {weight:g}" for label, weight in arguments.class_weight.items()
        )
        return f"class_weight becomes sample weights ({weights}; any other class: 1)"
    if arguments.sample_weight is not None:
        return "sample_weight: for losses and weighted_metrics; metrics= do not see it"
    return None if arguments.x is None or kind_of(arguments.x) else "none: every sample weighs 1"


def _epochs(arguments: FitArguments, prepared: Prepared) -> str:
    """Return which epochs run, and how many steps that makes."""
    first = first_epoch(arguments.model, arguments.initial_epoch)
    count = max(0, arguments.epochs - first)
    steps = prepared.schedule.num_batches if prepared.schedule else None
    total = f", {plural(count * steps, 'step')} in all" if steps is not None else ""
    begins = f", the first is epoch {first} counted from 0" if first else ""
    return f"{count:,}{begins}{total}"


def _validation(arguments: FitArguments, prepared: Prepared) -> str:
    """Return what is validated on, and after which epochs."""
    data = prepared.validation_data
    if data is None:
        return "none"
    origin = f"a {kind_of(data)}" if kind_of(data) else "validation_data"
    validation = prepared.validation
    if arguments.validation_split and arguments.validation_data is None:
        origin = f"the last rows, split off before shuffling ({arguments.validation_split:g})"
    if validation is not None:
        source = validation.source
        if isinstance(source, ArraySource):
            origin += f", {plural(source.num_samples, 'sample')}"
        batches = validation.steps or source.num_batches
        origin += f", {plural(batches, 'batch', 'batches')}" if batches else ""
    frequency = arguments.validation_freq
    steps = f", and every {plural(arguments.eval_every, 'step')}" if arguments.eval_every else ""
    if isinstance(frequency, list):
        return f"{origin}, after epochs {', '.join(map(str, frequency))} counted from 1{steps}"
    each = ", after each epoch" if frequency == 1 else f", every {frequency} epochs"
    return origin + each + steps


def _batch_size(prepared: Prepared) -> str | None:
    """Return whether the number of rows is part of the graph, and why."""
    source: Any = prepared.source
    leaves = keras.tree.flatten(source.spec)
    sizes = {leaf.shape[0] for leaf in leaves if leaf is not None and leaf.shape.rank}
    if not sizes:
        return None
    if None not in sizes:
        return f"{', '.join(map(str, sorted(sizes)))}, part of the graph: all batches have it"
    if isinstance(source, ArraySource):
        rest = source.num_samples % source.batch_size
        short = f"the last batch has {rest}" if source.num_samples > rest else "the batch is short"
        return f"not part of the graph: {short}; one graph serves all batches"
    return "not part of the graph: the data do not promise one; one graph serves all batches"


def _compiled(model: keras.Model) -> str:
    if model.run_eagerly:
        return "no: run_eagerly=True runs each op from Python"
    return "by XLA (jit_compile=True)" if model.jit_compile else "as a TensorFlow graph, once"


def _executions(model: keras.Model) -> str | None:
    count = model.steps_per_execution
    return f"{count}: hooks are called every {count} steps" if count > 1 else None


def _learning_rate(model: keras.Model) -> str | None:
    """Return whether the learning rate may change without a new trace."""
    optimizer = getattr(model, "optimizer", None)
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        return None
    config = getattr(optimizer, "inner_optimizer", optimizer).get_config()
    if isinstance(config.get("learning_rate"), dict):
        return "a schedule, computed in the graph from optimizer.iterations"
    return "a variable: a callback may set it, and nothing is traced anew"
