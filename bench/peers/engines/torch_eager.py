"""PyTorch without a compiler: a hand-written loop over data in memory."""

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from bench.peers.workload import (
    BETA_1,
    BETA_2,
    EPSILON,
    FEATURES,
    LEARNING_RATE,
    SEED,
    UNITS,
    Train,
    data,
    initial_weights,
)


def build_model() -> nn.Sequential:
    """Return the model up to its logits; the sigmoid is part of the loss."""
    torch.manual_seed(SEED)
    model = nn.Sequential(nn.Linear(FEATURES, UNITS), nn.ReLU(), nn.Linear(UNITS, 1))
    with torch.no_grad():
        for parameter, weights in zip(model.parameters(), initial_weights(), strict=True):
            parameter.copy_(torch.from_numpy(weights.T))  # Linear keeps `[out, in]`
    return model


def build_optimizer(model: nn.Module) -> torch.optim.Adam:
    """Return Adam with Keras's defaults, as one fused kernel: PyTorch's fastest."""
    rates = {"lr": LEARNING_RATE, "betas": (BETA_1, BETA_2), "eps": EPSILON}
    return torch.optim.Adam(model.parameters(), **rates, fused=True)


def prepare(samples: int, epochs: int, batch_size: int) -> Train:
    """Prepare a fit without a DataLoader: an epoch is gathered once, batches are views of it."""
    x, y = map(torch.from_numpy, data(samples))
    model = build_model()
    optimizer = build_optimizer(model)

    def run_epoch() -> tuple[float, float]:
        order = torch.randperm(samples)
        total, right = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        batches = zip(x[order].split(batch_size), y[order].split(batch_size), strict=True)
        for x_batch, y_batch in batches:
            logits = model(x_batch)
            loss = binary_cross_entropy_with_logits(logits, y_batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
            right += ((logits.detach() > 0) == (y_batch > 0.5)).sum()
        return total.item() * batch_size / samples, right.item() / samples

    def train() -> float:
        history = [run_epoch() for _ in range(epochs)]
        return history[-1][0]

    return train
