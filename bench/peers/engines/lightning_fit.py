"""Lightning's Trainer over batches in memory; every optional feature is off."""

import logging
from collections.abc import Iterator

import pytorch_lightning as lightning
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from bench.peers.engines.torch_eager import build_model, build_optimizer
from bench.peers.workload import Train, data

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # it logs the devices at every fit


class Batches:
    """Iterates over batches in memory: every epoch in a new order, gathered once."""

    def __init__(self, samples: int, batch_size: int) -> None:
        self.x, self.y = map(torch.from_numpy, data(samples))
        self.batch_size = batch_size

    def __len__(self) -> int:
        return len(self.x) // self.batch_size

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = torch.randperm(len(self.x))
        x, y = self.x[order], self.y[order]
        return zip(x.split(self.batch_size), y.split(self.batch_size), strict=True)


class Module(lightning.LightningModule):
    """The model of the eager peer, with the same sums for its metrics.

    `self.log` is the usual way, but it is slower by far; these sums favour Lightning.
    """

    def __init__(self) -> None:
        super().__init__()
        self.model = build_model()
        self.adam = build_optimizer(self.model)
        self.history: list[tuple[float, float]] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the same optimizer for every fit, so that training goes on."""
        return self.adam

    def on_train_epoch_start(self) -> None:
        """Reset the metrics of the epoch."""
        self.losses, self.right = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        self.samples = 0

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Return the loss of a batch, and add it to the metrics."""
        x, y = batch
        logits = self.model(x)
        loss = binary_cross_entropy_with_logits(logits, y)
        self.losses += loss.detach() * len(x)
        self.right += ((logits.detach() > 0) == (y > 0.5)).sum()
        self.samples += len(x)
        return loss

    def on_train_epoch_end(self) -> None:
        """Append the logs of the epoch."""
        self.history.append((self.losses.item() / self.samples, self.right.item() / self.samples))


def prepare(samples: int, epochs: int, batch_size: int) -> Train:
    """Prepare a fit by a new `barebones` Trainer: no logger, checkpoints, bar or summary."""
    batches = Batches(samples, batch_size)
    module = Module()

    def train() -> float:
        trainer = lightning.Trainer(accelerator="cpu", devices=1, max_epochs=epochs, barebones=True)
        trainer.fit(module, batches)
        return module.history[-1][0]

    return train
