"""Revival: which units no gradient reaches, and how many parameters would move again if those units were alive.

Shaped as probes are, but they look at one moment for a person, and no run records them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


def no_gradient_units(activations: Mapping[str, Tensor], loss_gradients: Mapping[str, Tensor]) -> dict[str, float]:
    """Share of a hidden layer's units whose incoming weights and bias all have gradient exactly zero on this batch.

    Args:
        activations: hidden layer to (B, U); says which layers are hidden.
        loss_gradients: layer or head to (U, I + 1).

    >>> no_gradient_units({"hidden0": torch.ones(1, 2)}, {"hidden0": torch.tensor([[0.0, 0.0], [1.0, 0.0]])})
    {'hidden0': 0.5}
    """
    return {
        name: _without(loss_gradients[name]).double().mean().item() for name in activations if name in loss_gradients
    }


def freed_by_revival(
    activations: Mapping[str, Tensor],
    inputs: Mapping[str, Tensor],
    loss_gradients: Mapping[str, Tensor],
    outgoing: Mapping[str, tuple[str, ...]],
) -> dict[str, float]:
    """Share of a layer's parameters that have no gradient now and would have one if no unit of the network lacked it.

    Every unit without a gradient is imagined anew, so that it answers to its inputs and hears from its readers. That
    frees its row, as far as inputs are not zero throughout, and the columns that read it. It is a prediction, from one
    backward pass; what stands still for another reason stays out of it.

    Args:
        activations: hidden layer to (B, U).
        inputs: layer or head to (B, I + 1).
        loss_gradients: layer or head to (U, I + 1).
        outgoing: hidden layer to the layers and heads that read it.

    >>> one, two = torch.tensor([[1.0, 0.0, 1.0]]), torch.tensor([[0.0, 5.0, 1.0]])  # two units, the first is dead
    >>> gradients = {"hidden0": torch.tensor([[0.0, 0, 0], [1, 0, 1]]), "head": torch.tensor([[0.0, 5, 1]])}
    >>> freed_by_revival({"hidden0": two[:, :2]}, {"hidden0": one, "head": two}, gradients, {"hidden0": ("head",)})
    {'hidden0': 0.3333333333333333, 'head': 0.3333333333333333}
    """
    revived = {name: _without(loss_gradients[name]) for name in activations if name in loss_gradients}
    columns = dict(_columns_of(revived, activations, inputs, outgoing))
    return {
        name: _freed(gradient, inputs[name], revived.get(name), columns.get(name)).double().mean().item()
        for name, gradient in loss_gradients.items()
        if name in inputs
    }


def _freed(gradient: Tensor, inputs: Tensor, rows: Tensor | None, columns: Tensor | None) -> Tensor:
    """Return which entries of `gradient` are zero because of revived rows (U,) or columns (I + 1,), bool."""
    revived_rows = torch.zeros(len(gradient), dtype=torch.bool) if rows is None else rows
    revived_columns = torch.zeros(gradient.shape[1], dtype=torch.bool) if columns is None else columns
    live = (inputs != 0).any(dim=0) | revived_columns
    return (gradient == 0) & (revived_rows[:, None] | revived_columns) & live


def _without(gradient: Tensor) -> Tensor:
    """Return which rows are zero throughout, bool (U,)."""
    return (gradient == 0).all(dim=1)


def _columns_of(
    units: Mapping[str, Tensor],
    activations: Mapping[str, Tensor],
    inputs: Mapping[str, Tensor],
    outgoing: Mapping[str, tuple[str, ...]],
) -> Iterator[tuple[str, Tensor]]:
    """Yield each reader of a layer with the columns, bool (I + 1,), that read chosen units."""
    for name, chosen in units.items():
        width = activations[name].shape[1]
        outputs = chosen.repeat(width // len(chosen))  # CReLU returns the units twice, one half behind the other
        for reader in outgoing[name]:
            if reader in inputs:
                columns = inputs[reader].shape[1]
                read = outputs.repeat_interleave(columns // width)  # of an image, a block a channel; then the bias
                yield reader, torch.cat([read, torch.zeros(columns - len(read), dtype=torch.bool)])
