"""`loop.State`: networks, optimizers, seeds, variables and metrics, held as one Keras model."""

from typing import Any, TypeVar

import keras
from keras.callbacks import Callback
from keras.optimizers import Optimizer

from loop._keras import weights_of

AnyCallback = TypeVar("AnyCallback", bound=Callback)

SET_LATER = {"history", "optimizer", "stop_training", "stop_evaluating", "stop_predicting"}
"""The attributes that Keras sets on a model after it is made."""


class State(keras.Model):
    """Everything that a training changes, as one Keras model for fit, callbacks and checkpoints.

        state = loop.State(
            generator=keras.Sequential([keras.Input((2,)), keras.layers.Dense(5)]),
            critic=keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)]),
            g_opt=(keras.optimizers.Adam(1e-3), "generator"),
            c_opt=(keras.optimizers.Adam(1e-4), "critic"),
            noise=keras.random.SeedGenerator(0),
        )
        def step(state, batch):
            x, *_ = batch
            z = keras.random.normal((tf.shape(x)[0], 2), seed=state.noise)
            def critics():
                real, fake = state.critic(x), state.critic(state.generator(z))
                return keras.ops.mean(keras.ops.square(real - 1.0) + keras.ops.square(fake))
            def generators():
                return keras.ops.mean(keras.ops.square(state.critic(state.generator(z)) - 1.0))
            loss = loop.minimize(critics, state.c_opt, state.trained_by("c_opt"))
            loop.minimize(generators, state.g_opt, state.trained_by("g_opt"))
            return {"loss": loss}
        loop.fit(state, x, train_step=step, plan="fused")

    Each part is an attribute; `optimizer` is the first optimizer. Every optimizer is built at once,
    on the trainable variables of its parts, so layers are frozen before. With mixed_float16 wrap
    it: `(keras.optimizers.LossScaleOptimizer(optimizer), "generator")`.

    `save_weights`, `load_weights`, `BackupAndRestore` and `ModelCheckpoint(save_weights_only=True)`
    save and restore networks, optimizers, variables and all seeds, those of layers such as Dropout
    included. Only the generator that `keras.random` uses without a seed belongs to no State. For a
    rate scheduler on another optimizer than the first: `loop.for_optimizer`.

    Args:
        parts: By name: networks (layers or models, built), `(optimizer, name of a part, ...)`,
            `keras.random.SeedGenerator`, `keras.Variable` and `keras.metrics.Metric`. Variables
            have any shape, a learned temperature for example is a scalar.

    Raises:
        ValueError: A name is taken, a part is of another kind or not built, an optimizer names no
            part that can be trained, or two optimizers would train one variable.

    Mirrors: keras.Model
    """

    def __init__(self, **parts: Any):
        super().__init__()
        _check_parts(parts, taken={*dir(self), *SET_LATER})
        trained = _trained_variables(parts)
        for name, part in parts.items():
            setattr(self, name, part[0] if name in trained else part)
        for name, variables in trained.items():
            _build(name, getattr(self, name), variables)
        self._optimizer_names = tuple(trained)
        self.optimizer = getattr(self, self._optimizer_names[0]) if trained else None
        self.built = True

    def trained_by(self, name: str) -> list[keras.Variable]:
        """Return the variables that the optimizer of this name trains.

        Raises:
            ValueError: There is no such optimizer.
        """
        if name not in self._optimizer_names:
            raise ValueError(
                f"{name!r} is no optimizer of this State: expected one of "
                f"{list(self._optimizer_names)}."
            )
        return weights_of(getattr(self, name))

    def finalize(self) -> None:
        """Overwrite weights by their averages, for each optimizer with `use_ema`; fit ends so."""
        for name in self._optimizer_names:
            getattr(self, name).finalize_variable_values(self.trained_by(name))

    def save_own_variables(self, store: Any) -> None:
        """Save variables that are parts, and all seeds, which Keras leaves out."""
        super().save_own_variables(store)
        for place, seed in enumerate(self._seeds()):
            store[f"seed_{place}"] = seed

    def load_own_variables(self, store: Any) -> None:
        """Load what `save_own_variables` saved.

        Raises:
            ValueError: The file has another number of variables or seeds.
        """
        variables = {key: store[key] for key in store.keys() if not key.startswith("seed_")}  # noqa: SIM118 - no dict
        seeds, saved = self._seeds(), len(store.keys()) - len(variables)
        if saved != len(seeds):
            raise ValueError(
                f"The file holds {saved} seeds, this State has {len(seeds)}: was it saved from a "
                "State with the same parts?"
            )
        super().load_own_variables(variables)
        for place, seed in enumerate(seeds):
            seed.assign(store[f"seed_{place}"])

    def _seeds(self) -> list[keras.Variable]:
        """Return the states of all seed generators, those of layers included, each once."""
        weights = {id(weight) for weight in self.weights}
        return list({id(v): v for v in self.variables if id(v) not in weights}.values())

    def get_config(self) -> dict[str, Any]:
        """Raise NotImplementedError: a State cannot be made anew from a `.keras` file."""
        raise NotImplementedError(
            "A State is saved by its weights: state.save_weights('state.weights.h5'), or "
            "ModelCheckpoint('state.weights.h5', save_weights_only=True). To save a network whole: "
            "state.generator.save('generator.keras'), with the name of yours."
        )


def finalize_weights(model: keras.Model) -> None:
    """Overwrite the weights of a model by their averages, as optimizers with `use_ema` ask for."""
    if isinstance(model, State):
        model.finalize()
    elif isinstance(getattr(model, "optimizer", None), Optimizer):
        model.optimizer.finalize_variable_values(model.trainable_weights)


def for_optimizer(name: str, callback: AnyCallback) -> AnyCallback:
    """Return the callback, which then finds another optimizer of a State as `model.optimizer`.

        rates = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
        state = loop.State(net=model, mine=(keras.optimizers.SGD(), "net"))
        def step(state, batch):
            x, y = batch
            return {"loss": loop.minimize(
                lambda: keras.ops.mean(keras.ops.square(state.net(x) - y)),
                state.mine, state.trained_by("mine"))}
        loop.fit(state, x, y, train_step=step, callbacks=[loop.for_optimizer("mine", rates)])

    For `LearningRateScheduler` and `ReduceLROnPlateau`. Their log is named after the optimizer:
    `learning_rate_mine`, a scalar. To the callback, `model` is a view of the State.

    Args:
        name: The name of the optimizer in the State.
        callback: The callback; it is changed and returned.

    Raises:
        ValueError: In fit, before anything trains: the model is no State, or has no such optimizer.

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
        # Matches Keras: rates of an optimizer with `optimizers` are logged under their names.
        view = View(optimizer, optimizers=[View(optimizer, name=name)])
        set_model(View(state, optimizer=view))

    callback.set_model = set_view
    return callback


class View:
    """An object with some attributes replaced; others are read from it and written to it."""

    def __init__(self, shown: Any, **replaced: Any):
        vars(self).update(replaced, _shown=shown)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shown, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._shown, name, value)


def _check_parts(parts: dict[str, Any], taken: set[str]) -> None:
    """Raise ValueError if a part has a name of Keras, is of an unknown kind, or is not built."""
    kinds = keras.layers.Layer | keras.Variable | keras.random.SeedGenerator | keras.metrics.Metric
    for name, part in parts.items():
        if name in taken or name.startswith("_"):
            raise ValueError(
                f"A part cannot have the name {name!r}, which keras.Model uses itself: choose "
                f"another, for example `my_{name.strip('_')}=...`."
            )
        if not isinstance(part, kinds | Optimizer | tuple):
            raise ValueError(
                f"The part {name!r} is a {type(part).__name__}: expected a Keras layer or model, "
                "`(optimizer, 'name of a part')`, keras.random.SeedGenerator, keras.Variable or "
                "keras.metrics.Metric."
            )
        if isinstance(part, keras.layers.Layer) and not part.built:
            raise ValueError(
                f"The part {name!r} is not built, so it has no weights yet. Begin it with "
                f"keras.Input(shape), or call it once before: {name}(x[:1])."
            )


def _trained_variables(parts: dict[str, Any]) -> dict[str, list[keras.Variable]]:
    """Return the variables that each optimizer trains, by the name of the optimizer.

    Raises:
        ValueError: See `State`.
    """
    trained: dict[str, list[keras.Variable]] = {}
    owners: dict[int, str] = {}
    for name, part in parts.items():
        if isinstance(part, Optimizer | tuple):
            optimizer, *names = part if isinstance(part, tuple) else (part,)
            _check_names(name, optimizer, names, parts)
            found = [v for other in names for v in _trainable(parts[other])]
            trained[name] = list({id(variable): variable for variable in found}.values())
            for owned in (optimizer, *trained[name]):
                if id(owned) in owners:
                    what = owned.path if isinstance(owned, keras.Variable) else "one optimizer"
                    raise ValueError(
                        f"{owners[id(owned)]!r} and {name!r} share {what}: expected an optimizer "
                        "of its own for each, and each variable trained by one. To train several "
                        "parts together: (optimizer, 'encoder', 'decoder')."
                    )
                owners[id(owned)] = name
    return trained


def _check_names(name: str, optimizer: Any, names: list[Any], parts: dict[str, Any]) -> None:
    """Raise ValueError if what an optimizer is to train is missing or cannot be trained."""
    known = [key for key, part in parts.items() if _trainable(part) is not None]
    if not isinstance(optimizer, Optimizer):
        raise ValueError(
            f"{name!r} is a tuple that begins with a {type(optimizer).__name__}: expected "
            f"(optimizer, 'name of a part'), such as {name}=(keras.optimizers.Adam(), 'network')."
        )
    if not names:
        raise ValueError(
            f"The optimizer {name!r} does not say what it trains: expected one or more of {known}. "
            f"Write {name}=(optimizer, {(known or ['network'])[0]!r})."
        )
    for other in names:
        if other not in known:
            raise ValueError(
                f"The optimizer {name!r} is to train {other!r}, which is no network and no "
                f"variable of this State: expected one of {known}."
            )
        if not _trainable(parts[other]):
            raise ValueError(
                f"The optimizer {name!r} is to train {other!r}, which has no trainable variables. "
                f"Write {other}.trainable = True before, or leave {other!r} out."
            )


def _trainable(part: Any) -> list[keras.Variable] | None:
    """Return the trainable variables of a network or a variable; None for other parts."""
    if isinstance(part, keras.layers.Layer):
        return list(part.trainable_variables)
    return [part] * bool(part.trainable) if isinstance(part, keras.Variable) else None


def _build(name: str, optimizer: Optimizer, variables: list[keras.Variable]) -> None:
    """Build an optimizer on the variables that it trains.

    Raises:
        ValueError: It was built on others.
    """
    if not optimizer.built:
        with keras.name_scope(optimizer.name, caller=optimizer):
            optimizer.build(variables)
        optimizer.built = True
    elif list(map(id, weights_of(optimizer))) != list(map(id, variables)):
        raise ValueError(
            f"The optimizer {name!r} has trained other variables before: expected a new one. "
            f"Write {name}=({type(optimizer).__name__}(...), ...)."
        )
