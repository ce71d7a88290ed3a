"""Naming the hidden layers of a network by walking its modules: our trunk's, and those of stock policies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise, takewhile

from torch import nn

from lopgym.agents.initialisers import Affine, Initialiser
from lopgym.agents.network import IntoStream, Layer, Passage

AFFINE = (nn.Linear, nn.Conv2d)
# What may stand between an affine map and its activation, or behind that, without being one.
PASSIVE = (nn.Flatten, nn.Identity, nn.Dropout, nn.LayerNorm, nn.RMSNorm, nn.BatchNorm1d, nn.BatchNorm2d)


def leaves(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """Return the modules that compute something themselves, in the order in which they were registered.

    An empty `Sequential` has no parts either, but does nothing.
    """
    every = (part for module in modules for part in module.modules())
    return [part for part in every if not [*part.children()] and not isinstance(part, nn.Sequential)]


def affines(modules: Iterable[nn.Module]) -> list[Affine]:
    """Return the affine maps among the leaves of `modules`, in order."""
    return [leaf for leaf in leaves(modules) if isinstance(leaf, AFFINE)]


def hidden_layers(
    prefix: str, modules: Iterable[nn.Module], after: Sequence[Affine], initialiser: Initialiser
) -> tuple[Layer, ...]:
    """Name the hidden layers of a chain of modules `prefix.hidden0`, `prefix.hidden1`, ...

    Passages into a residual stream are `prefix.stream0`, ...; each belongs to the layer before it, or to the first.

    Args:
        prefix: name of the network.
        modules: run one after another in this order; they may have parts, registered in the order of running.
        after: the affine maps that read what comes out at the end.
        initialiser: draws fresh weights for a layer.

    Raises:
        ValueError: an affine map has no activation of its own, or the maps do not fit together: not a chain.
    """
    found: list[tuple[Affine, nn.Module | None]] = []
    for leaf in leaves(modules):
        if isinstance(leaf, AFFINE):
            found.append((leaf, None))
        elif found and found[-1][1] is None and not isinstance(leaf, PASSIVE):
            found[-1] = (found[-1][0], leaf)
    outgoing = [*((following,) for _, (following, _) in pairwise(found)), tuple(after)]
    chain = [(module, activation, out) for (module, activation), out in zip(found, outgoing, strict=False)]
    into = {m: out for m, _, out in chain if isinstance(m, IntoStream)}
    passages = {m: Passage(f"{prefix}.stream{i}", m, out) for i, (m, out) in enumerate(into.items())}
    layers: list[Layer] = []
    for module, follows, out in chain:
        if module not in passages:
            name = f"{prefix}.hidden{len(layers)}"
            incoming, activation = _fitting(name, module, follows, out)
            ahead = () if layers else takewhile(passages.__contains__, (m for m, _, _ in chain))
            own = tuple(passages[m] for m in (*ahead, *out) if m in passages)
            layers.append(Layer(name, incoming, activation, out, initialiser, own))
    return tuple(layers)


def _fitting(
    name: str, incoming: Affine, activation: nn.Module | None, outgoing: Sequence[Affine]
) -> tuple[Affine, nn.Module]:
    if activation is None:
        raise ValueError(f"{name}, {incoming}, has no activation behind it: its units cannot be told from its inputs")
    units = len(incoming.weight)
    if any(module.weight.shape[1] % units for module in outgoing):
        raise ValueError(f"{name}, {incoming}, does not fit what follows, {outgoing[0]}: these modules are no chain")
    return incoming, activation
