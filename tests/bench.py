"""A network in training on a regression, for tests of methods that know of clones and frozen units."""

import copy
import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lopgym.agents.chain import hidden_layers
from lopgym.agents.initialisers import torch_default
from lopgym.agents.learner import Learner
from lopgym.agents.mitigations.witness import Witness
from lopgym.agents.network import Halves
from lopgym.probes.captures import Captures
from lopgym.probes.effective_dof import effective_dof

SAMPLES = 128
ROUNDING = {torch.float32: 1e-6, torch.float64: 1e-12}
DTYPES = pytest.mark.parametrize("dtype", [*ROUNDING], ids=["single", "double"])


def crelu() -> nn.Module:
    """Make an activation of two numbers a unit."""
    return Halves(torch.relu, lambda z: torch.relu(-z))


def mlp(activation: Callable[[], nn.Module] = nn.ReLU, sizes: tuple[int, ...] = (6, 8, 8, 3), seed: int = 0):
    """Build a fully connected network."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        wide = 2 if activation is crelu else 1
        maps = [nn.Linear(sizes[0], sizes[1]), *(nn.Linear(wide * i, o) for i, o in itertools.pairwise(sizes[1:]))]
    return nn.Sequential(*(module for m in maps[:-1] for module in (m, activation())), maps[-1]).double()


def conv(seed: int = 0):
    """Build a network of two convolutions and two fully connected layers."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        maps = nn.Conv2d(2, 3, 3), nn.Conv2d(3, 4, 3, stride=2), nn.Linear(16, 5), nn.Linear(5, 2)
    a, b, c, d = maps
    return nn.Sequential(a, nn.ReLU(), b, nn.ReLU(), nn.Flatten(), c, nn.ReLU(), d).double()


def crelu_conv():
    """Build the same with two numbers a unit."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        maps = nn.Conv2d(2, 3, 3), nn.Conv2d(6, 4, 3, stride=2), nn.Linear(32, 5), nn.Linear(10, 2)
    a, b, c, d = maps
    return nn.Sequential(a, crelu(), b, crelu(), nn.Flatten(), c, crelu(), d).double()


def normed(seed: int = 0):
    """Build a network with a norm before each activation."""
    plain = mlp(seed=seed)
    return nn.Sequential(plain[0], nn.LayerNorm(8), plain[1], plain[2], nn.LayerNorm(8), plain[3], plain[4]).double()


NETWORKS = {
    "mlp": (mlp, (6,), 1),
    "conv": (conv, (2, 7, 7), 1),
    "crelu": (lambda: mlp(crelu), (6,), 2),
    "crelu conv": (crelu_conv, (2, 7, 7), 2),
    "layer_norm": (normed, (6,), 1),
}


class Bench:
    """A network in training on a regression, with what the methods need of it."""

    def __init__(self, network: nn.Sequential, shape=(6,), dtype=torch.float64, lr=1e-3, optimizer=torch.optim.SGD):
        """Draw the data."""
        rng = torch.Generator().manual_seed(5)
        self.network = network.to(dtype)
        self.x = torch.randn(SAMPLES, *shape, generator=rng, dtype=torch.float64).to(dtype)
        with torch.no_grad():
            outputs = self.network(self.x).shape[1]
        self.y = torch.randn(SAMPLES, outputs, generator=rng, dtype=torch.float64).to(dtype)
        *body, head = self.network
        self.reports: dict[str, float] = {}
        self.learner = Learner(
            network=self.network,
            target=copy.deepcopy(self.network),
            optimizer=optimizer(self.network.parameters(), lr=lr),
            forward=self.network,
            layers=hidden_layers("q", body, [head], torch_default),
            heads={"q.head": head},
            observations=lambda n: self.x[:n],
            fresh=self.network.state_dict,
            rng=torch.Generator().manual_seed(0),
            report=self._add,
        )

    def _add(self, values):
        for what, value in values.items():
            self.reports[what] = self.reports.get(what, 0.0) + value

    def losses(self, x: Tensor) -> Tensor:
        """Half the squared error of each sample."""
        return (self.network(x) - self.y).square().sum(dim=1) / 2

    def update(self, *methods) -> None:
        """Take one step on all samples."""
        self.learner.updates += 1
        self.learner.optimizer.zero_grad()
        self.losses(self.x).mean().backward()
        self.learner.optimizer.step()
        for method in methods:
            method.after_step(self.learner)

    def captures(self) -> Captures:
        """Return what probes see of all samples."""
        layers = {layer.name: (layer.incoming, layer.activation) for layer in self.learner.layers}
        return Captures(self.network, layers, self.learner.heads, self.x, loss=self.losses)

    def heard(self) -> Witness:
        """Return a pass that was learned from."""
        witness = Witness()
        witness.listen(self.learner.layers)
        self.network.train()
        self.losses(self.x).mean().backward()
        witness.close()
        return witness

    @torch.no_grad()
    def outputs(self) -> Tensor:
        """Return what the network says of all samples."""
        return self.network(self.x)

    def dof(self) -> float:
        """Return the mean share of free parameters over layers."""
        c = self.captures()
        found = effective_dof(c.activations, c.errors, c.inputs, c.weights, c.outgoing)
        return float(np.mean([*found.values()]))


def sweep(bench: Bench, method) -> None:
    """Let a method with a period act now."""
    bench.learner.updates = method.every
    method.after_step(bench.learner)


def relative(after: Tensor, before: Tensor) -> float:
    """Return the greatest change as a share of the largest number."""
    return float((after - before).abs().max() / before.abs().max())
