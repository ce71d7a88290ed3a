"""Concatenated ReLU: both signs of every unit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.network import Halves, NetworkSpec, Shape
from lopgym.agents.promises import Promises


def relu_of_minus(x: Tensor) -> Tensor:
    """Return max(-x, 0)."""
    return torch.relu(-x)


@mitigations.register(
    "crelu",
    cite="arXiv:1603.05201 definition 2.1; for plasticity arXiv:2303.07507",
    null=None,
    null_reason="a layer that returns both signs is another function at any setting",
    promises=Promises(function="n/a"),
)
@dataclass(kw_only=True, eq=False)
class CReLU(Mitigation):
    """Concatenated ReLU: a unit returns [max(z, 0), max(-z, 0)], so one of both always passes the gradient.

    No unit can die, though its two outputs may be read by weights that cancel. The first halves of all units come
    first, then all second ones. Resets recycle a unit with both. It hurts where sparse features help, and with
    `halve` a network that was small already. Reports nothing.

    Args:
        halve: build half as many units, rounded up, so that the next layer reads as many numbers as before. If not,
            it reads twice as many, and has twice the weights.
    """

    halve: bool = True

    def build_network(self, spec: NetworkSpec) -> NetworkSpec:
        """Choose the activation.

        Raises:
            ValueError: another method has chosen it already.
        """

        def crelu(shape: Shape) -> nn.Module:
            return Halves(torch.relu, relu_of_minus)

        return spec.with_activation("crelu", crelu, halves=2).divided(2 if self.halve else 1)
