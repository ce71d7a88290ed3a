"""Leaky ReLU: a slope for units that are off."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.network import NetworkSpec, Shape
from lopgym.agents.promises import Promises
from lopgym.bounds import Fraction


@mitigations.register(
    "leaky",
    cite="Maas, Hannun & Ng 2013, sec. 2 (leaky ReLU)",
    null={"slope": 0.0},
    promises=Promises(function="n/a"),
)
@dataclass(kw_only=True, eq=False)
class Leaky(Mitigation):
    """Leaky ReLU: a unit returns z where z > 0 and slope * z elsewhere, so that its gradient is never zero.

    A unit that is off everywhere still learns, slope times as fast under plain gradient descent, and comes back. At
    slope 0 the network is built with ReLU, since 0 * z would be -0. It hurts where sparse features help. Reports
    nothing.

    Args:
        slope: where z < 0. More lets units that are off learn faster; at 1 the network is linear.
    """

    slope: Fraction = 0.01

    def build_network(self, spec: NetworkSpec) -> NetworkSpec:
        """Choose the activation.

        Raises:
            ValueError: another method has chosen it already.
        """

        def leaky(shape: Shape) -> nn.Module:
            return nn.LeakyReLU(self.slope)

        return spec.with_activation("leaky", leaky) if self.slope else spec
