"""Recycling hidden units: the one place where a unit gets fresh weights in the middle of training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
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
    match_norms: bool = False,
) -> int:
    """Give chosen units fresh incoming weights, no bias and no influence, in place.

    Incoming rows come from the layer's own initialiser, biases become 0, outgoing columns become 0. So the network's
    output changes by what the units contributed, and a unit that contributed nothing is replaced without a trace
    (unless a norm between the affine map and the activation mixes the units of the layer). Norm gains stay.

    Args:
        learner: supplies the random numbers, the optimizer and the target.
        layer: the units' layer.
        units: which ones, bool (U,). If there are none, nothing is drawn and nothing is written.
        compensate: mean of each number that the activation returns, (U,), or (k U,) of one with halves. What the units
            contributed on average is added to the biases that they fed: exact where a unit is constant (Dohare et al.
            2021, arXiv:2108.06325).
        moments: zero the optimizer's moments of exactly the entries that were rewritten. Its step count belongs to
            whole tensors and stays, so that Adam's bias correction of these entries does not start over.
        target: give the target network's units the same incoming weights and silence them as well; if not, the target
            follows at its next update.
        match_norms: scale the incoming rows to the mean norm of the rows that stay; nothing if none stays.

    Returns:
        The number of units that were reset.

    Raises:
        ValueError: an outgoing module does not read the layer's units in equal blocks, or `compensate` is of another
            size.
    """
    if not bool(units.any()):
        return 0
    if compensate is not None and len(compensate) != len(layer.numbers(units)):
        raise ValueError(f"compensate has {len(compensate)} means; {layer.name} returns {len(layer.numbers(units))}")
    weight, _ = layer.initialiser(layer.incoming, learner.rng)
    rows = _as_long_as(layer.incoming.weight[~units], weight[units]) if match_norms else weight[units]
    numbers = layer.numbers(units)
    places = _Places(
        units=units.nonzero().flatten(),
        columns=tuple(outgoing_columns(module, numbers).nonzero().flatten() for module in layer.outgoing),
    )
    means = None if compensate is None else compensate[numbers]
    _rewrite(layer.incoming, layer.outgoing, places, rows, means)
    if moments:
        for parameter, entries in _entries(layer, places):
            forget(learner.optimizer, parameter, entries)
    if target and learner.target is not None:
        incoming, *outgoing = _twins(learner.network, learner.target, (layer.incoming, *layer.outgoing))
        _rewrite(incoming, tuple(outgoing), places, rows, means)
    return len(places.units)


def outgoing_columns(module: Affine, units: Tensor) -> Tensor:
    """Return which columns of `module.weight` read the chosen units: bool (U * H * W,) behind a flattened image.

    Raises:
        ValueError: the columns do not divide into equal blocks, one a unit.
    """
    columns = module.weight.shape[1]
    if columns % len(units):
        raise ValueError(f"{module} reads {columns} columns: not one equal block for each of {len(units)} units")
    return units.repeat_interleave(columns // len(units))


def _as_long_as(others: Tensor, rows: Tensor) -> Tensor:
    """Scale each of `rows` to the mean norm of `others`."""
    if not len(others):
        return rows
    norms, wanted = rows.flatten(1).norm(dim=1), others.flatten(1).norm(dim=1).mean()
    scale: Tensor = (wanted / norms).reshape(-1, *[1] * (rows.dim() - 1))
    return rows * scale


@dataclass(frozen=True)
class _Places:
    """Where a reset writes, by number, which is faster than by mask: rows, and columns of each outgoing module."""

    units: Tensor
    columns: tuple[Tensor, ...]


def _rewrite(
    incoming: Affine, outgoing: tuple[Affine, ...], places: _Places, rows: Tensor, means: Tensor | None
) -> None:
    incoming.weight[places.units] = rows
    bias_of(incoming)[places.units] = 0.0
    for module, columns in zip(outgoing, places.columns, strict=True):
        if means is not None:
            _absorb(module, columns, means)
        module.weight[:, columns] = 0.0


def _absorb(module: Affine, columns: Tensor, means: Tensor) -> None:
    """Move the mean contribution of columns that are about to be zeroed into the bias; `means` has one entry a unit."""
    contribution = module.weight[:, columns].reshape(len(module.weight), len(means), -1).sum(2)  # (outputs, units)
    bias_of(module).add_(contribution @ means)


def _entries(layer: Layer, places: _Places) -> Iterator[tuple[Tensor, Any]]:
    """Yield each parameter that a reset rewrites for good, with the index of the rewritten entries."""
    yield layer.incoming.weight, places.units
    yield bias_of(layer.incoming), places.units
    for module, columns in zip(layer.outgoing, places.columns, strict=True):
        yield module.weight, (slice(None), columns)


def forget(optimizer: Optimizer, parameter: Tensor, entries: Any) -> None:
    """Zero whatever the optimizer remembers entry by entry: Adam's moments, momentum buffers."""
    for memory in optimizer.state.get(parameter, {}).values():
        if isinstance(memory, Tensor) and memory.shape == parameter.shape:
            memory[entries] = 0.0


def _twins(network: nn.Module, target: nn.Module, modules: tuple[Affine, ...]) -> list[Any]:
    """Find the modules of the same names in `target`."""
    names = {module: name for name, module in network.named_modules()}
    return [target.get_submodule(names[module]) for module in modules]
