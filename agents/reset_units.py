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
            whole tensors and stays, so that Adam's bias correction of these entries does not start over: their first
            steps are longer than those of a fresh network, with betas .9 and .999 3.2 learning rates and then up to
            6.6, as the mean of gradients is made up for sooner than that of squares.
        target: give the target network's units the same incoming weights and silence them as well; if not, the target
            follows at its next update.
        match_norms: scale the incoming rows to the mean norm of the rows that stay; nothing if none stays.

    Returns:
        The number of units that were reset.

    Raises:
        ValueError: an outgoing module does not read the layer's units in equal blocks, or `compensate` is of another
            size.
    """
    chosen = units.nonzero().flatten()
    if not len(chosen):
        return 0
    returned = layer.halves * len(units)
    if compensate is not None and len(compensate) != returned:
        raise ValueError(f"compensate has {len(compensate)} means; {layer.name} returns {returned}")
    weight, _ = layer.initialiser(layer.incoming, learner.rng)
    rows = weight.index_select(0, chosen)
    if match_norms:
        rows = _as_long_as(layer.incoming.weight[~units], rows)
    numbers = chosen if layer.halves == 1 else layer.numbers(units).nonzero().flatten()
    places = _Places(chosen, tuple(_columns(module, numbers, returned) for module in layer.outgoing))
    means = None if compensate is None else compensate.index_select(0, numbers)
    _rewrite(layer.incoming, layer.outgoing, places, rows, means)
    if moments:
        for parameter, axis, entries in _rewritten(layer, places):
            for memory in _memories(learner.optimizer, parameter):
                memory.index_fill_(axis, entries, 0.0)
    if target and learner.target is not None:
        incoming, *outgoing = _twins(learner.network, learner.target, (layer.incoming, *layer.outgoing))
        _rewrite(incoming, tuple(outgoing), places, rows, means)
    return len(chosen)


def outgoing_columns(module: Affine, units: Tensor) -> Tensor:
    """Return which columns of `module.weight` read the chosen units: bool (U * H * W,) behind a flattened image.

    Raises:
        ValueError: the columns do not divide into equal blocks, one a unit.
    """
    columns = module.weight.shape[1]
    if columns % len(units):
        raise ValueError(f"{module} reads {columns} columns: not one equal block for each of {len(units)} units")
    return units.repeat_interleave(columns // len(units))


def _columns(module: Affine, numbers: Tensor, returned: int) -> Tensor:
    """Return the places of the columns that read what stands at the places `numbers`, of as many as are `returned`."""
    if module.weight.shape[1] == returned:
        return numbers
    mask = torch.zeros(returned, dtype=torch.bool, device=numbers.device).index_fill_(0, numbers, True)
    return outgoing_columns(module, mask).nonzero().flatten()


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
    incoming.weight.index_copy_(0, places.units, rows)
    bias_of(incoming).index_fill_(0, places.units, 0.0)
    for module, columns in zip(outgoing, places.columns, strict=True):
        if means is not None:
            _absorb(module, columns, means)
        module.weight.index_fill_(1, columns, 0.0)


def _absorb(module: Affine, columns: Tensor, means: Tensor) -> None:
    """Move the mean contribution of columns that are about to be zeroed into the bias; `means` has one entry a unit."""
    contribution = module.weight[:, columns].reshape(len(module.weight), len(means), -1).sum(2)  # (outputs, units)
    bias_of(module).add_(contribution @ means)


def _rewritten(layer: Layer, places: _Places) -> Iterator[tuple[Tensor, int, Tensor]]:
    """Yield each parameter that a reset rewrites for good, with the axis and the places there of what is rewritten."""
    yield layer.incoming.weight, 0, places.units
    yield bias_of(layer.incoming), 0, places.units
    for module, columns in zip(layer.outgoing, places.columns, strict=True):
        yield module.weight, 1, columns


def forget(optimizer: Optimizer, parameter: Tensor, entries: Any) -> None:
    """Zero whatever the optimizer remembers entry by entry: Adam's moments, momentum buffers."""
    for memory in _memories(optimizer, parameter):
        memory[entries] = 0.0


def _memories(optimizer: Optimizer, parameter: Tensor) -> Iterator[Tensor]:
    for memory in optimizer.state.get(parameter, {}).values():
        if isinstance(memory, Tensor) and memory.shape == parameter.shape:
            yield memory


def _twins(network: nn.Module, target: nn.Module, modules: tuple[Affine, ...]) -> list[Any]:
    """Find the modules of the same names in `target`."""
    names = {module: name for name, module in network.named_modules()}
    return [target.get_submodule(names[module]) for module in modules]
