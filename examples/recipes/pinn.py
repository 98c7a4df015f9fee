"""Minimize how far a network is from solving a differential equation.

For an equation and its boundary that are known, with few or no measurements: here heat that flows
out of a rod, u_t = D u_xx (Raissi, Perdikaris and Karniadakis, 2019, physics-informed networks).
"""

import sys

import keras
import numpy as np
import tensorflow as tf

import loop

D = 0.05  # how fast heat flows

CLAIM = "relative error of the temperature over the whole rod and time: {error:.2%}"
HOLDS = {"error": (0.0, 0.02)}


def build():
    """Return a network `[points, (time, place)] -> [points, 1]` and its optimizer."""
    hidden = [keras.layers.Dense(32, "tanh") for _ in range(3)]
    network = keras.Sequential([keras.Input((2,)), *hidden, keras.layers.Dense(1)])
    rate = keras.optimizers.schedules.CosineDecay(0.005, 3000)
    return loop.State(network=network, opt=(keras.optimizers.Adam(rate), "network"))


def points(number):
    """Return points in time and along the rod, both from 0 to 1: `[points, 2]`."""
    return np.random.default_rng(0).uniform(size=(number, 2)).astype("float32")


def data():
    return {"x": points(2_000), "batch_size": 100, "epochs": 2}


def heat(t, x):
    """Return the temperature `[points, 1]` by the known solution: at t=0, the initial one."""
    slow = tf.exp(-D * np.pi**2 * t) * tf.sin(np.pi * x)
    return slow + 0.5 * tf.exp(-D * (3 * np.pi) ** 2 * t) * tf.sin(3 * np.pi * x)


def residual(network, batch):
    """Return u_t - D u_xx at each point of the batch, `[batch, 1]`."""
    t, x = tf.split(batch, 2, axis=1)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch([t, x])
            u = network(tf.concat([t, x], axis=1))
        u_t, u_x = inner.gradient(u, [t, x])
    return u_t - D * outer.gradient(u_x, x)


def boundary(network, batch):
    """Return how far u is from 0 at both ends, and from the initial heat: `[3 * batch, 1]`."""
    t, x = tf.split(batch, 2, axis=1)
    zero = tf.zeros_like(t)
    ends = [tf.concat([t, zero], axis=1), tf.concat([t, zero + 1.0], axis=1)]
    u = network(tf.concat([*ends, tf.concat([zero, x], axis=1)], axis=0))
    return u - tf.concat([zero, zero, heat(zero, x)], axis=0)


def errors(network, batch):
    """Return what is minimized, and its parts: three scalars."""
    inside = tf.reduce_mean(tf.square(residual(network, batch)))
    outside = tf.reduce_mean(tf.square(boundary(network, batch)))
    return inside + 10.0 * outside, inside, outside


def step(state, x):
    """Minimize the errors at points `[batch, 2]`: without targets, the batch is x alone."""
    weights = state.network.trainable_weights
    loss, inside, outside = loop.minimize(
        lambda: errors(state.network, x), state.optimizer, weights
    )
    return {
        "loss": loop.mean(loss),
        "equation": loop.mean(inside),
        "boundary": loop.mean(outside),
    }


def claim(plot=None):
    """Train without a single measurement; compare with the known solution on a grid."""
    keras.utils.set_random_seed(0)
    state = build()
    loop.fit(state, points(2_000), batch_size=100, epochs=150, train_step=step, verbose=0)
    axis = np.linspace(0, 1, 101, dtype="float32")
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    u, exact = state.network(grid).numpy(), heat(grid[:, :1], grid[:, 1:]).numpy()
    if plot:
        draw(u.reshape(101, 101), exact.reshape(101, 101), plot)
    return {"error": float(np.linalg.norm(u - exact) / np.linalg.norm(exact))}


def draw(u, exact, path):
    """Draw the temperature over time and place, how far it is off, and the rod at three times."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4), layout="constrained")
    axes = figure.subplots(1, 3)
    for axis, title, values in zip(axes, ["temperature", "error"], [u, u - exact]):
        drawn = axis.imshow(values.T, origin="lower", extent=(0, 1, 0, 1), aspect="auto")
        axis.set(title=title, xlabel="time", ylabel="place")
        figure.colorbar(drawn, ax=axis)
    for row in (0, 20, 100):
        [line] = axes[2].plot(np.linspace(0, 1, 101), u[row], label=f"time {row / 100}")
        axes[2].plot(np.linspace(0, 1, 101), exact[row], "--", color=line.get_color())
    axes[2].set(title="network, and exact (dashed)", xlabel="place")
    axes[2].legend()
    figure.savefig(path)


if __name__ == "__main__":
    print(CLAIM.format(**claim(*sys.argv[1:])))
