"""Initialisers: fresh weights and biases for one linear or convolutional module."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

Affine = nn.Linear | nn.Conv2d
Initialiser = Callable[[Affine, torch.Generator], tuple[Tensor, Tensor]]


@torch.no_grad()
def torch_default(module: Affine, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw what `nn.Linear` and `nn.Conv2d` draw themselves: uniform on +-1/sqrt(fan_in), weight and bias alike.

    This is Kaiming's uniform law with negative slope sqrt(5) (He et al. 2015, arXiv:1502.01852), PyTorch's default.
    """
    bound = 1.0 / math.sqrt(module.weight[0].numel())
    weight = torch.empty_like(module.weight).uniform_(-bound, bound, generator=rng)
    bias = torch.empty_like(bias_of(module)).uniform_(-bound, bound, generator=rng)
    return weight, bias


def orthogonal(gain: float) -> Initialiser:
    """Return the initialiser of Stable-Baselines3's actor-critics: orthogonal rows times `gain`, zero bias.

    Saxe et al. 2014, arXiv:1312.6120.
    """

    @torch.no_grad()
    def draw(module: Affine, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        weight = nn.init.orthogonal_(torch.empty_like(module.weight), gain=gain, generator=rng)
        return weight, torch.zeros_like(bias_of(module))

    return draw


def bias_of(module: Affine) -> nn.Parameter:
    """Return the module's bias; every affine module of a trunk has one."""
    assert isinstance(module.bias, nn.Parameter), "trunks are built with biases"
    return module.bias
