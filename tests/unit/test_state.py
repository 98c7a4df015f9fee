"""loop.State: what a training changes, held, saved and resumed whole."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import loop
from loop.callbacks import LearningRateFinder

PLANS = ("step", "fused", "auto")
X = np.random.default_rng(0).normal(size=(70, 5)).astype("float32")
EPOCHS = 5


def network(inputs, outputs, *layers):
    hidden = [keras.layers.Dense(8, "relu"), *layers, keras.layers.Dense(outputs)]
    return keras.Sequential([keras.Input((inputs,)), *hidden])


def plain():
    return network(5, 1)


def parts():
    """Two networks with seeds and statistics of their own, and every kind of part."""
    return {
        "generator": network(2, 5, keras.layers.Dropout(0.3)),
        "critic": network(5, 1, keras.layers.BatchNormalization(), keras.layers.Dropout(0.3)),
        "target": keras.Variable(0.9, name="target"),
        "g_opt": (keras.optimizers.Adam(1e-2, use_ema=True), "generator", "target"),
        "c_opt": (
            keras.optimizers.LossScaleOptimizer(
                keras.optimizers.RMSprop(1e-2, use_ema=True), dynamic_growth_steps=3
            ),
            "critic",
        ),
        "noise": keras.random.SeedGenerator(3),
        "c_mean": keras.metrics.Mean("c_loss"),
        "g_mean": keras.metrics.Mean("g_loss"),
    }


def build(seed=1):
    keras.utils.set_random_seed(seed)
    return loop.State(**parts())


def step(state, x):
    """Train the critic, then the generator."""
    z = keras.random.normal((tf.shape(x)[0], 2), seed=state.noise)

    def c_loss():
        real = state.critic(x, training=True)
        fake = state.critic(state.generator(z, training=True), training=True)
        return keras.ops.mean(keras.ops.square(real - 1.0) + keras.ops.square(fake))

    def g_loss():
        fake = state.critic(state.generator(z, training=True), training=True)
        return keras.ops.mean(keras.ops.square(fake - state.target))

    state.c_mean.update_state(loop.minimize(c_loss, state.c_opt, state.trained_by("c_opt")))
    state.g_mean.update_state(loop.minimize(g_loss, state.g_opt, state.trained_by("g_opt")))
    return {"c_loss": state.c_mean.result(), "g_loss": state.g_mean.result()}


class ByHand(keras.Model):
    """The same training as Keras has it: a model that overrides `train_step`."""

    def __init__(self):
        super().__init__()
        for name, part in parts().items():
            setattr(self, name, part[0] if isinstance(part, tuple) else part)
        self.built = True

    def train_step(self, x):
        z = keras.random.normal((tf.shape(x)[0], 2), seed=self.noise)
        with tf.GradientTape() as tape:
            real = self.critic(x, training=True)
            fake = self.critic(self.generator(z, training=True), training=True)
            c_loss = keras.ops.mean(keras.ops.square(real - 1.0) + keras.ops.square(fake))
            scaled = self.c_opt.scale_loss(c_loss)
        self._update(self.c_opt, tape, scaled, self.critic.trainable_variables)
        with tf.GradientTape() as tape:
            fake = self.critic(self.generator(z, training=True), training=True)
            g_loss = keras.ops.mean(keras.ops.square(fake - self.target))
        self._update(self.g_opt, tape, g_loss, [*self.generator.trainable_variables, self.target])
        self.c_mean.update_state(c_loss)
        self.g_mean.update_state(g_loss)
        return {"c_loss": self.c_mean.result(), "g_loss": self.g_mean.result()}

    def _update(self, optimizer, tape, loss, variables):
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))


def bits(state):
    """Every weight, statistic, seed and optimizer variable of a training."""
    variables = [*state.variables, *state.g_opt.variables, *state.c_opt.variables]
    return [np.asarray(variable).tobytes() for variable in variables]


def train(state, plan="auto", epochs=EPOCHS, callbacks=None):
    keras.utils.set_random_seed(1)  # the order of the samples
    return loop.fit(
        state, X, epochs=epochs, verbose=0, train_step=step, plan=plan, callbacks=callbacks
    ).history


class Interrupt(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


@pytest.mark.long
@pytest.mark.bits
def test_two_optimizers_train_to_the_bits_of_a_train_step_under_keras():
    keras.utils.set_random_seed(1)
    by_hand = ByHand()
    by_hand.compile(loss=None)
    keras.utils.set_random_seed(1)
    expected = by_hand.fit(X, epochs=EPOCHS, verbose=0).history
    for optimizer, names in (
        (by_hand.g_opt, ("generator", "target")),
        (by_hand.c_opt, ("critic",)),
    ):
        weights = [getattr(by_hand, name) for name in names]
        flat = [v for part in weights for v in getattr(part, "trainable_variables", [part])]
        optimizer.finalize_variable_values(flat)  # what Keras leaves to whoever has two
    for plan in PLANS:
        state = build()
        assert train(state, plan) == expected, plan
        assert bits(state) == bits(by_hand), plan


@pytest.mark.sampled
@pytest.mark.bits
@pytest.mark.parametrize("plan", PLANS)
def test_a_training_interrupted_between_epochs_resumes_to_the_same_bits(plan, tmp_path):
    whole = build()
    expected = train(whole, plan)

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    stopped = build()
    with pytest.raises(KeyboardInterrupt):
        train(stopped, plan, callbacks=[backup(), Interrupt()])
    resumed = build(seed=7)  # as in a new process: other weights, other seeds
    history = train(resumed, plan, callbacks=[backup()])
    assert bits(resumed) == bits(whole)
    before = stopped.history.history
    assert {name: before[name] + history[name] for name in history} == expected


def test_a_backup_within_an_epoch_restores_the_state_of_that_very_step(tmp_path):
    class InTheMiddle(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                raise KeyboardInterrupt

    class AsRestored(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.bits = bits(self.model)

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=2)

    stopped, restored = build(), AsRestored()
    with pytest.raises(KeyboardInterrupt):
        train(stopped, callbacks=[backup(), InTheMiddle()])
    train(build(seed=7), callbacks=[backup(), restored])
    assert restored.bits == bits(stopped)


@pytest.mark.long
def test_weights_files_hold_every_seed_and_every_optimizer(tmp_path):
    state, other = build(), build(seed=7)
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "a.weights.h5", save_weights_only=True)
    train(state, epochs=1, callbacks=[checkpoint])
    state.save_weights(tmp_path / "b.weights.h5")
    seeds = [variable for variable in state.variables if "seed_generator" in variable.path]
    assert len(seeds) == 3
    assert all(int(np.asarray(seed)[1]) > 0 for seed in seeds)  # drawn from
    assert int(state.c_opt.dynamic_scale) != 2**15
    assert int(state.c_opt.iterations) == 3
    assert bits(other) != bits(state)
    for name in "ab":
        other = build(seed=7)
        other.load_weights(tmp_path / f"{name}.weights.h5")
        if name == "b":
            assert bits(other) == bits(state)
        else:  # saved before averages took the place of weights at the end of fit
            assert [np.asarray(v).tobytes() for v in other.c_opt.variables] == [
                np.asarray(v).tobytes() for v in state.c_opt.variables
            ]


@pytest.mark.long
def test_keras_itself_saves_optimizers_that_are_built_but_no_seed(tmp_path):
    """Why State saves seeds; if Keras does so one day, this says it."""

    def by_hand():
        model = ByHand()
        model.g_opt.build([*model.generator.trainable_variables, model.target])
        model.c_opt.build(model.critic.trainable_variables)
        return model

    keras.utils.set_random_seed(1)
    model = by_hand()
    model.compile(loss=None)
    model.fit(X, epochs=1, verbose=0)
    model.save_weights(tmp_path / "a.weights.h5")
    loaded = by_hand()
    loaded.load_weights(tmp_path / "a.weights.h5")
    variables = [*model.variables, *model.g_opt.variables, *model.c_opt.variables]
    others = [*loaded.variables, *loaded.g_opt.variables, *loaded.c_opt.variables]
    pairs = zip(variables, others, strict=True)
    differ = [one.path for one, other in pairs if not np.array_equal(one, other)]
    assert len(differ) == 3
    assert all("seed_generator" in path for path in differ)


@pytest.mark.long
def test_a_state_is_evaluated_validated_and_explained_without_a_change():
    def test_step(state, x):
        state.c_mean.update_state(keras.ops.mean(state.critic(x, training=False)))
        state.g_mean.update_state(0.0)
        return {"c_loss": state.c_mean.result(), "g_loss": state.g_mean.result()}

    state = build()
    data = {"train_step": step, "test_step": test_step, "verbose": 0}
    trained = loop.fit(state, X, validation_data=(X,), epochs=1, plan="fused", **data)
    before = bits(state)
    loop.explain(state, X, train_step=step, verbose=0, step=True)
    logs = loop.evaluate(state, X, test_step=test_step, verbose=0, return_dict=True)
    assert bits(state) == before
    assert set(trained.history) == {"c_loss", "g_loss", "val_c_loss", "val_g_loss"}
    assert set(logs) == {"c_loss", "g_loss"}


def test_a_file_of_other_parts_is_refused(tmp_path):
    build().save_weights(tmp_path / "all.weights.h5")
    other = loop.State(critic=plain(), noise=keras.random.SeedGenerator(3))
    with pytest.raises(ValueError, match="could not be loaded"):
        other.load_weights(tmp_path / "all.weights.h5")


@pytest.mark.long
def test_a_whole_keras_file_is_refused_and_the_message_names_the_line(tmp_path):
    state = build()
    with pytest.raises(NotImplementedError, match=r"state\.save_weights\('state\.weights\.h5'\)"):
        state.save(tmp_path / "state.keras")
    whole = keras.callbacks.ModelCheckpoint(tmp_path / "state.keras")
    with pytest.raises(NotImplementedError, match="save_weights_only=True"):
        train(state, epochs=1, callbacks=[whole])
    state.generator.save(tmp_path / "generator.keras")


@pytest.mark.long
def test_averages_of_every_optimizer_take_the_place_of_weights_at_the_end():
    state = build()
    train(state, epochs=1)
    inner = state.c_opt.inner_optimizer
    for optimizer, name in ((state.g_opt, "g_opt"), (inner, "c_opt")):
        averages = [v for v in optimizer.variables if v.path.endswith("_average")]
        weights = state.trained_by(name)
        assert len(averages) == len(weights) > 4
        for average, weight in zip(averages, weights, strict=True):
            assert np.array_equal(average, weight)


@pytest.mark.long
def test_two_optimizers_have_a_schedule_each():
    state = build()
    first, second = [0.02, 0.01, 0.005], [0.3, 0.2, 0.1]
    schedules = [
        keras.callbacks.LearningRateScheduler(lambda epoch: first[epoch]),
        loop.for_optimizer(
            "c_opt", keras.callbacks.LearningRateScheduler(lambda epoch: second[epoch])
        ),
    ]
    history = train(state, epochs=3, callbacks=schedules)
    assert np.allclose(history["learning_rate"], first)
    assert np.allclose(history["learning_rate_c_opt"], second)
    assert np.allclose(state.g_opt.learning_rate, 0.005)
    assert np.allclose(state.c_opt.learning_rate, 0.1)


@pytest.mark.long
def test_a_plateau_reduces_the_rate_of_the_named_optimizer_only():
    state = build()
    never_better = keras.callbacks.ReduceLROnPlateau("c_loss", 0.5, 1, mode="min", min_delta=1e9)
    history = train(state, epochs=3, callbacks=[loop.for_optimizer("c_opt", never_better)])
    # The first epoch is the best, each later one no better.
    assert np.allclose(history["learning_rate_c_opt"], [0.01, 0.01, 0.005])
    assert np.allclose(state.c_opt.learning_rate, 0.0025)
    assert np.allclose(state.g_opt.learning_rate, 0.01)


@pytest.mark.long
def test_through_its_view_a_callback_reads_and_stops_the_training():
    class Stopper(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.iterations = int(self.model.optimizer.iterations)
            self.model.stop_training = True

    state, stopper = build(), Stopper()
    loop.for_optimizer("c_opt", stopper)
    history = train(state, callbacks=[stopper])
    assert len(history["c_loss"]) == 1
    assert stopper.iterations == 3
    assert stopper.model.critic is state.critic


@pytest.mark.long
@pytest.mark.parametrize("name", ["g_opt", "c_opt"])
def test_the_finder_sweeps_a_named_optimizer_and_restores_all_of_a_state(name):
    state = build()
    before, method = bits(state), getattr(state, name).apply
    finder = LearningRateFinder(1e-5, 1.0, steps=7)
    train(state, callbacks=[loop.for_optimizer(name, finder)])
    assert len(finder.losses) == 7
    assert np.isfinite(finder.losses).all()
    assert bits(state) == before
    assert getattr(state, name).apply == method


@pytest.mark.long
def test_a_state_says_which_of_its_networks_predicts():
    state = build()
    for predict in (loop.predict, loop.predict_on_batch, loop.State.predict):
        with pytest.raises(NotImplementedError, match=r"\['generator', 'critic'\]") as error:
            predict(state, X)
        assert "call state.generator.predict(x)" in str(error.value)

    class Critic(loop.State):
        def predict_step(self, x):
            return self.critic(x)

    state = Critic(**parts())
    assert np.array_equal(loop.predict(state, X, verbose=0), state.critic.predict(X, verbose=0))


@pytest.mark.parametrize("name", ["critic", "opt"])
def test_a_callback_for_an_optimizer_that_is_not_there_trains_nothing(name):
    state = build()
    before = bits(state)
    rates = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1)
    with pytest.raises(ValueError, match=rf"has no optimizer '{name}': .*g_opt.*c_opt"):
        train(state, callbacks=[loop.for_optimizer(name, rates)])
    assert bits(state) == before


def test_a_callback_for_an_optimizer_needs_a_state():
    model = plain()
    model.compile("sgd", "mse")
    rates = loop.for_optimizer("opt", keras.callbacks.LearningRateScheduler(lambda epoch: 0.1))
    with pytest.raises(ValueError, match=r"needs a loop\.State, got a Sequential"):
        loop.fit(model, X, X[:, :1], callbacks=[rates], verbose=0)


@pytest.mark.long
def test_callbacks_of_keras_work_on_a_state(tmp_path):
    pytest.importorskip("tensorboard")
    state = build()
    best = keras.callbacks.EarlyStopping(
        "c_loss", mode="max", patience=1, restore_best_weights=True
    )
    board = keras.callbacks.TensorBoard(
        tmp_path, histogram_freq=1, write_graph=True, update_freq="epoch"
    )
    halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    plateau = keras.callbacks.ReduceLROnPlateau("c_loss", mode="min")
    history = train(state, callbacks=[best, board, halve, plateau])
    assert len(history["c_loss"]) == 2 < EPOCHS  # the loss of the critic falls
    assert best.best == history["c_loss"][0]
    assert list(tmp_path.rglob("events*"))


def test_a_state_fuses_and_is_traced_once():
    traced = []

    def counted(state, x):
        traced.append(x)
        return step(state, x)

    state = build()
    for _ in range(2):
        loop.fit(state, X, epochs=2, verbose=0, train_step=counted, plan="fused")
    assert len(traced) == 1
    explained = str(loop.explain(state, X, epochs=2, verbose=0, train_step=counted))
    assert "whole epochs run in one call" in explained


def test_parts_are_attributes_and_optimizers_know_their_variables():
    given = parts()
    state = loop.State(**given)
    assert state.generator is given["generator"]
    assert state.g_opt is state.optimizer is given["g_opt"][0]
    assert state.noise is given["noise"]
    expected = [*given["generator"].trainable_variables, given["target"]]
    assert list(map(id, state.trained_by("g_opt"))) == list(map(id, expected))
    assert state.g_opt.built
    assert state.c_opt.built
    assert [metric.name for metric in state.metrics] == ["c_loss", "g_loss"]


def test_a_shared_layer_is_trained_once_and_a_state_can_be_made_again():
    shared = keras.layers.Dense(4)
    encoder = keras.Sequential([keras.Input((5,)), shared])
    decoder = keras.Sequential([keras.Input((5,)), shared, keras.layers.Dense(5)])
    optimizer = keras.optimizers.Adam()
    for _ in range(2):
        state = loop.State(encoder=encoder, decoder=decoder, opt=(optimizer, "encoder", "decoder"))
        assert len(state.trained_by("opt")) == 4


def test_a_state_without_an_optimizer_has_none():
    state = loop.State(network=plain())
    assert state.optimizer is None
    with pytest.raises(ValueError, match="has no optimizer 'opt'"):
        state.trained_by("opt")


def frozen():
    network = plain()
    network.trainable = False
    return network


def used():
    optimizer = keras.optimizers.Adam()
    optimizer.build(plain().trainable_variables)
    return optimizer


WRONG = {
    "no names": (
        lambda adam: {"net": plain(), "opt": adam},
        r"The optimizer 'opt' is \(Adam\): .* among \['net'\]\. Write opt=\(optimizer, 'net'\)",
    ),
    "a tuple of one": (
        lambda adam: {"net": plain(), "opt": (adam,)},
        r"The optimizer 'opt' is \(Adam\): .*Write opt=\(optimizer, 'net'\)",
    ),
    "no such part": (
        lambda adam: {"net": plain(), "opt": (adam, "nett")},
        r"The optimizer 'opt' is \(Adam, 'nett'\): .* among \['net'\]",
    ),
    "a seed is not trained": (
        lambda adam: {"seed": keras.random.SeedGenerator(1), "opt": (adam, "seed")},
        r"The optimizer 'opt' is \(Adam, 'seed'\): .* among \[\]",
    ),
    "a variable instead of a name": (
        lambda adam: {"net": plain(), "opt": (adam, 3)},
        r"The optimizer 'opt' is \(Adam, 3\)",
    ),
    "an optimizer by its name": (
        lambda adam: {"net": plain(), "opt": ("adam", "net")},
        r"The optimizer 'opt' is \(str, 'net'\): expected an optimizer and names",
    ),
    "frozen": (
        lambda adam: {"frozen": frozen(), "opt": (adam, "frozen")},
        r"to train 'frozen', which has no trainable variables: .*frozen\.trainable = True",
    ),
    "a frozen variable": (
        lambda adam: {"beta": keras.Variable(1.0, trainable=False), "opt": (adam, "beta")},
        r"to train 'beta', which has no trainable variables",
    ),
    "an optimizer of another model": (
        lambda adam: {"net": plain(), "opt": (used(), "net")},
        r"'opt' has trained other variables before: pass a new one, opt=\(Adam\(\.\.\.\)",
    ),
    "one optimizer twice": (
        lambda adam: {"a": plain(), "b": plain(), "one": (adam, "a"), "two": (adam, "b")},
        r"'one' and 'two' share one optimizer: .*two=\(optimizer, 'encoder', 'decoder'\)",
    ),
    "not built": (
        lambda adam: {"net": keras.Sequential([keras.layers.Dense(1)])},
        r"The part 'net' is not built, .*keras\.Input\(shape\).*net\(x\[:1\]\)",
    ),
    "a list": (
        lambda adam: {"nets": [plain()]},
        r"The part 'nets' is a list: expected a Keras layer or model",
    ),
    "a number": (lambda adam: {"beta": 0.5}, r"The part 'beta' is a float: .*keras\.Variable"),
    "a name of Model": (
        lambda adam: {"layers": plain()},
        r"keras\.Model uses the name 'layers' itself: .*my_layers=",
    ),
    "a name that fit sets": (
        lambda adam: {"history": plain()},
        r"keras\.Model uses the name 'history' itself",
    ),
    "a name of State": (
        lambda adam: {"trained_by": plain()},
        r"uses the name 'trained_by' itself",
    ),
    "the name of the optimizer": (
        lambda adam: {"net": plain(), "optimizer": (adam, "net")},
        r"uses the name 'optimizer' itself: .*my_optimizer=",
    ),
    "a private name": (lambda adam: {"_x": plain()}, r"uses the name '_x' itself: .*my_x="),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_parts_are_refused_with_the_line_to_change(wrong):
    make, message = WRONG[wrong]
    with pytest.raises(ValueError, match=message):
        loop.State(**make(keras.optimizers.Adam()))


def test_two_optimizers_on_one_variable_are_refused_and_the_variable_is_named():
    net, adam, sgd = plain(), keras.optimizers.Adam(), keras.optimizers.SGD()
    path = net.trainable_variables[0].path
    with pytest.raises(ValueError, match=f"'a' and 'b' share {path}: "):
        loop.State(net=net, a=(adam, "net"), b=(sgd, "net"))
    assert not adam.built
    assert not sgd.built
