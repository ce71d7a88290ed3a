"""Columns: the outgoing weights of units, whatever stands between a unit and what reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lopgym.agents.initialisers import Affine, bias_of
from lopgym.agents.learner import Learner
from lopgym.agents.network import Layer
from lopgym.agents.reset_units import forget, outgoing_columns


def by_unit(weight: Tensor, units: int, halves: int) -> Tensor:
    """View the weight of a map as (K, halves, U, W): by reader, half of the activation, unit, and place or tap.

    >>> by_unit(torch.arange(8.0).view(1, 8), units=2, halves=2)[0, :, 1]
    tensor([[2., 3.],
            [6., 7.]])
    """
    return weight.view(len(weight), halves, units, -1)


def pack(weights: Sequence[Tensor], units: int, halves: int) -> Tensor:
    """Lay all outgoing weights of each unit side by side, (U, W), copied."""
    return torch.cat([by_unit(w.detach(), units, halves).movedim(2, 0).flatten(1) for w in weights], dim=1)


def unpack(matrix: Tensor, like: Sequence[Tensor], halves: int) -> list[Tensor]:
    """Take apart what `pack` laid side by side: a weight shaped like each of `like`.

    >>> weights = [torch.arange(12.0).view(3, 4), torch.arange(4.0).view(1, 4)]
    >>> [torch.equal(a, b) for a, b in zip(weights, unpack(pack(weights, 2, 1), weights, 1))]
    [True, True]
    """
    parts = torch.split_with_sizes(matrix, [w.numel() // len(matrix) for w in like], dim=1)
    return [
        part.reshape(len(matrix), len(w), halves, -1).movedim(0, 2).reshape(w.shape)
        for part, w in zip(parts, like, strict=True)
    ]


@torch.no_grad()
def silence(module: Affine, units: Tensor, halves: int, constants: Tensor) -> None:
    """Zero the weights by which `module` reads chosen units, and put what they said on average into its bias.

    Args:
        module: a reader.
        units: which ones, bool (U,).
        halves: numbers that the activation returns for each unit.
        constants: what each unit says, (U,).
    """
    weight = by_unit(module.weight, len(units), halves)
    bias_of(module).add_(weight[:, :, units].sum((1, 3)) @ constants[units].to(weight))
    weight[:, :, units] = 0.0


def forget_outgoing(optimizer: Optimizer, layer: Layer, units: Tensor) -> None:
    """Zero what the optimizer remembers of the weights by which chosen units, bool (U,), are read."""
    for module in layer.outgoing:
        forget(optimizer, module.weight, (slice(None), outgoing_columns(module, layer.numbers(units))))


def forget_incoming(optimizer: Optimizer, layer: Layer, units: Tensor) -> None:
    """Zero what the optimizer remembers of the incoming weights and biases of chosen units, bool (U,)."""
    forget(optimizer, layer.incoming.weight, units)
    forget(optimizer, bias_of(layer.incoming), units)


def in_target(learner: Learner, module: Affine) -> Any:
    """Return the module of the same name in the target network, which there must be."""
    assert learner.target is not None, "who asks has made sure"
    names = {part: name for name, part in learner.network.named_modules()}
    return learner.target.get_submodule(names[module])
