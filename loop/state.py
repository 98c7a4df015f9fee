"""`loop.State`: networks, optimizers, seeds, variables and metrics, held as one Keras model."""

from typing import Any, TypeVar

import keras
from keras.callbacks import Callback
from keras.optimizers import Optimizer

from loop._keras import share_storage, weights_of

AnyCallback = TypeVar("AnyCallback", bound=Callback)

KINDS = keras.Layer | keras.Variable | keras.random.SeedGenerator | keras.metrics.Metric

SET_LATER = {"history", "optimizer", "stop_training", "stop_evaluating", "stop_predicting"}
"""The attributes that Keras sets on a model after it is made."""


class State(keras.Model):
    """Everything that a training changes, as one Keras model for fit, callbacks and checkpoints.

        state = loop.State(
            network=model,
            opt=(keras.optimizers.Adam(), "network"),
            noise=keras.random.SeedGenerator(0),
        )
        def step(state, batch):
            x, y = batch
            x += 0.1 * keras.random.normal(tf.shape(x), seed=state.noise)
            def loss():
                return keras.ops.mean(keras.ops.square(state.network(x) - y))
            return {"loss": loop.mean(loop.minimize(loss, state.opt, state.trained_by("opt")))}
        loop.fit(state, x, y, train_step=step, plan="fused")

    Parts are attributes; `optimizer` is the first optimizer, `optimizer_names` names all. They are
    built at once, on the trainable variables of their parts: freeze layers before. Under
    mixed_float16 wrap them: `(keras.optimizers.LossScaleOptimizer(optimizer), "network")`.

    `save_weights`, `load_weights`, BackupAndRestore and `ModelCheckpoint(save_weights_only=True)`
    keep all of it, seeds of layers such as Dropout included, so that a training resumes to the same
    bits. The seed that `keras.random` uses where none is given belongs to no State.

    Args:
        parts: By name: layers and models, built; `(optimizer, name of a part, ...)`;
            SeedGenerators; Metrics; Variables of any shape, such as a scalar to be learned.

    Raises:
        ValueError: A name is taken, a part is of another kind or not built, an optimizer names no
            part that can be trained, or two optimizers would train one variable.

    Mirrors: keras.Model
    """

    optimizer_names: tuple[str, ...] = ()

    def __init__(self, **parts: Any):
        super().__init__()
        _check_parts(parts, taken={*dir(self), *SET_LATER})
        trained = _trained_variables(parts)
        for name, part in parts.items():
            setattr(self, name, part[0] if name in trained else part)
        for name, variables in trained.items():
            _build(name, getattr(self, name), variables)
        self.optimizer_names = tuple(trained)
        self.optimizer = getattr(self, self.optimizer_names[0]) if trained else None
        self.built = True

    def trained_by(self, name: str) -> list[keras.Variable]:
        """Return the variables that an optimizer trains; ValueError if it is not there."""
        if name not in self.optimizer_names:
            raise ValueError(
                f"This State has no optimizer {name!r}: expected one of {self.optimizer_names}."
            )
        return weights_of(getattr(self, name))

    def save_own_variables(self, store: Any) -> None:
        """Save variables that are parts, and all seeds, which Keras leaves out."""
        super().save_own_variables(store)
        for key, seed in self._seeds().items():
            store[key] = seed

    def load_own_variables(self, store: Any) -> None:
        """Load what `save_own_variables` saved."""
        keys, seeds = list(store.keys()), self._seeds()
        super().load_own_variables({key: store[key] for key in keys if key not in seeds})
        for key, seed in seeds.items():
            seed.assign(store[key])

    def call(self, *_: Any, **__: Any) -> Any:
        """Raise NotImplementedError, which names the networks that can predict."""
        networks = [name for name, part in vars(self).items() if isinstance(part, keras.Model)]
        raise NotImplementedError(
            f"A State predicts nothing, but its networks {networks} do: call state."
            f"{(networks or ['network'])[0]}.predict(x), or derive a class that has `predict_step`."
        )

    def _seeds(self) -> dict[str, keras.Variable]:
        """Return the states of all seed generators, those of layers included."""
        weights = {id(weight) for weight in self.weights}
        seeds = {
            id(variable): variable for variable in self.variables if id(variable) not in weights
        }
        return {f"seed_{place}": seed for place, seed in enumerate(seeds.values())}

    def get_config(self) -> dict[str, Any]:
        """Raise NotImplementedError: no State can be made from a `.keras` file."""
        raise NotImplementedError(
            "A State is saved by its weights: state.save_weights('state.weights.h5'), or "
            "ModelCheckpoint('state.weights.h5', save_weights_only=True). Networks can be saved "
            "whole: state.network.save('network.keras')."
        )


def finalize_weights(model: keras.Model) -> None:
    """Overwrite weights by their averages, for each optimizer of a model with `use_ema`."""
    trained = [(getattr(model, "optimizer", None), model.trainable_weights)]
    if isinstance(model, State):
        trained = [(getattr(model, name), model.trained_by(name)) for name in model.optimizer_names]
    for optimizer, weights in trained:
        if isinstance(optimizer, Optimizer):
            optimizer.finalize_variable_values(weights)


def share_values(variables: list[keras.Variable], others: list[keras.Variable]) -> None:
    """Let variables read and write the tensors of others, of the same shapes, from here on."""
    for variable, other in zip(variables, others, strict=True):
        share_storage(variable, other)


def for_optimizer(name: str, callback: AnyCallback) -> AnyCallback:
    """Make a callback find an optimizer of a State, by its name, as `model.optimizer`.

        halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
        callbacks = [loop.for_optimizer("d_opt", halve)]

    For LearningRateScheduler and ReduceLROnPlateau, which log a scalar, `learning_rate_d_opt`, and
    for LearningRateFinder. To the callback, `model` is a view of the State.

    Args:
        name: The name of the optimizer in the State.
        callback: The callback, which is changed.

    Returns:
        The callback.

    Raises:
        ValueError: Before anything trains: the model is no State, or has no such optimizer.

    Mirrors: keras.callbacks.Callback.set_model
    """
    set_model = callback.set_model

    def set_view(state: keras.Model) -> None:
        if not isinstance(state, State):
            raise ValueError(
                f"for_optimizer({name!r}, ...) needs a loop.State, got a {type(state).__name__}: "
                "pass the callback itself."
            )
        state.trained_by(name)  # raises if there is no such optimizer
        optimizer = getattr(state, name)
        # Matches Keras: what finds `optimizers` logs the rate of each under its name.
        named = View(optimizer, optimizers=[View(optimizer, name=name)])
        set_model(View(state, optimizer=named))

    callback.set_model = set_view
    return callback


class View:
    """An object with some attributes replaced; others are those of the object itself."""

    def __init__(self, shown: Any, **replaced: Any):
        vars(self).update(replaced, _shown=shown)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shown, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._shown, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._shown, name)


def _check_parts(parts: dict[str, Any], taken: set[str]) -> None:
    """Raise ValueError if a part has a name of Keras, is of an unknown kind, or is not built."""
    for name, part in parts.items():
        if name in taken or name.startswith("_"):
            raise ValueError(
                f"keras.Model uses the name {name!r} itself: choose another name for this part, "
                f"for example my_{name.strip('_')}=..."
            )
        if not isinstance(part, KINDS | Optimizer | tuple):
            raise ValueError(
                f"The part {name!r} is a {type(part).__name__}: expected a Keras layer or model, "
                "(optimizer, 'name of a part'), a keras.random.SeedGenerator, a keras.Variable or "
                "a keras.metrics.Metric."
            )
        if isinstance(part, keras.Layer) and not part.built:
            raise ValueError(
                f"The part {name!r} is not built, so it has no weights yet: begin it with "
                f"keras.Input(shape), or call it once before, {name}(x[:1])."
            )


def _trained_variables(parts: dict[str, Any]) -> dict[str, list[keras.Variable]]:
    """Return the variables that each optimizer trains; ValueError if two would train the same."""
    trained: dict[str, list[keras.Variable]] = {}
    owners: dict[int, str] = {}
    for name, part in parts.items():
        if isinstance(part, Optimizer | tuple):
            optimizer, *names = part if isinstance(part, tuple) else (part,)
            found = _named_variables(name, optimizer, names, parts)
            for owned in (optimizer, *found):
                if (owner := owners.setdefault(id(owned), name)) != name:
                    what = getattr(owned, "path", "one optimizer")
                    raise ValueError(
                        f"{owner!r} and {name!r} share {what}: expected an optimizer of its own "
                        "for each, and each variable in one. One optimizer can train several "
                        f"parts: {name}=(optimizer, 'encoder', 'decoder')."
                    )
            trained[name] = found
    return trained


def _named_variables(
    name: str, optimizer: Any, names: list[Any], parts: dict[str, Any]
) -> list[keras.Variable]:
    """Return the trainable variables of the named parts, each once; ValueError if there is none."""
    known = [key for key, part in parts.items() if isinstance(part, keras.Layer | keras.Variable)]
    if not (names and isinstance(optimizer, Optimizer) and all(other in known for other in names)):
        came = ", ".join([type(optimizer).__name__, *map(repr, names)])
        raise ValueError(
            f"The optimizer {name!r} is ({came}): expected an optimizer and names of what it "
            f"trains, among {known}. Write {name}=(optimizer, {(known or ['network'])[0]!r})."
        )
    found: dict[int, keras.Variable] = {}
    for other in names:
        part = parts[other]
        variables = part.trainable_variables if isinstance(part, keras.Layer) else [part]
        trainable = {id(variable): variable for variable in variables if variable.trainable}
        if not trainable:
            raise ValueError(
                f"The optimizer {name!r} is to train {other!r}, which has no trainable variables: "
                f"leave {other!r} out, or write {other}.trainable = True before."
            )
        found |= trainable
    return list(found.values())


def _build(name: str, optimizer: Optimizer, variables: list[keras.Variable]) -> None:
    """Build an optimizer on what it trains; ValueError if it was built on other variables."""
    if not optimizer.built:
        with keras.name_scope(optimizer.name, caller=optimizer):
            optimizer.build(variables)
    elif list(map(id, weights_of(optimizer))) != list(map(id, variables)):
        raise ValueError(
            f"The optimizer {name!r} has trained other variables before: pass a new one, "
            f"{name}=({type(optimizer).__name__}(...), ...)."
        )
