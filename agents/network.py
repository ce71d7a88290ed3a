"""The one network of the testbed: a trunk of blocks, one hidden layer each, in a chain or beside a residual stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import gymnasium as gym
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from lopgym.agents.initialisers import Affine, Initialiser
from lopgym.agents.stems import stems

Shape = tuple[int, ...]  # of one layer's output, without the batch: (U,) or (C, H, W)
Insert = Callable[[Shape], nn.Module]


def relu(shape: Shape) -> nn.Module:
    """Make the activation of every network that no mitigation gives another one."""
    return nn.ReLU()


@dataclass(frozen=True)
class NetworkSpec:
    """What to build. Mitigations return a changed copy (`dataclasses.replace`, `with_activation`).

    Args:
        hidden: units of each fully connected layer.
        activation: makes the activation module of a layer, one without parts, from the shape that it is given.
        chosen_by: the mitigation that chose the activation; "" if none did.
        halves: numbers that the activation returns for each unit, side by side: all first ones, then all second ones.
        before_activation: make what stands between a layer's affine map and its activation, such as LayerNorm.
        after_activation: make what follows a layer's activation, such as dropout, from the shape that comes out of it.
        stem: registered way from an observation to the fully connected layers: `mlp` or `conv`.
        channels: of each convolution of the `conv` stem.
        finish: do something to the blocks of a trunk, first to last, once all are built.
        beside: make what stands beside a trunk and is only read by who put it there, from the shape of its features.
        expansion: how many times as many units as `hidden` says the fully connected layers have, beside a residual
            stream of `hidden[-1]` channels; 0 is a chain, without a stream.
    """

    hidden: tuple[int, ...] = (64, 64)
    activation: Insert = relu
    chosen_by: str = ""
    halves: int = 1
    before_activation: tuple[Insert, ...] = ()
    after_activation: tuple[Insert, ...] = ()
    stem: str = "mlp"
    channels: tuple[int, ...] = (16, 32)
    finish: tuple[Callable[[nn.ModuleList], None], ...] = ()
    beside: tuple[Insert, ...] = ()
    expansion: int = 0

    def with_activation(self, chosen_by: str, activation: Insert, *, halves: int = 1) -> NetworkSpec:
        """Return a spec with another activation.

        Raises:
            ValueError: another mitigation has chosen the activation already.
        """
        if self.chosen_by:
            raise ValueError(f"{self.chosen_by} and {chosen_by} both choose the activation: take one of them")
        return replace(self, activation=activation, chosen_by=chosen_by, halves=halves)

    @property
    def features(self) -> int:
        """Numbers that a trunk returns: of its last layer, or of its stream."""
        return self.hidden[-1] * (1 if self.expansion else self.halves)

    def divided(self, by: int) -> NetworkSpec:
        """Return a spec with that many times fewer units in every layer, rounded up."""
        hidden, channels = (tuple(-(-units // by) for units in widths) for widths in (self.hidden, self.channels))
        return replace(self, hidden=hidden, channels=channels)


@dataclass(frozen=True)
class Passage:
    """An affine map into a residual stream: it has no units, as nothing tells what it says from what is there already.

    Args:
        name: for tables.
        module: the map.
        readers: affine maps that read the stream next.
    """

    name: str
    module: Affine
    readers: tuple[Affine, ...]


@dataclass(frozen=True)
class Layer:
    """A hidden layer and its neighbours.

    Unit u is row u of `incoming.weight`, output channel or column u of what `activation` returns, and column u of the
    weight of every module in `outgoing`: of H * W columns in a block, if a convolution is flattened in between. Where
    the activation returns several numbers for a unit, as CReLU does, `halves` says how many: it then is also channel
    and column U + u, U being the number of units.

    A layer beside a residual stream reads the stream, and its outgoing map is one of the `passages` into it; the one
    that embeds the input is the first layer's.
    """

    name: str
    incoming: Affine
    activation: nn.Module
    outgoing: tuple[Affine, ...]
    initialiser: Initialiser
    passages: tuple[Passage, ...] = ()

    def affines(self) -> Iterator[tuple[str, Affine]]:
        """Yield every affine map of the layer by name, `incoming` first."""
        yield self.name, self.incoming
        for passage in self.passages:
            yield passage.name, passage.module

    @cached_property
    def halves(self) -> int:
        """Numbers that the activation returns for each unit."""
        return int(getattr(self.activation, "halves", 1))

    def numbers(self, units: Tensor) -> Tensor:
        """Repeat what there is of each unit, (U,), for each number that the activation returns: (k U,)."""
        return units.repeat(self.halves)

    def per_unit(self, outputs: Tensor) -> Tensor:
        """Lay out what the activation returns, (samples, k U), with one column a unit: (samples * k, U)."""
        return outputs.reshape(-1, len(self.incoming.weight))

    def means(self, rows: Tensor) -> Tensor:
        """Return the mean of each number that the activation returns, (k U,), from what `per_unit` laid out."""
        return rows.mean(0) if self.halves == 1 else rows.view(-1, self.halves, rows.shape[1]).mean(0).flatten()


class Halves(nn.Module):
    """An activation that returns two numbers for each unit, one half of the channels behind the other.

    Args:
        first: what the first half of the channels is, elementwise.
        second: what the second half is.
    """

    halves = 2

    def __init__(self, first: Callable[[Tensor], Tensor], second: Callable[[Tensor], Tensor]) -> None:
        """Keep the functions."""
        super().__init__()
        self._functions = first, second

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, U, ...) to (B, 2 U, ...)."""
        return torch.cat([function(x) for function in self._functions], dim=1)


class Block(nn.Module):
    """One hidden layer: shape, affine map, inserts, activation, inserts."""

    def __init__(self, incoming: Affine, shape: Shape, spec: NetworkSpec, *, flatten: bool) -> None:
        """Build the layer around `incoming`, whose output has `shape`."""
        super().__init__()
        self.flatten = nn.Flatten() if flatten else nn.Identity()
        self.incoming = incoming
        self.before = nn.Sequential(*(insert(shape) for insert in spec.before_activation))
        self.activation = spec.activation(shape)
        wide = (spec.halves * shape[0], *shape[1:])
        self.after = nn.Sequential(*(insert(wide) for insert in spec.after_activation))

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch (B, ...) to (B, k U) or (B, k C, H, W), k being `spec.halves`."""
        y: Tensor = self.after(self.activation(self.before(self.incoming(self.flatten(x)))))
        return y


class IntoStream(nn.Linear):
    """The affine map of a `Passage`."""


class ResidualBlock(nn.Module):
    """One hidden layer beside a residual stream, x + W2 f(W1 LayerNorm(x)), f being a block's activation and inserts.

    Args:
        units: of the layer.
        spec: of the network; the stream has `spec.hidden[-1]` channels.
        reads: numbers that are embedded in the stream, flattened, of the first block; 0: it is given the stream.
        last: normalise the stream that is returned.
    """

    def __init__(self, units: int, spec: NetworkSpec, *, reads: int, last: bool) -> None:
        """Build the layer, in the order in which its parts run."""
        super().__init__()
        width = spec.hidden[-1]
        self.embedding = nn.Sequential(nn.Flatten(), IntoStream(reads, width)) if reads else nn.Identity()
        self.norm = nn.LayerNorm(width)
        self.inner = Block(nn.Linear(width, units), (units,), spec, flatten=False)
        self.back = IntoStream(spec.halves * units, width)
        self.after = nn.LayerNorm(width) if last else nn.Identity()

    @property
    def incoming(self) -> Affine:
        """The affine map whose rows are the units, W1."""
        return self.inner.incoming

    def forward(self, x: Tensor) -> Tensor:
        """Map what is embedded, (B, ...), or a stream, (B, width), to the stream behind the block, (B, width)."""
        stream = self.embedding(x)
        y: Tensor = self.after(stream + self.back(self.inner(self.norm(stream))))
        return y


class Trunk(BaseFeaturesExtractor):
    """Observations (B, ...) to features (B, spec.features); the features extractor of our PPO and DQN."""

    def __init__(self, observation_space: gym.Space[Any], spec: NetworkSpec) -> None:
        """Build what `spec` says for observations of `observation_space`."""
        super().__init__(observation_space, features_dim=spec.features)
        self.blocks = nn.ModuleList(stems.build(spec.stem, observation_space, spec))
        for finish in spec.finish:
            finish(self.blocks)
        if spec.beside:
            self.beside = nn.ModuleList(make((self.features_dim,)) for make in spec.beside)

    def forward(self, observations: Tensor) -> Tensor:
        """Compute the features."""
        h = observations
        for block in self.blocks:
            h = block(h)
        return h
