"""docs/quirks.md, row by row: Keras does it, we do the same, strict refuses it."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import loop

pytestmark = pytest.mark.filterwarnings("ignore:.*(ran out of data|shuffle=True).*:UserWarning")
X = np.random.default_rng(1).normal(size=(40, 3)).astype("float32")
Y = (X.sum(1) > 0).astype("int64")


def new_model(outputs=1, loss="mse"):
    keras.backend.clear_session()
    keras.utils.set_random_seed(6)
    activation = "softmax" if "cross" in loss else None
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(outputs, activation)])
    model.compile("sgd", loss)
    return model


def both(arguments, **of_model):
    """What Keras did and what we did; asserts that it is the same."""
    results = []
    for fit in (keras.Model.fit, loop.fit):
        model = new_model(**of_model)
        try:
            history = fit(model, **{"verbose": 0, **arguments()}).history
        except Exception as error:  # whatever Keras raises, we raise too
            history = type(error)
        results.append((repr(history), [one.numpy().tobytes() for one in model.variables]))
    assert results[0] == results[1]
    return history, model


def refused(arguments, match, **of_model):
    """strict raises before a weight has moved, by the argument and by the block."""
    model = new_model(**of_model)
    before = [one.numpy().tobytes() for one in model.variables]
    with pytest.raises(ValueError, match=match):
        loop.fit(model, verbose=0, strict=True, **arguments())
    with loop.strict(), pytest.raises(ValueError, match=match):
        loop.fit(model, verbose=0, **arguments())
    assert before == [one.numpy().tobytes() for one in model.variables]


def dataset():
    return tf.data.Dataset.from_tensor_slices((X, Y[:, np.newaxis])).batch(8)


def test_every_row_of_the_page_has_its_test():
    page = (Path(__file__).parents[2] / "docs" / "quirks.md").read_text()
    named = set(re.findall(r"`(test_\w+)` \|", page))
    here = {name for name in globals() if name.startswith("test_")}
    assert named == here - {
        "test_every_row_of_the_page_has_its_test",
        "test_what_is_in_order_trains_the_same_when_strict",
        "test_strictness_ends_with_its_block",
    }


@pytest.mark.long
def test_a_generator_that_ends_is_replayed_from_its_first_two_batches():
    drawn = []

    def batches():
        for start in range(0, 40, 8):
            drawn.append(start)
            yield X[start : start + 8], Y[start : start + 8]

    class Counting(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.steps = []

        def on_epoch_begin(self, epoch, logs=None):
            self.steps.append(0)

        def on_train_batch_end(self, batch, logs=None):
            self.steps[-1] += 1

    counting = Counting()

    def arguments():
        return {"x": batches(), "epochs": 3, "shuffle": False, "callbacks": [counting]}

    both(arguments)
    assert counting.steps == [5, 2, 2] * 2
    refused(arguments, "first two batches")


@pytest.mark.long
def test_an_empty_dataset_gives_an_empty_history():
    def arguments():
        return {"x": dataset().take(0), "epochs": 2, "shuffle": False}

    history, _ = both(arguments)
    assert not any(history.values())
    refused(arguments, "no batch")


@pytest.mark.sampled
@pytest.mark.parametrize("split", [-0.5, 1.5])
def test_a_validation_split_outside_of_0_and_1_cuts_elsewhere(split):
    def arguments():
        return {"x": X, "y": Y, "validation_split": split}

    both(arguments)
    refused(arguments, "from 0 to 1")


@pytest.mark.long
def test_a_split_beside_validation_data_is_ignored():
    def arguments():
        return {"x": X, "y": Y, "validation_split": 0.5, "validation_data": (X, Y)}

    _, model = both(arguments)
    assert model.optimizer.iterations == 2, "on all 40 samples"
    refused(arguments, "ignore the split")


@pytest.mark.long
def test_class_weights_with_keys_of_text_are_ignored():
    def arguments():
        return {"x": X, "y": Y, "class_weight": {"0": 5.0, "1": 7.0}}

    weighted, _ = both(arguments)
    by_one, _ = both(lambda: {"x": X, "y": Y, "class_weight": {0: 1.0, 1: 1.0}})
    assert weighted == by_one
    refused(arguments, "no class")


@pytest.mark.long
def test_class_weights_of_unknown_classes_are_ignored():
    def arguments():
        return {"x": X, "y": Y, "class_weight": {0: 1.0, 1: 1.0, 9: 100.0}}

    weighted, _ = both(arguments)
    plain, _ = both(lambda: {"x": X, "y": Y, "class_weight": {0: 1.0, 1: 1.0}})
    assert weighted == plain
    refused(arguments, r"weights for \[9\]")


@pytest.mark.long
def test_a_class_beyond_the_weights_fails_in_a_kernel_on_a_dataset():
    def arguments():
        return {"x": dataset(), "class_weight": {0: 2.0}, "shuffle": False}

    raised, _ = both(arguments)
    assert issubclass(raised, tf.errors.InvalidArgumentError)
    refused(arguments, "has no weight for the class 1")


@pytest.mark.long
def test_labels_out_of_range_fail_in_a_kernel():
    def arguments():
        return {"x": X, "y": np.where(Y, 7, 0)}

    of_model = {"outputs": 3, "loss": "sparse_categorical_crossentropy"}
    raised, _ = both(arguments, **of_model)
    assert issubclass(raised, tf.errors.InvalidArgumentError)
    refused(arguments, "classes 0 to 2", **of_model)


@pytest.mark.sampled
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_in_the_data_is_trained_on(value):
    broken = X.copy()
    broken[3, 1] = value

    def arguments():
        return {"x": broken, "y": Y}

    _, model = both(arguments)
    assert np.isnan(model.layers[0].kernel.numpy()).all()
    refused(arguments, "x holds NaN or infinity")


@pytest.mark.long
def test_a_loss_of_nan_is_trained_on():
    def arguments():
        return {"x": X, "y": np.full((40, 1), 3e38), "epochs": 2}

    history, _ = both(arguments)
    assert np.isinf(history["loss"]).all() or np.isnan(history["loss"]).all()
    with pytest.raises(ValueError, match=r"The loss is (nan|inf) after epoch 1"):
        loop.fit(new_model(), verbose=0, strict=True, **arguments())
    with loop.strict(), pytest.raises(ValueError, match="Divide the learning rate by ten"):
        loop.fit(new_model(), verbose=0, **arguments())


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:You are using a softmax over axis -1")
def test_a_softmax_over_one_unit_predicts_the_same_for_all():
    of_model = {"outputs": 1, "loss": "binary_crossentropy"}
    _, model = both(lambda: {"x": X, "y": Y, "epochs": 2}, **of_model)
    np.testing.assert_allclose(model.predict(X, verbose=0), 1.0, rtol=1e-5)  # rounding only
    refused(lambda: {"x": X, "y": Y}, "softmax over a single unit", **of_model)


@pytest.mark.long
def test_a_crossentropy_clips_what_is_no_probability():
    def linear(loss):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        model.compile("sgd", loss)
        return model

    for name in ("sparse_categorical_crossentropy", keras.losses.SparseCategoricalCrossentropy()):
        losses = []
        for fit in (keras.Model.fit, loop.fit):
            keras.utils.set_random_seed(6)
            losses.append(fit(linear(name), X, Y, verbose=0).history["loss"])
        assert losses[0] == losses[1]
        with pytest.raises(ValueError, match="from_logits=True"):
            loop.fit(linear(name), X, Y, verbose=0, strict=True)
    of_logits = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    loop.fit(linear(of_logits), X, Y, verbose=0, strict=True)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Early stopping conditioned on metric")
def test_a_monitor_without_validation_does_nothing():
    def arguments():
        return {"x": X, "y": Y, "epochs": 3, "callbacks": [keras.callbacks.EarlyStopping()]}

    history, _ = both(arguments)
    assert len(history["loss"]) == 3
    refused(arguments, "EarlyStopping monitors 'val_loss', but there is no validation")
    loop.fit(new_model(), verbose=0, strict=True, validation_split=0.2, **arguments())


@pytest.mark.long
def test_targets_of_another_shape_are_stretched():
    def arguments():
        return {"x": X, "y": np.stack([Y, Y, Y], axis=1).astype("float32")}

    history, _ = both(arguments)
    assert np.isfinite(history["loss"][0])
    refused(arguments, "stretch")


@pytest.mark.long
def test_shuffle_is_ignored_for_a_dataset():
    shuffled, _ = both(lambda: {"x": dataset(), "shuffle": True})
    kept, _ = both(lambda: {"x": dataset(), "shuffle": False})
    assert shuffled == kept
    refused(lambda: {"x": dataset()}, "shuffle=True would be ignored")


def test_a_batch_size_is_ignored_for_a_dataset():
    def arguments():
        return {"x": dataset(), "shuffle": False, "batch_size": 40}

    _, model = both(arguments)
    assert model.optimizer.iterations == 5
    refused(arguments, "batch_size=40 would be ignored")


def test_an_endless_dataset_trains_without_end():
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 23  # far beyond a pass

    def arguments():
        return {"x": dataset().repeat(), "shuffle": False, "callbacks": [Stop()]}

    _, model = both(arguments)
    assert model.optimizer.iterations == 24
    refused(arguments, "never end")


@pytest.mark.long
def test_an_epoch_that_was_restored_once_is_left_behind(tmp_path):
    class Crash(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    def train(fit, folder):
        model = new_model()
        backup = keras.callbacks.BackupAndRestore(folder)
        given = {"x": X, "y": Y, "epochs": 3, "verbose": 0}
        with pytest.raises(KeyboardInterrupt):
            fit(model, **given, callbacks=[backup, Crash()])
        fit(model, **given, callbacks=[keras.callbacks.BackupAndRestore(folder)])
        return model, fit(model, **given).epoch  # without any backup

    _, theirs = train(keras.Model.fit, tmp_path / "keras")
    model, ours = train(loop.fit, tmp_path / "loop")
    assert theirs == ours
    assert len(ours) < 3
    with pytest.raises(ValueError, match="left behind"):
        loop.fit(model, X, Y, verbose=0, strict=True)


@pytest.mark.long
def test_schedule_free_adamw_begins_at_weights_of_zero():
    def copies(fit, build):
        model = new_model()
        model.compile(keras.optimizers.ScheduleFreeAdamW(0.0), "mse")  # no weight moves
        if build:
            model.optimizer.build(model.trainable_variables)
        fit(model, X, Y, verbose=0)
        copy = next(v for v in model.optimizer.variables if v.path.endswith("kernel_momentum"))
        return copy.numpy(), model.weights[0].numpy()

    for fit in (keras.Model.fit, loop.fit):
        assert not any(values.any() for values in copies(fit, build=False))
        copy, weights = copies(fit, build=True)
        assert weights.any()
        np.testing.assert_array_equal(copy, weights)
    model = new_model()
    model.compile(keras.optimizers.ScheduleFreeAdamW(), "mse")
    with pytest.raises(ValueError, match=r"optimizer\.build\(model\.trainable_variables\)"):
        loop.fit(model, X, Y, verbose=0, strict=True)
    model.optimizer.build(model.trainable_variables)
    loop.fit(model, X, Y, verbose=0, strict=True)


@pytest.mark.long
def test_what_is_in_order_trains_the_same_when_strict():
    for arguments in (
        {"x": X, "y": Y, "epochs": 2, "validation_split": 0.2, "class_weight": {0: 1.0, 1: 2.0}},
        {"x": X, "y": Y[:, np.newaxis], "batch_size": 8},
        {"x": dataset(), "shuffle": False, "epochs": 2},
    ):
        lax = loop.fit(new_model(), verbose=0, **arguments).history
        assert loop.fit(new_model(), verbose=0, strict=True, **arguments).history == lax
    of_classes = new_model(outputs=3, loss="crossentropy")  # the shape of y says which
    loop.fit(of_classes, X, Y, verbose=0, strict=True)


def test_strictness_ends_with_its_block():
    with loop.strict():
        pass
    loop.fit(new_model(), dataset(), verbose=0)  # shuffle=True: ignored again
