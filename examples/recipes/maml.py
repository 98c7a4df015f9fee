"""Train weights that one gradient step adapts to a new task.

For many small tasks of one kind: here each task is a sine wave of its own, known at ten points.
The gradient runs through the step that adapts (Finn, Abbeel and Levine, 2017, MAML).
"""

import sys

import keras
import numpy as np
import tensorflow as tf

import loop

KNOWN, RATE = 10, 0.02  # points of a task to adapt to, the others judge; the rate of that step

CLAIM = (
    "error on new waves after one step: {meta:.2f}; {joint:.2f} if one network "
    "was trained on all waves"
)
HOLDS = {"meta": (0.0, 1.2), "joint": (3.0, 10.0)}


def build():
    """Return a network `[points, 1] -> [points, 1]` and its optimizer."""
    hidden = [keras.layers.Dense(40, "relu") for _ in range(2)]
    network = keras.Sequential([keras.Input((1,)), *hidden, keras.layers.Dense(1)])
    return loop.State(network=network, opt=(keras.optimizers.Adam(0.002), "network"))


def tasks(number, seed):
    """Return sine waves of random height and phase at random points, `[tasks, points, 1]` each."""
    random = np.random.default_rng(seed)
    height = random.uniform(0.5, 5.0, (number, 1, 1))
    phase = random.uniform(0.0, np.pi, (number, 1, 1))
    x = random.uniform(-5.0, 5.0, (number, 2 * KNOWN, 1))
    return x.astype("float32"), (height * np.sin(x - phase)).astype("float32")


def data():
    x, y = tasks(500, seed=0)
    return {"x": x, "y": y, "batch_size": 25, "epochs": 2}


def error(network, weights, x, y):
    """Return the mean squared error of the network with these weights: a scalar."""
    y_pred, _ = network.stateless_call(weights, [], x)
    return tf.reduce_mean(tf.square(y - y_pred))


def adapted(network, weights, x, y):
    """Return the weights after one gradient step on a task."""
    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss = error(network, weights, x, y)
    gradients = tape.gradient(loss, weights)
    return [weight - RATE * gradient for weight, gradient in zip(weights, gradients)]


def mean_error(network, x, y):
    """Return the error of the adapted weights on the other points, averaged over the tasks."""
    weights = [tf.convert_to_tensor(weight) for weight in network.trainable_weights]

    def of_task(task):
        x, y = task
        new = adapted(network, weights, x[:KNOWN], y[:KNOWN])
        return error(network, new, x[KNOWN:], y[KNOWN:])

    return tf.reduce_mean(tf.vectorized_map(of_task, (x, y)))


def step(state, batch):
    x, y = batch
    network = state.network
    loss = loop.minimize(
        lambda: mean_error(network, x, y), state.optimizer, network.trainable_weights
    )
    return {"loss": loop.mean(loss)}


def claim(plot=None):
    """Compare with the same network trained on the points of all tasks, whichever their wave."""
    keras.utils.set_random_seed(0)
    x, y = tasks(10_000, seed=1)
    meta, joint = build(), build().network
    loop.fit(meta, x, y, batch_size=25, epochs=6, train_step=step, verbose=0)
    joint.compile(keras.optimizers.Adam(0.002), "mse")
    loop.fit(joint, x.reshape(-1, 1), y.reshape(-1, 1), batch_size=500, epochs=5, verbose=0)
    networks = {"meta": meta.network, "joint": joint}
    new = [tf.constant(part) for part in tasks(500, seed=2)]
    if plot:
        draw(networks, plot)
    return {name: float(mean_error(network, *new)) for name, network in networks.items()}


def draw(networks, path):
    """Draw a new wave, ten points of it, and each network before and after one step on them."""
    from matplotlib.figure import Figure

    x, y = (tf.constant(part[0]) for part in tasks(1, seed=5))
    line = tf.linspace(-5.0, 5.0, 200)[:, None]
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, len(networks), sharey=True)
    for axis, (name, network) in zip(axes, networks.items()):
        weights = [tf.convert_to_tensor(weight) for weight in network.trainable_weights]
        after = adapted(network, weights, x[:KNOWN], y[:KNOWN])
        for label, used in {"before": weights, "after one step": after}.items():
            axis.plot(line, network.stateless_call(used, [], line)[0], label=label)
        axis.plot(x[:KNOWN], y[:KNOWN], "k.", label="ten points of a new wave")
        axis.set_title(name)
    axes[0].legend()
    figure.savefig(path)


if __name__ == "__main__":
    print(CLAIM.format(**claim(*sys.argv[1:])))
