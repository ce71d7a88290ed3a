"""The stem for vectors: flatten the observation, then fully connected layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium as gym
from torch import nn

from lopgym.agents.stems import stems

if TYPE_CHECKING:
    from lopgym.agents.network import Block, NetworkSpec


@stems.register("mlp")
def mlp(space: gym.Space[Any], spec: NetworkSpec) -> list[Block]:
    """Flatten the observation, then one fully connected block for each width in `spec.hidden`."""
    return fully_connected(gym.spaces.flatdim(space), spec)


def fully_connected(inputs: int, spec: NetworkSpec) -> list[Block]:
    """Chain blocks of widths `spec.hidden` behind `inputs` numbers; the first one flattens what it is given."""
    from lopgym.agents.network import Block

    read = (inputs, *(spec.halves * units for units in spec.hidden))
    return [Block(nn.Linear(read[i], units), (units,), spec, flatten=i == 0) for i, units in enumerate(spec.hidden)]
