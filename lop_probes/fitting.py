"""Fitting: how far a network gets with a fixed problem in a given number of updates."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lopgym.probes.recording import undisturbed


@dataclass(frozen=True)
class Problem:
    """Something to learn that does not change while it is learned: no bootstrapping, no exploration.

    Args:
        samples: number of samples N.
        loss: the mean loss of a network on chosen samples; rows (n,), integers below N, say which.
    """

    samples: int
    loss: Callable[[nn.Module, Tensor], Tensor]

    def asked_of(self, network: nn.Module) -> Problem:
        """Return the problem as it is put to `network`, which is about to learn it: here, to all of them alike."""
        return self


@dataclass(frozen=True)
class Trainee:
    """A network with the optimizer that trains it."""

    network: nn.Module
    optimizer: Optimizer

    def copy(self) -> Trainee:
        """Return a copy of both, moments and step counts included, in which the one still trains the other.

        Hooks of the optimizer stay behind: they are somebody's who watches the original.
        """
        return Trainee(*copy.deepcopy((self.network, self.optimizer)))


@dataclass(frozen=True)
class Budget:
    """How much training there is.

    Args:
        updates: gradient steps K.
        batch_size: samples in each, drawn with replacement.
        max_grad_norm: longest gradient; longer ones are scaled down to it.
    """

    updates: int = 100
    batch_size: int = 32
    max_grad_norm: float = math.inf


def fit(trainee: Trainee, problem: Problem, budget: Budget, seed: int) -> tuple[float, float]:
    """Train `trainee` itself on `problem`; return its loss on all samples before and after.

    Minibatches and dropout come from `seed`; nobody else's random numbers are used up. The losses are those of
    evaluation: without dropout.
    """
    before = whole_loss(trainee.network, problem)
    devices = {p.device for p in trainee.network.parameters() if p.is_cuda}
    with torch.enable_grad(), torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        trainee.network.train()
        for _ in range(budget.updates):
            _update(trainee, problem, torch.randint(problem.samples, (budget.batch_size,)), budget.max_grad_norm)
    return before, whole_loss(trainee.network, problem)


def whole_loss(network: nn.Module, problem: Problem) -> float:
    """Return the mean loss over all samples, and leave no trace."""
    with undisturbed(network):
        return problem.loss(network, torch.arange(problem.samples)).item()


def _update(trainee: Trainee, problem: Problem, rows: Tensor, max_grad_norm: float) -> None:
    trainee.optimizer.zero_grad()
    torch.autograd.backward(problem.loss(trainee.network, rows))
    torch.nn.utils.clip_grad_norm_(trainee.network.parameters(), max_grad_norm)
    trainee.optimizer.step()
