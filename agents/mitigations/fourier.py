"""Deep Fourier features: sine and cosine of every unit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.network import Halves, NetworkSpec, Shape
from lopgym.agents.promises import Promises


@mitigations.register(
    "fourier",
    cite="arXiv:2410.20634",
    null=None,
    null_reason="sine and cosine are no ReLU at any setting",
    promises=Promises(function="n/a"),
)
@dataclass(kw_only=True, eq=False)
class DeepFourier(Mitigation):
    """Deep Fourier features: a unit returns [sin(z), cos(z)] in every hidden layer, instead of ReLU.

    Where one of both is flat the other is steepest, sin'(z)^2 + cos'(z)^2 = 1: a unit never saturates, and near any z
    one half is almost linear. The sines of all units come first, then all cosines. A cosine is not 0 at 0: a reset
    unit, whose weights out are 0, says 0 all the same. It hurts where incoming weights grow: large z are hashed, and
    generalisation goes (the paper adds regularisation). Reports nothing.

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

        def fourier(shape: Shape) -> nn.Module:
            return Halves(torch.sin, torch.cos)

        return spec.with_activation("fourier", fourier, halves=2).divided(2 if self.halve else 1)
