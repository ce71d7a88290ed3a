"""The stem for vectors: flatten the observation, then fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gymnasium as gym
from torch import nn

from lopgym.agents.stems import stems

if TYPE_CHECKING:
    from lopgym.agents.network import Block, NetworkSpec, ResidualBlock


@stems.register("mlp")
def mlp(space: gym.Space[Any], spec: NetworkSpec) -> Sequence[Block | ResidualBlock]:
    """Flatten the observation, then one fully connected block for each width in `spec.hidden`."""
    return fully_connected(gym.spaces.flatdim(space), spec)


def fully_connected(inputs: int, spec: NetworkSpec) -> Sequence[Block | ResidualBlock]:
    """Put blocks of widths `spec.hidden` behind `inputs` numbers; the first one flattens what it is given."""
    from lopgym.agents.network import Block

    if spec.expansion:
        return residual(inputs, spec)
    read = (inputs, *(spec.halves * units for units in spec.hidden))
    return [Block(nn.Linear(read[i], units), (units,), spec, flatten=i == 0) for i, units in enumerate(spec.hidden)]


def residual(inputs: int, spec: NetworkSpec) -> list[ResidualBlock]:
    """Put one block for each width in `spec.hidden` beside a residual stream that `inputs` numbers are embedded in."""
    from lopgym.agents.network import ResidualBlock

    blocks = len(spec.hidden)
    return [
        ResidualBlock(spec.expansion * units, spec, reads=0 if i else inputs, last=i == blocks - 1)
        for i, units in enumerate(spec.hidden)
    ]
