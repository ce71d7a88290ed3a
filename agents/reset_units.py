"""Recycling hidden units: the one place where a unit gets fresh weights in the middle of training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lopgym.agents.initialisers import Affine, bias_of
from lopgym.agents.learner import Learner
from lopgym.agents.network import Layer


@torch.no_grad()
def reset_units(
    learner: Learner,
    layer: Layer,
    units: Tensor,
    *,
    compensate: Tensor | None = None,
    moments: bool = True,
    target: bool = False,
) -> int:
    """Give chosen units fresh incoming weights, no bias and no influence, in place.

    Incoming rows come from the layer's own initialiser, biases become 0, outgoing columns become 0. So the network's
    output changes by what the units contributed, and a unit that contributed nothing is replaced without a trace
    (unless a norm between the affine map and the activation mixes the units of the layer). Norm gains stay.

    Args:
        learner: supplies the random numbers, the optimizer and the target.
        layer: the units' layer.
        units: which ones, bool (U,). If there are none, nothing is drawn and nothing is written.
        compensate: mean activation of each unit, (U,). What the units contributed on average is added to the biases
            that they fed: exact where a unit is constant (Dohare et al. 2021, arXiv:2108.06325).
        moments: zero the optimizer's moments of exactly the entries that were rewritten. Its step count belongs to
            whole tensors and stays, so that Adam's bias correction of these entries does not start over.
        target: give the target network's units the same incoming weights and silence them as well; if not, the target
            follows at its next update.

    Returns:
        The number of units that were reset.

    Raises:
        ValueError: an outgoing module does not read the layer's units in equal blocks.
    """
    if not bool(units.any()):
        return 0
    weight, _ = layer.initialiser(layer.incoming, learner.rng)
    rows = weight[units]
    _rewrite(layer.incoming, layer.outgoing, units, rows, compensate)
    if moments:
        for parameter, entries in _entries(layer, units):
            _forget(learner.optimizer, parameter, entries)
    if target and learner.target is not None:
        incoming, *outgoing = _twins(learner.network, learner.target, (layer.incoming, *layer.outgoing))
        _rewrite(incoming, tuple(outgoing), units, rows, compensate)
    return int(units.sum())


def outgoing_columns(module: Affine, units: Tensor) -> Tensor:
    """Return which columns of `module.weight` read the chosen units: bool (U * H * W,) behind a flattened image.

    Raises:
        ValueError: the columns do not divide into equal blocks, one a unit.
    """
    columns = module.weight.shape[1]
    if columns % len(units):
        raise ValueError(f"{module} reads {columns} columns: not one equal block for each of {len(units)} units")
    return units.repeat_interleave(columns // len(units))


def _rewrite(
    incoming: Affine, outgoing: tuple[Affine, ...], units: Tensor, rows: Tensor, compensate: Tensor | None
) -> None:
    incoming.weight[units] = rows
    bias_of(incoming)[units] = 0.0
    for module in outgoing:
        columns = outgoing_columns(module, units)
        if compensate is not None:
            _absorb(module, columns, compensate[units])
        module.weight[:, columns] = 0.0


def _absorb(module: Affine, columns: Tensor, means: Tensor) -> None:
    """Move the mean contribution of columns that are about to be zeroed into the bias; `means` has one entry a unit."""
    contribution = module.weight[:, columns].reshape(len(module.weight), len(means), -1).sum(2)  # (outputs, units)
    bias_of(module).add_(contribution @ means)


def _entries(layer: Layer, units: Tensor) -> Iterator[tuple[Tensor, Any]]:
    """Yield each parameter that a reset rewrites for good, with the index of the rewritten entries."""
    yield layer.incoming.weight, units
    yield bias_of(layer.incoming), units
    for module in layer.outgoing:
        yield module.weight, (slice(None), outgoing_columns(module, units))


def _forget(optimizer: Optimizer, parameter: Tensor, entries: Any) -> None:
    """Zero whatever the optimizer remembers entry by entry: Adam's moments, momentum buffers."""
    for memory in optimizer.state.get(parameter, {}).values():
        if isinstance(memory, Tensor) and memory.shape == parameter.shape:
            memory[entries] = 0.0


def _twins(network: nn.Module, target: nn.Module, modules: tuple[Affine, ...]) -> list[Any]:
    """Find the modules of the same names in `target`."""
    names = {module: name for name, module in network.named_modules()}
    return [target.get_submodule(names[module]) for module in modules]
