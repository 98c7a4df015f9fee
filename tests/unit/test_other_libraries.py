"""Callbacks of other libraries, unchanged, on model.fit and on loop.fit: they must see the same."""

import io
import os
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import loop

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries, not ours
STEPS, EPOCHS = 4, 3


def new_model():
    keras.backend.clear_session()
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(1, "sigmoid")])
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    return model


def data():
    random = np.random.default_rng(3)
    x = random.normal(size=(STEPS * 32, 10)).astype("float32")
    y = (x.sum(1) > 0).astype("int64")
    return {"x": x, "y": y, "validation_data": (x[:50], y[:50])}


def under_both(train):
    """What `train(fit)` returns under Keras, and under us."""
    return train(keras.Model.fit), train(loop.fit)


def fitted(fit, *callbacks, **arguments):
    model = new_model()
    given = {"epochs": EPOCHS, "verbose": 0, "callbacks": list(callbacks), **data(), **arguments}
    history = fit(model, **given).history
    return model, history


@pytest.mark.long
def test_tqdm_shows_the_same_bars():
    from tqdm.keras import TqdmCallback

    def train(fit):
        shown = io.StringIO()
        fitted(fit, TqdmCallback(verbose=2, tqdm_class=quiet_bar(shown)))
        # Without its clock: bars, counts and metrics.
        return re.findall(r"\d+/\d+|\w+=[\d.e+-]+", shown.getvalue())

    keras_bars, ours = under_both(train)
    assert keras_bars == ours
    assert f"{EPOCHS}/{EPOCHS}" in ours
    assert len(ours) > EPOCHS * STEPS, "a line for each batch"


def quiet_bar(file):
    from tqdm.std import tqdm

    class Bar(tqdm):
        def __init__(self, *arguments, **options):
            options.update(file=file, bar_format="{n_fmt}/{total_fmt} {postfix}", mininterval=0)
            super().__init__(*arguments, **{**options, "miniters": 1})

    return Bar


@pytest.mark.sampled
@pytest.mark.parametrize("update_freq", ["epoch", "batch", 3])
def test_tensorboard_writes_the_same_scalars_and_histograms(update_freq, tmp_path):
    def train(fit):
        folder = tmp_path / fit.__module__
        board = keras.callbacks.TensorBoard(folder, histogram_freq=1, update_freq=update_freq)
        fitted(fit, board)
        return written(folder)

    theirs, ours = under_both(train)
    assert theirs == ours
    assert {"epoch_loss", "evaluation_loss_vs_iterations"} <= {tag for _, tag, _, _ in ours}
    per_batch = [tag for _, tag, _, _ in ours if tag.startswith("batch_")]
    assert bool(per_batch) == (update_freq != "epoch")


def written(folder):
    """Scalars and tensors in the event files: file, tag, step, value; no clocks, no graphs."""
    found = []
    for path in sorted(folder.rglob("*tfevents*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.tag not in ("keras", "epoch_steps_per_second", "batch_steps_per_second"):
                    shown = value.tensor.SerializeToString()
                    found.append((path.parent.name, value.tag, event.step, shown))
    return found


@pytest.mark.long
def test_wandb_logs_the_same(tmp_path, monkeypatch):
    import wandb
    from wandb.integration.keras import WandbMetricsLogger

    def train(fit):
        settings = wandb.Settings(mode="offline", silent=True, console="off")
        with wandb.init(dir=tmp_path, settings=settings) as run:
            seen = []
            log = wandb.log
            with monkeypatch.context() as patch:
                patch.setattr(wandb, "log", lambda logs: (seen.append(dict(logs)), log(logs)))
                fitted(fit, WandbMetricsLogger(log_freq="batch"))
            return seen, dict(run.summary)

    theirs, ours = under_both(train)
    assert drop_clocks(theirs) == drop_clocks(ours)
    assert len(ours[0]) >= EPOCHS * STEPS


def drop_clocks(seen):
    logged, summary = seen
    return logged, {key: value for key, value in summary.items() if not key.startswith("_")}


@pytest.mark.long
def test_mlflow_records_the_same_metrics(tmp_path):
    import mlflow
    from mlflow.keras import MlflowCallback

    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    mlflow.set_tracking_uri(f"file:{tmp_path}")
    mlflow.set_experiment("the same fit twice")
    client = mlflow.MlflowClient()

    def train(fit):
        with mlflow.start_run() as run:
            fitted(fit, MlflowCallback(log_every_n_steps=2, log_every_epoch=False))
        metrics = client.get_run(run.info.run_id).data.metrics
        recorded = {name: client.get_metric_history(run.info.run_id, name) for name in metrics}
        return {
            name: sorted((one.step, one.value) for one in points)
            for name, points in recorded.items()
        }

    theirs, ours = under_both(train)
    assert theirs == ours
    assert len(ours["loss"]) == EPOCHS * STEPS // 2


@pytest.mark.long
def test_optuna_prunes_the_same_trials():
    import optuna
    from optuna_integration import KerasPruningCallback

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def train(fit):
        study = optuna.create_study(
            sampler=optuna.samplers.RandomSampler(seed=4),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=0),
        )

        def objective(trial):
            model = new_model()
            model.optimizer.learning_rate = trial.suggest_float("rate", 1e-5, 1e-1, log=True)
            pruning = KerasPruningCallback(trial, "val_loss")
            history = fit(model, **data(), epochs=EPOCHS, verbose=0, callbacks=[pruning])
            return history.history["val_loss"][-1]

        study.optimize(objective, n_trials=3)
        return [(one.state.name, one.intermediate_values, one.value) for one in study.trials]

    theirs, ours = under_both(train)
    assert theirs == ours
    assert "PRUNED" in {state for state, *_ in ours}


def searched(folder, hypermodel):
    import keras_tuner

    tuner = keras_tuner.RandomSearch(
        hypermodel, "val_loss", max_trials=2, seed=5, directory=folder, overwrite=True
    )
    given = data()
    tuner.search(given.pop("x"), given.pop("y"), epochs=2, verbose=0, **given)
    best = tuner.oracle.get_best_trials(2)
    return [(one.hyperparameters.values, one.score) for one in best]


def hypermodel(fit):
    import keras_tuner

    class Hyper(keras_tuner.HyperModel):
        def build(self, hp):
            model = new_model()
            model.optimizer.learning_rate = hp.Float("rate", 1e-3, 1e-1, sampling="log")
            return model

        def fit(self, hp, model, *arguments, **options):
            return fit(model, *arguments, **options)

    return Hyper()


@pytest.mark.long
def test_keras_tuner_finds_the_same_best_trials(tmp_path):
    theirs, ours = under_both(lambda fit: searched(tmp_path / fit.__module__, hypermodel(fit)))
    assert theirs == ours
    with loop.installed():
        unchanged = searched(tmp_path / "installed", hypermodel(keras.Model.fit))
    assert unchanged == theirs


@pytest.mark.long
def test_a_classifier_of_scikit_learn_predicts_the_same_when_installed():
    from keras.wrappers import SKLearnClassifier

    def predictions():
        given = data()
        wrapped = SKLearnClassifier(two_classes, fit_kwargs={"epochs": 3})
        return wrapped.fit(given["x"], given["y"], verbose=0).predict(given["x"])

    theirs = predictions()
    with loop.installed():
        ours = predictions()
    assert len(set(ours)) == 2
    np.testing.assert_array_equal(theirs, ours)


def two_classes(X, y):  # noqa: N803 - scikit-learn's names
    keras.backend.clear_session()
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input(X.shape[1:]), keras.layers.Dense(y.shape[1], "softmax")])
    model.compile("sgd", "categorical_crossentropy")
    return model
