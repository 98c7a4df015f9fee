"""Move the weights towards those that steps on each task lead to.

For many small tasks of one kind, where MAML's gradient through the adapting steps costs too much:
no second derivative is taken, so the steps may be many (Nichol, Achiam and Schulman, 2018).
"""

import sys

import keras
import numpy as np
import tensorflow as tf

import loop

STEPS, RATE = 8, 0.02  # gradient steps on a task, and their learning rate

CLAIM = "error on new waves after 8 steps: {reptile:.2f}; from random weights {random:.2f}"
HOLDS = {"reptile": (0.0, 1.0), "random": (2.0, 10.0)}


def build():
    """Return a network `[points, 1] -> [points, 1]` and its optimizer."""
    hidden = [keras.layers.Dense(64, "tanh") for _ in range(2)]
    network = keras.Sequential([keras.Input((1,)), *hidden, keras.layers.Dense(1)])
    return loop.State(network=network, opt=(keras.optimizers.Adam(0.001), "network"))


def tasks(number, points, seed):
    """Return sine waves of random height and phase at random points, `[tasks, points, 1]` each."""
    random = np.random.default_rng(seed)
    height = random.uniform(0.5, 5.0, (number, 1, 1))
    phase = random.uniform(0.0, np.pi, (number, 1, 1))
    x = random.uniform(-5.0, 5.0, (number, points, 1))
    return x.astype("float32"), (height * np.sin(x - phase)).astype("float32")


def data():
    x, y = tasks(500, points=10, seed=0)
    return {"x": x, "y": y, "batch_size": 25, "epochs": 2}


def error(network, weights, x, y):
    """Return the mean squared error of the network with these weights: a scalar."""
    y_pred, _ = network.stateless_call(weights, [], x)
    return tf.reduce_mean(tf.square(y - y_pred))


def adapted(network, weights, x, y):
    """Return the weights after gradient steps on a task, and the error before the first step."""
    first = error(network, weights, x, y)
    for _ in range(STEPS):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            loss = error(network, weights, x, y)
        gradients = tape.gradient(loss, weights)
        weights = [weight - RATE * gradient for weight, gradient in zip(weights, gradients)]
    return weights, first


def way_back(network, x, y):
    """Return the way from the mean of the adapted weights back, and the mean error, a scalar."""
    weights = [tf.convert_to_tensor(weight) for weight in network.trainable_weights]
    new, errors = tf.vectorized_map(lambda task: adapted(network, weights, *task), (x, y))
    ways = [old - tf.reduce_mean(weight, axis=0) for old, weight in zip(weights, new)]
    return ways, tf.reduce_mean(errors)


def step(state, batch):
    ways, loss = way_back(state.network, *batch)
    # An optimizer subtracts what it gets: the way back stands in the place of the gradient.
    loop.apply(state.optimizer, ways, state.network.trainable_weights)
    return {"loss": loop.mean(loss)}


def claim(plot=None):
    """Adapt trained and random weights to ten points of new waves; compare on other points."""
    keras.utils.set_random_seed(0)
    x, y = tasks(5_000, points=10, seed=1)
    trained, random = build(), build()
    loop.fit(trained, x, y, batch_size=25, epochs=6, train_step=step, verbose=0)
    networks = {"reptile": trained.network, "random": random.network}
    new = [tf.constant(part) for part in tasks(200, points=60, seed=2)]
    if plot:
        draw(networks, plot)
    return {name: after_adapting(network, *new) for name, network in networks.items()}


def after_adapting(network, x, y):
    """Return the error on all points but ten, after steps on these ten: a mean over tasks."""
    weights = [tf.convert_to_tensor(weight) for weight in network.trainable_weights]

    def of_task(task):
        x, y = task
        new, _ = adapted(network, weights, x[:10], y[:10])
        return error(network, new, x[10:], y[10:])

    return float(tf.reduce_mean(tf.vectorized_map(of_task, (x, y))))


def draw(networks, path):
    """Draw three new waves, ten points of each, and what each network makes of the points."""
    from matplotlib.figure import Figure

    line = tf.linspace(-5.0, 5.0, 200)[:, None]
    figure = Figure(figsize=(12, 4), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    for axis, x, y in zip(axes, *tasks(3, points=10, seed=3)):
        axis.plot(x, y, "k.", label="ten points of a new wave")
        for name, network in networks.items():
            weights = [tf.convert_to_tensor(weight) for weight in network.trainable_weights]
            new, _ = adapted(network, weights, tf.constant(x), tf.constant(y))
            axis.plot(line, network.stateless_call(new, [], line)[0], label=name)
    axes[0].legend()
    figure.savefig(path)


if __name__ == "__main__":
    print(CLAIM.format(**claim(*sys.argv[1:])))
