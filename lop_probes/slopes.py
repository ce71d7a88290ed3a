"""Slopes: the derivative of an activation module, whatever it computes."""

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
    with evaluated(activation), torch.enable_grad():
        z = pre_activations.detach().requires_grad_()
        outputs: Tensor = activation.forward(z.clone())  # a copy: it may work in place
        blocks = outputs.chunk(outputs.shape[1] // z.shape[1], dim=1)
        found = [torch.autograd.grad(block.sum(), z, retain_graph=True)[0] for block in blocks]
    return found[0] if len(found) == 1 else torch.stack(found).abs().sum(dim=0)
