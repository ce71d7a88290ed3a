"""Dropout after every hidden activation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from annotated_types import Interval
from torch import nn

from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.network import NetworkSpec, Shape
from lopgym.agents.promises import Promises


@mitigations.register(
    "dropout",
    cite="arXiv:1207.0580; for clones arXiv:2510.00304",
    null={"p": 0.0},
    promises=Promises(function="n/a"),
)
@dataclass(kw_only=True, eq=False)
class Dropout(Mitigation):
    """Silence each hidden output with probability `p` in training passes, and scale the others by 1 / (1 - p).

    h <- m h / (1 - p), m ~ Bernoulli(1 - p) for each output, position and sample (Hinton et al. 2012; they scale at
    test time instead). Units that compute the same then no longer receive the same error, so clones part. It draws from
    torch's global generator, as dropout modules do; at p = 0 no module is built, since even then one would draw.

    Acting, targets and probes see the whole network. It hurts where outputs are to be exact, as the values that a DQN
    learns by regression, and in PPO, whose ratio to the policy that acted is no longer 1 before the first update.
    Reports nothing.

    Args:
        p: probability that an output is silenced. Higher parts clones sooner and blurs what the network says more.
    """

    p: Annotated[float, Interval(ge=0, lt=1)] = 0.1

    def build_network(self, spec: NetworkSpec) -> NetworkSpec:
        """Insert dropout after every activation."""
        return replace(spec, after_activation=(*spec.after_activation, self._layer)) if self.p else spec

    def _layer(self, shape: Shape) -> nn.Module:
        return nn.Dropout(self.p)
