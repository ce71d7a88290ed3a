"""Stacking: which two mitigations cannot be in one agent, and why."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from lopgym.agents.mitigations import Mitigation, mitigations

# One line a pair, for what cannot work; what merely makes no sense is allowed.
REFUSED: dict[frozenset[str], str] = {
    frozenset(("crelu", "fourier")): "sine and cosine of both signs are two numbers twice, sin(-z) = -sin(z)",
    frozenset(("crelu", "leaky")): "crelu's two signs leave nothing for a slope to pass on",
    frozenset(("crelu", "prelu")): "a learned slope on both signs of a unit is one linear part twice",
    frozenset(("fourier", "leaky")): "sine and cosine take the place of the rectifier that would leak",
    frozenset(("fourier", "prelu")): "sine and cosine take the place of the rectifier whose slope is learned",
    frozenset(("leaky", "prelu")): "a slope is given or learned",
    frozenset(("adamw", "muon")): "muon replaces Adam, whose decay adamw decouples; it has a weight_decay of its own",
    frozenset(("adamw", "upgd")): "upgd replaces Adam, whose decay adamw decouples; it decays all weights itself",
    frozenset(("muon", "upgd")): "both replace Adam's step",
    frozenset(("normalise_and_project", "spectral_normalisation")): "each sets the scale of the same layer its own way",
    frozenset(("plasticity_injection", "spectral_normalisation")): "the injected copies would not divide their weights",
    frozenset(("layer_reset", "simba")): "the layers below a head are not the last ones alone: all write what it reads",
    frozenset(("pfo", "simba")): "the features are a stream's, and no activation is given them that could be held",
    frozenset(("plasticity_injection", "simba")): "a head and the last block are no chain: the stream runs beside it",
}


def refusals(names: Iterable[str]) -> list[str]:
    """Say of each two of these mitigations that cannot be stacked why not, a line each."""
    pairs = combinations(sorted({*names}), 2)
    return [f"{a} and {b} cannot be stacked: {why}" for a, b in pairs if (why := REFUSED.get(frozenset((a, b))))]


def refuse(methods: Iterable[Mitigation]) -> None:
    """Refuse methods of which two cannot be stacked.

    Raises:
        ValueError: the message names both, and says why.
    """
    names = {entry.make: entry.name for entry in mitigations}
    if lines := refusals(names[type(method)] for method in methods if type(method) in names):
        raise ValueError("; ".join(lines))
