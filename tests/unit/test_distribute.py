"""Models under a strategy, in a process of their own: its devices must be made before all else."""

import subprocess
import sys

import pytest
from children import quick_start

TRAIN = """
import sys
import compare
import keras, loop, numpy as np, tensorflow as tf
from compare.recording.recorder import as_array

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
layers = keras.layers
x = np.random.default_rng(0).normal(size=(42, 6)).astype("float32")
y = (x.sum(1) > 0).astype("int64")

def train(fit, evaluate, predict, data):
    keras.backend.clear_session()
    keras.utils.set_random_seed(3)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    whole = data is arrays  # the other kinds of data train a smaller model, and that is all
    with strategy.scope():
        model = keras.Sequential([
            layers.BatchNormalization(), layers.Dropout(0.2),
            layers.Dense(1, "sigmoid", kernel_regularizer="l2")])
        metrics = ["accuracy"] * whole
        model.compile("adam" if whole else "sgd", "binary_crossentropy", metrics=metrics)
    validation = {"validation_data": (x[:20], y[:20])} if whole else {}
    history = fit(model, **data(strategy), epochs=2, verbose=0, **validation)
    after = []
    if whole:
        after = [evaluate(model, x, y, verbose=0), predict(model, x, verbose=0).tobytes()]
    state = [as_array(one).tobytes() for one in model.variables + model.optimizer.variables]
    return history.history, after, state

def arrays(_):
    return {"x": x, "y": y, "batch_size": 16, "shuffle": True}

def dataset(_):
    return {"x": tf.data.Dataset.from_tensor_slices((x, y)).batch(16), "shuffle": False}

def distributed(strategy):
    batches = dataset(strategy)["x"]
    return {"x": strategy.experimental_distribute_dataset(batches), "shuffle": False}

for data in (arrays, dataset, distributed):
    # One step an execution: with two, Keras fails here itself.
    theirs = train(keras.Model.fit, keras.Model.evaluate, keras.Model.predict, data)
    ours = train(loop.fit, loop.evaluate, loop.predict, data)
    assert theirs == ours, (data, theirs[:2], ours[:2])
    print("same", data.__name__)
"""


@pytest.mark.long
@pytest.mark.timeout(300)
def test_two_replicas_train_evaluate_and_predict_the_same():
    command = [sys.executable, "-c", TRAIN]
    done = subprocess.run(command, capture_output=True, text=True, env=quick_start())
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("same") == 3
