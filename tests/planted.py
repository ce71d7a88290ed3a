"""Small networks of every layer kind and activation, with a loss and everything else that probes may request."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lopgym.probes.arranged import parameters
from lopgym.probes.captures import Captures
from lopgym.probes.matrices import apart

UNITS, OUTPUTS, SAMPLES = 8, 3, 24


class Concatenated(nn.Module):
    """What CReLU is of ReLU, of any activation: both signs of every unit."""

    def __init__(self, activation: nn.Module) -> None:
        """Wrap an activation."""
        super().__init__()
        self.activation = activation

    def forward(self, z: Tensor) -> Tensor:
        """Map (B, U, ...) to (B, 2 U, ...)."""
        both: Tensor = self.activation(torch.cat([z, -z], dim=1))
        return both


MAKE_ACTIVATION: tuple[Callable[[], nn.Module], ...] = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.Tanh,
    nn.Sigmoid,
    nn.SiLU,
)
ACTIVATIONS = [make() for make in MAKE_ACTIVATION]
KINDS = ("linear", "convolution", "layer_norm", "crelu", "convolution_norm", "convolution_crelu")
PLACES = 4  # of the image that the first convolution returns, 2 x 2


class Net(nn.Module):
    """Two hidden layers and a head; the first a convolution or normalised, if asked for."""

    def __init__(self, kind: str, activation: Callable[[], nn.Module]) -> None:
        """Build it from torch's random stream."""
        super().__init__()
        image, concatenated, normalised = (word in kind for word in ("convolution", "crelu", "norm"))
        width = 2 * UNITS if concatenated else UNITS
        self.first: nn.Module = nn.Conv2d(2, UNITS, 2, stride=2) if image else nn.Linear(5, UNITS)
        self.norm = nn.LayerNorm((UNITS, 2, 2) if image else UNITS) if normalised else nn.Identity()
        self.first_activation, self.second_activation = (
            Concatenated(activation()) if concatenated else activation() for _ in range(2)
        )
        self.flatten, self.second = nn.Flatten(), nn.Linear(PLACES * width if image else width, UNITS)
        self.head = nn.Linear(width, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        """Map observations (B, ...) to (B, OUTPUTS)."""
        h = self.flatten(self.first_activation(self.norm(self.first(x))))
        outputs: Tensor = self.head(self.second_activation(self.second(h)))
        return outputs


@dataclass(frozen=True)
class Planted:
    """A network, what it sees and what it should say."""

    network: Any
    observations: Tensor
    targets: Tensor

    @property
    def layers(self) -> dict[str, tuple[nn.Module, nn.Module]]:
        """Name the hidden layers."""
        net = self.network
        return {"hidden0": (net.first, net.first_activation), "hidden1": (net.second, net.second_activation)}

    @property
    def heads(self) -> dict[str, nn.Module]:
        """Name the head."""
        return {"head": self.network.head}

    def loss(self, x: Tensor) -> Tensor:
        """Return each sample's squared error, (B,)."""
        errors: Tensor = self.network(x) - self.targets
        return errors.square().sum(dim=1)

    def captures(self, **given: Any) -> Captures:
        """Return captures that have a loss."""
        given = {"loss": self.loss} | given
        return Captures(self.network, self.layers, self.heads, self.observations, **given)

    def moved(self, direction: Mapping[str, Tensor], size: float) -> Planted:
        """Return a copy whose weights moved along a direction, layer or head to (U, I + 1)."""
        other = copy.deepcopy(self)
        maps = {name: incoming for name, (incoming, _) in other.layers.items()} | other.heads
        with torch.no_grad():
            for name, matrix in direction.items():
                own = parameters(maps[name])
                for parameter, part in zip(own, apart(matrix, own), strict=True):
                    parameter.add_(size * part)
        return other


def plant(
    kind: str, activation: Callable[[], nn.Module], *, dtype: torch.dtype = torch.float32, seed: int = 0
) -> Planted:
    """Build a network of `kind`; observations and targets are the same for every seed."""
    rng = torch.Generator().manual_seed(7)
    shape = (2, 4, 4) if "convolution" in kind else (5,)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Net(kind, activation).to(dtype)
    observations, targets = (torch.randn(SAMPLES, *s, generator=rng, dtype=dtype) for s in (shape, (OUTPUTS,)))
    return Planted(network, observations, targets)
