"""The one network of the testbed: a trunk of blocks, one hidden layer each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from lopgym.agents.initialisers import Affine, Initialiser
from lopgym.agents.stems import stems

Shape = tuple[int, ...]  # of one layer's output, without the batch: (U,) or (C, H, W)
Insert = Callable[[Shape], nn.Module]


@dataclass(frozen=True)
class NetworkSpec:
    """What to build. Mitigations return a changed copy (`dataclasses.replace`).

    Args:
        hidden: units of each fully connected layer.
        activation: makes one activation module.
        before_activation: make what stands between a layer's affine map and its activation, such as LayerNorm.
        after_activation: make what follows a layer's activation, such as dropout.
        stem: registered way from an observation to the fully connected layers: `mlp` or `conv`.
        channels: of each convolution of the `conv` stem.
    """

    hidden: tuple[int, ...] = (64, 64)
    activation: Callable[[], nn.Module] = nn.ReLU
    before_activation: tuple[Insert, ...] = ()
    after_activation: tuple[Insert, ...] = ()
    stem: str = "mlp"
    channels: tuple[int, ...] = (16, 32)


@dataclass(frozen=True)
class Layer:
    """A hidden layer and its neighbours.

    Unit u is row u of `incoming.weight`, output channel or column u of what `activation` returns, and column u of the
    weight of every module in `outgoing`: of H * W columns in a block, if a convolution is flattened in between.
    """

    name: str
    incoming: Affine
    activation: nn.Module
    outgoing: tuple[Affine, ...]
    initialiser: Initialiser


class Block(nn.Module):
    """One hidden layer: shape, affine map, inserts, activation, inserts."""

    def __init__(self, incoming: Affine, shape: Shape, spec: NetworkSpec, *, flatten: bool) -> None:
        """Build the layer around `incoming`, whose output has `shape`."""
        super().__init__()
        self.flatten = nn.Flatten() if flatten else nn.Identity()
        self.incoming = incoming
        self.before = nn.Sequential(*(insert(shape) for insert in spec.before_activation))
        self.activation = spec.activation()
        self.after = nn.Sequential(*(insert(shape) for insert in spec.after_activation))

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch (B, ...) to (B, U) or (B, C, H, W)."""
        y: Tensor = self.after(self.activation(self.before(self.incoming(self.flatten(x)))))
        return y


class Trunk(BaseFeaturesExtractor):
    """Observations (B, ...) to features (B, hidden[-1]); the features extractor of our PPO and DQN."""

    def __init__(self, observation_space: gym.Space[Any], spec: NetworkSpec) -> None:
        """Build what `spec` says for observations of `observation_space`."""
        super().__init__(observation_space, features_dim=spec.hidden[-1])
        self.blocks = nn.ModuleList(stems.build(spec.stem, observation_space, spec))

    def forward(self, observations: Tensor) -> Tensor:
        """Compute the features."""
        h = observations
        for block in self.blocks:
            h = block(h)
        return h
