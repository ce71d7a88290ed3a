"""Slopes: the derivatives of an activation module, whatever it computes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lopgym.probes.recording import evaluated


def slopes(activation: nn.Module, pre_activations: Tensor) -> Tensor:
    """Return f'(z), element by element, of an activation module f that treats elements one by one.

    A module that returns several numbers for each, one block of units after another as CReLU does, moves if any of
    them moves: its slope is the sum of their absolute slopes.

    Args:
        activation: the module; hooks on it do not run.
        pre_activations: z, (B, U).

    Returns:
        (B, U).

    >>> slopes(nn.LeakyReLU(0.1), torch.tensor([[-2.0, 3.0]]))
    tensor([[0.1000, 1.0000]])
    """
    found, units = output_slopes(activation, pre_activations), pre_activations.shape[1]
    return (
        found if found.shape[1] == units else torch.stack(found.chunk(found.shape[1] // units, dim=1)).abs().sum(dim=0)
    )


def output_slopes(activation: nn.Module, pre_activations: Tensor) -> Tensor:
    """Return the derivative of every number that an activation module returns by the one it is given, (B, k U).

    k is 2 of CReLU, whose second half falls where its units rise, and 1 of others: see `slopes`.
    """
    return _derivatives(activation, pre_activations, 1)


def bends(activation: nn.Module, pre_activations: Tensor) -> Tensor:
    """Return the second derivative of every number that an activation module returns, (B, k U): see `output_slopes`.

    >>> bends(nn.Softplus(), torch.tensor([[0.0, 99.0]]))
    tensor([[0.2500, 0.0000]])
    """
    return _derivatives(activation, pre_activations, 2)


def _derivatives(activation: nn.Module, pre_activations: Tensor, order: int) -> Tensor:
    with evaluated(activation), torch.enable_grad():
        z = pre_activations.detach().requires_grad_()
        outputs: Tensor = activation.forward(z.clone())  # a copy: it may work in place
        blocks = outputs.chunk(outputs.shape[1] // z.shape[1], dim=1)
        for step in range(1, order + 1):
            blocks = tuple(_slope(block, z, create_graph=step < order) for block in blocks)
    return torch.cat(blocks, dim=1)


def _slope(values: Tensor, z: Tensor, *, create_graph: bool) -> Tensor:
    """Differentiate element by element; where nothing depends on z, as the slope of a line does not, by 0."""
    if not values.requires_grad:
        return torch.zeros_like(z)
    (found,) = torch.autograd.grad(
        values.sum(), z, retain_graph=True, create_graph=create_graph, allow_unused=True, materialize_grads=True
    )
    return found
