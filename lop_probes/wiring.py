"""Wiring: which columns of a map's weights read which unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Outgoing = Mapping[str, Sequence[str]]  # hidden layer -> the layers and heads that read it


def sources(outgoing: Outgoing) -> dict[str, list[str]]:
    """Return the hidden layers that each map reads, in the order of its columns; those that read none are left out.

    >>> sources({"a": ["b"], "b": ["left", "right"]})
    {'b': ['a'], 'left': ['b'], 'right': ['b']}
    """
    readers = dict.fromkeys(reader for names in outgoing.values() for reader in names)
    return {reader: [layer for layer, names in outgoing.items() if reader in names] for reader in readers}


def column_labels(channels: Tensor, columns: int) -> Tensor:
    """Label a map's columns by what they read, alike where they read alike labelled channels in the same place.

    A channel has one column, or several side by side: the places of a kernel or of a flattened image. A bias behind
    them has a label of its own.

    Args:
        channels: label of each number that a row of the activations before holds, (C,), from 0.
        columns: of the map's weights, S * C or S * C + 1.

    >>> column_labels(torch.tensor([0, 0, 1]), 7)
    tensor([0, 1, 0, 1, 2, 3, 4])
    """
    places = columns // len(channels)
    labels = (channels[:, None] * places + torch.arange(places)).flatten()
    rest = torch.arange(columns - len(labels)) + labels.max() + 1
    return torch.cat([labels, rest])


def outgoing_weights(weights: Tensor, units: int, channels: int, before: int, total: int) -> Tensor:
    """Return the weights by which a map reads each unit of a layer, (U, ...) flattened to (U, W).

    Args:
        weights: of the map, (U', S * total + 1) or (U', S * total).
        units: of the layer, U.
        channels: numbers that the layer returns, U or, behind an activation such as CReLU, 2 U, halves side by side.
        before: channels of other layers that the map reads first.
        total: channels of all layers that it reads.

    >>> outgoing_weights(torch.tensor([[1.0, 2.0, 3.0, 4.0, 9.0]]), units=2, channels=4, before=0, total=4)
    tensor([[1., 3.],
            [2., 4.]])
    """
    places = weights.shape[1] // total
    own = weights[:, before * places : (before + channels) * places]
    return own.reshape(len(weights), channels // units, units, places).movedim(2, 0).flatten(1)


def own_weights(weights: Mapping[str, Tensor], channels: Mapping[str, int], outgoing: Outgoing) -> dict[str, Tensor]:
    """Return all weights that belong to each unit of each hidden layer, (U, W): incoming, bias and outgoing.

    Args:
        weights: layer or head to (U, I + 1).
        channels: layer to the numbers that it returns.
        outgoing: layer to what reads it.

    >>> own_weights({"a": torch.eye(2), "b": torch.tensor([[3.0, 4.0, 9.0]])}, {"a": 2}, {"a": ["b"]})
    {'a': tensor([[1., 0., 3.],
            [0., 1., 4.]])}
    """
    reads, found = sources(outgoing), {}
    for name in channels:
        parts = [weights[name]]
        for reader in outgoing[name]:
            widths = {layer: channels[layer] for layer in reads[reader]}
            before = sum(list(widths.values())[: reads[reader].index(name)])
            parts.append(
                outgoing_weights(weights[reader], len(weights[name]), channels[name], before, sum(widths.values()))
            )
        found[name] = torch.cat(parts, dim=1)
    return found
