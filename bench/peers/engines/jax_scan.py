"""JAX alone: a whole epoch is one compiled call, a `lax.scan` over its batches."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bench.peers.workload import (
    BETA_1,
    BETA_2,
    EPSILON,
    LEARNING_RATE,
    SEED,
    Train,
    data,
    initial_weights,
)

Weights = list[jax.Array]


class State(NamedTuple):
    """The state of training: weights, both moments of Adam, the number of steps."""

    weights: Weights
    means: Weights
    squares: Weights
    steps: jax.Array


def forward(weights: Weights, x: jax.Array) -> jax.Array:
    """Return logits `[batch, 1]`; the sigmoid is part of the loss, as in Keras's graph."""
    kernel_1, bias_1, kernel_2, bias_2 = weights
    return jax.nn.relu(x @ kernel_1 + bias_1) @ kernel_2 + bias_2


def objective(weights: Weights, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the binary crossentropy, and how many predictions of the batch are right."""
    logits = forward(weights, x)
    loss = jnp.mean(jnp.maximum(logits, 0) - logits * y + jnp.log1p(jnp.exp(-jnp.abs(logits))))
    return loss, jnp.sum((logits > 0) == (y > 0.5))


def adam(state: State, gradients: Weights) -> State:
    """Apply one update, by the formula of Keras's Adam."""
    steps = state.steps + 1
    rate = LEARNING_RATE * jnp.sqrt(1 - BETA_2**steps) / (1 - BETA_1**steps)
    means = jax.tree.map(lambda m, g: m + (g - m) * (1 - BETA_1), state.means, gradients)
    squares = jax.tree.map(lambda v, g: v + (g * g - v) * (1 - BETA_2), state.squares, gradients)
    weights = jax.tree.map(
        lambda w, m, v: w - rate * m / (jnp.sqrt(v) + EPSILON), state.weights, means, squares
    )
    return State(weights, means, squares, steps)


@partial(jax.jit, static_argnames="batch_size", donate_argnums=0)
def run_epoch(
    state: State, key: jax.Array, x: jax.Array, y: jax.Array, batch_size: int
) -> tuple[State, jax.Array, jax.Array]:
    """Train one epoch in a new order; return the state, the mean loss and the accuracy."""
    order = jax.random.permutation(key, len(x))
    batches = [array[order].reshape(-1, batch_size, array.shape[-1]) for array in (x, y)]

    def step(state: State, batch: list[jax.Array]) -> tuple[State, tuple[jax.Array, jax.Array]]:
        graded = jax.value_and_grad(objective, has_aux=True)(state.weights, *batch)
        (loss, right), gradients = graded
        return adam(state, gradients), (loss, right)

    state, (losses, right) = jax.lax.scan(step, state, batches)
    return state, jnp.mean(losses), jnp.sum(right) / len(x)


def prepare(samples: int, epochs: int, batch_size: int) -> Train:
    """Prepare a fit of one compiled call an epoch; all samples are on the device beforehand."""
    x, y = map(jnp.asarray, data(samples))
    weights = [jnp.asarray(weight) for weight in initial_weights()]
    means, squares = ([jnp.zeros_like(weight) for weight in weights] for _ in range(2))
    state = State(weights, means, squares, jnp.zeros((), jnp.int32))
    key = jax.random.key(SEED)

    def train() -> float:
        nonlocal state, key
        history = []
        for _ in range(epochs):
            key, this_epoch = jax.random.split(key)
            state, loss, accuracy = run_epoch(state, this_epoch, x, y, batch_size)
            history.append((float(loss), float(accuracy)))  # waits for the epoch
        return history[-1][0]

    return train
