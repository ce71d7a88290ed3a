"""Recycling: what methods share that judge all units now and then and reset some of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lopgym.agents.learner import Learner
from lopgym.agents.promises import Promises
from lopgym.agents.reset_units import reset_units
from lopgym.probes.captures import Captures

RECYCLES = Promises(
    function="approximate",
    touches=("hidden", "heads", "moments", "target"),
    unless={"moments": {"moments": (False,)}, "target": {"target": (False,)}},
)
"""What `reset_units` does to a learner, of a method with its options `moments` and `target`."""


def recent_activations(learner: Learner, n: int) -> dict[str, Tensor]:
    """Return what each hidden layer puts out for n recent observations, (samples, U), modes left as they are.

    The numbers that an activation such as CReLU returns for a unit are samples of it.
    """
    layers = {layer.name: (layer.incoming, layer.activation) for layer in learner.layers}
    seen = Captures(learner.network, layers, {}, learner.observations(n), forward=learner.forward)
    return {layer.name: layer.per_unit(seen.activations[layer.name]) for layer in learner.layers}


def recycle(learner: Learner, chosen: Mapping[str, Tensor], **how: Any) -> None:
    """Reset the chosen units of each layer, first to last, and report how many, in all and by layer.

    Args:
        learner: whose units they are.
        chosen: layer to bool (U,); layers that are left out keep theirs.
        how: options of `reset_units`.
    """
    counts = {
        f"reset_units/{layer.name}": reset_units(learner, layer, chosen[layer.name], **how)
        for layer in learner.layers
        if layer.name in chosen
    }
    learner.report({"reset_units": sum(counts.values()), **counts})
