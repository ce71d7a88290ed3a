"""Normalise and project: a norm before every activation, and weights kept at their initial length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from lopgym.agents.initialisers import bias_of
from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.network import Layer, NetworkSpec, Shape
from lopgym.agents.promises import Promises
from lopgym.bounds import PositiveInt

# A projection by c scales what a norm returns of pre-activations of variance v by sqrt((v + eps) / (v + eps / c^2)):
# not at all if eps, 1e-5, were 0, else by about eps |c - 1| / v and never by more than |c - 1|. That is 1e-3 a norm for
# c = 0.99, a long update, at v = 1e-4, as layers of two or three units say of some observation; three norms add up.
SLACK = 3e-3


@mitigations.register(
    "normalise_and_project",
    cite="arXiv:2407.01800 (Normalize-and-Project)",
    null=None,
    null_reason="a normalised network is another function at any setting",
    promises=Promises(function="exact", touches=("hidden",), slack=SLACK),
)
@dataclass(kw_only=True, eq=False)
class NormaliseAndProject(Mitigation):
    """Normalise before every activation, and rescale each hidden layer to its initial length after every update.

    Behind LayerNorm a layer's scale does not matter to the outputs, but the longer its weights grow, the less an
    update of given size turns them: the effective learning rate falls as 1 / ||theta||^2 of the layer. So, beside the
    norm, (W, b) <- (W, b) * rho / ||(W, b)||, rho being the initial length: outputs stay, up to the norm's epsilon,
    and so does the learning rate. Weight and bias share the factor, since only that keeps the function. The norms
    have neither gain nor shift, which could otherwise drift in place of the weights. Heads, which no norm follows, keep
    their length free. Optimizer moments stay; the target follows at its next update. It hurts where the hidden decay
    of the learning rate was what made training settle: give an explicit schedule then.

    Args:
        every: updates between two projections. More is cheaper and lets the learning rate sag in between.
    """

    every: PositiveInt = 1
    _lengths: list[Tensor] = field(default_factory=list, init=False, repr=False)

    def build_network(self, spec: NetworkSpec) -> NetworkSpec:
        """Insert a norm before every activation."""

        def norm(shape: Shape) -> nn.Module:
            return nn.LayerNorm(shape, elementwise_affine=False)

        return replace(spec, before_activation=(*spec.before_activation, norm))

    @torch.no_grad()
    def begin(self, learner: Learner) -> None:
        """Measure the layers. Called late, it is how long they were after the first update."""
        if not self._lengths:
            self._lengths = [length(layer) for layer in learner.layers]

    @torch.no_grad()
    def after_step(self, learner: Learner) -> None:
        """Project, every `every` updates."""
        self.begin(learner)
        if learner.updates % self.every:
            return
        for layer, initial in zip(learner.layers, self._lengths, strict=True):
            now = length(layer)
            factor = torch.where(now > 0, initial / now, torch.ones_like(now))
            layer.incoming.weight.mul_(factor)
            bias_of(layer.incoming).mul_(factor)

    def state_dict(self) -> dict[str, Any]:
        """Return the initial lengths."""
        return {"lengths": [initial.clone() for initial in self._lengths]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._lengths = [initial.clone() for initial in state["lengths"]]


def length(layer: Layer) -> Tensor:
    """Return the Euclidean norm of all of a layer's weights and biases."""
    everything: Tensor = torch.cat([layer.incoming.weight.flatten(), bias_of(layer.incoming)])
    return torch.sqrt(everything.square().sum())
