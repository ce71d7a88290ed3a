"""Parametric ReLU: every unit learns its slope where it is off."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.network import NetworkSpec, Shape
from lopgym.agents.promises import Promises
from lopgym.bounds import Fraction


@mitigations.register(
    "prelu",
    cite="arXiv:1502.01852 eq. 1; for plasticity (AdaLin with ReLU) arXiv:2505.09486",
    null=None,
    null_reason="slopes that begin at 0 learn, and leave it",
    promises=Promises(function="n/a"),
)
@dataclass(kw_only=True, eq=False)
class PReLU(Mitigation):
    """Parametric ReLU: a unit returns max(z, 0) + alpha * min(z, 0), alpha its own and learned with the weights.

    So each unit makes itself as linear as its gradient wants it. With a slope for every unit, every channel of an
    image, this is what adaptive linearity injection (AdaLin) is of ReLU. The slopes are parameters of the network,
    trained by its optimizer; regularisers, perturbations and unit resets, which are about affine maps, leave them
    alone, and the target copies them. It hurts where a slope becomes negative: two z then look alike. Reports nothing.

    Args:
        start: slope of every unit at first; 0 begins as ReLU, 1 as a linear network.
    """

    start: Fraction = 0.25

    def build_network(self, spec: NetworkSpec) -> NetworkSpec:
        """Choose the activation.

        Raises:
            ValueError: another method has chosen it already.
        """

        def prelu(shape: Shape) -> nn.Module:
            return nn.PReLU(shape[0], init=self.start)

        return spec.with_activation("prelu", prelu)
