"""Drawing the ends of a network anew: its heads and so many layers below them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lopgym.agents.initialisers import Affine
from lopgym.agents.learner import Learner
from lopgym.agents.mitigations.forgetting import FORGETTING


def last_maps(learner: Learner, last: int) -> list[Affine]:
    """Return the last affine maps of every branch, heads first: 1 is the heads alone, 2 the layers below as well.

    A layer that two branches share is there once.
    """
    found: list[Affine] = list(learner.heads.values())
    edge = list(found)
    for _ in range(last - 1):
        edge = [layer.incoming for layer in learner.layers if any(module in edge for module in layer.outgoing)]
        found += [module for module in edge if module not in found]
    return found


@torch.no_grad()
def draw_anew(learner: Learner, modules: Sequence[Affine], optimizer: str) -> None:
    """Give modules the weights and biases of a new network, in place; the target's modules get the same.

    The rest of the target, too, becomes the network's: behind new weights an old head is worth nothing.
    """
    drawn = learner.fresh()
    names = {parameter: name for name, parameter in learner.network.named_parameters()}
    parameters = [parameter for module in modules for parameter in module.parameters()]
    for parameter in parameters:
        parameter.copy_(drawn[names[parameter]])
    FORGETTING[optimizer](learner.optimizer, parameters)
    learner.synchronise_target()
