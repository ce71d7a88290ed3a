"""The stem for images: 3 x 3 convolutions, then fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gymnasium as gym
from torch import nn

from lopgym.agents.stems import stems
from lopgym.agents.stems.mlp import fully_connected

if TYPE_CHECKING:
    from lopgym.agents.network import Block, NetworkSpec, ResidualBlock


@stems.register("conv")
def conv(space: gym.Space[Any], spec: NetworkSpec) -> Sequence[Block | ResidualBlock]:
    """Convolve an image (C, H, W) with 3 x 3 kernels, one block for each of `spec.channels`, then `spec.hidden`.

    Raises:
        ValueError: the space is not a Box of three axes, channels first, or too small for the convolutions.
    """
    from lopgym.agents.network import Block

    if not isinstance(space, gym.spaces.Box) or len(space.shape) != 3:
        raise ValueError(f"the conv stem needs a Box of shape (C, H, W), not {space}")
    channels, height, width = space.shape
    blocks: list[Block] = []
    for out in spec.channels:
        height, width = height - 2, width - 2
        if min(height, width) < 1:
            raise ValueError(f"{len(spec.channels)} convolutions of 3 x 3 leave nothing of an image of {space.shape}")
        blocks.append(Block(nn.Conv2d(channels, out, 3), (out, height, width), spec, flatten=False))
        channels = spec.halves * out
    return [*blocks, *fully_connected(channels * height * width, spec)]
