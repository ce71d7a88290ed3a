"""Initialisers: fresh weights and biases for one linear or convolutional module."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lopgym.agents.draws import orthogonal_like, uniform_like

Affine = nn.Linear | nn.Conv2d
Initialiser = Callable[[Affine, torch.Generator], tuple[Tensor, Tensor]]


@torch.no_grad()
def torch_default(module: Affine, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw what `nn.Linear` and `nn.Conv2d` draw themselves: uniform on +-1/sqrt(fan_in), weight and bias alike.

    This is Kaiming's uniform law with negative slope sqrt(5) (He et al. 2015, arXiv:1502.01852), PyTorch's default.
    """
    bound = 1.0 / math.sqrt(module.weight[0].numel())
    return uniform_like(module.weight, bound, rng), uniform_like(bias_of(module), bound, rng)


def orthogonal(gain: float) -> Initialiser:
    """Return the initialiser of Stable-Baselines3's actor-critics: orthogonal rows times `gain`, zero bias."""

    @torch.no_grad()
    def draw(module: Affine, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return orthogonal_like(module.weight, gain, rng), torch.zeros_like(bias_of(module))

    return draw


def bias_of(module: Affine) -> nn.Parameter:
    """Return the module's bias; every affine module of a trunk has one."""
    assert isinstance(module.bias, nn.Parameter), "trunks are built with biases"
    return module.bias
