"""Draws: random tensors from a generator on the CPU, the same numbers wherever the network is."""

from __future__ import annotations

import torch
from torch import Tensor


def normal_like(like: Tensor, rng: torch.Generator) -> Tensor:
    """Draw standard normal numbers with the shape, dtype and device of `like`."""
    return _room(like, rng).normal_(generator=rng).to(like.device)


def uniform_like(like: Tensor, bound: float, rng: torch.Generator) -> Tensor:
    """Draw numbers uniform on +-`bound` with the shape, dtype and device of `like`."""
    return _room(like, rng).uniform_(-bound, bound, generator=rng).to(like.device)


def orthogonal_like(like: Tensor, gain: float, rng: torch.Generator) -> Tensor:
    """Draw orthogonal rows, or columns if they are fewer, times `gain`: Saxe et al. 2014, arXiv:1312.6120."""
    return torch.nn.init.orthogonal_(_room(like, rng), gain=gain, generator=rng).to(like.device)


def _room(like: Tensor, rng: torch.Generator) -> Tensor:
    return torch.empty_like(like, device=rng.device)
