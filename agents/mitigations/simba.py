"""SimBa: hidden layers beside a residual stream, which is normalised before each of them and at the end."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.network import NetworkSpec
from lopgym.agents.promises import Promises
from lopgym.bounds import PositiveInt


@mitigations.register(
    "simba",
    cite="arXiv:2410.09754 (SimBa), as the authors' code has it, github.com/SonyResearch/simba",
    null=None,
    null_reason="a residual network is another function at any setting",
    promises=Promises(function="n/a"),
)
@dataclass(kw_only=True, eq=False)
class SimBa(Mitigation):
    """SimBa blocks: x <- x + W2 relu(W1 LayerNorm(x) + b1) + b2, on a residual stream that heads read normalised.

    x = W0 o + b0 embeds the observation, or what convolutions make of it. Each entry of the agent's `hidden` is a block
    of `expansion` times as many hidden units; the last entry is the width of the stream, the paper's are all equal.
    LayerNorm, with gain and shift, stands before every block and behind the last. So there is a linear way from the
    observation to the heads, features keep their size, and what the blocks add may begin small and grow: a bias to
    simple functions, by which wider networks get better where plain ones get worse. The authors take one block beside
    128 channels for an actor and two beside 512 for a critic; here all trunks are alike.

    Hidden units are those inside the blocks, and can be recycled. W0 and W2 have none; for regularisers, perturbations
    and resets of weights they are weights of hidden layers. `normalise_and_project` holds the length of W1 alone, and
    `crelu` and `fourier` with `halve` narrow the stream, too. Weights begin as the agent's do, not by He's normal law.
    Observations standardised by running statistics, the third part of SimBa, are not in here: that is what a run's
    `normalize.observations` asks of Stable-Baselines3's `VecNormalize`. It hurts where time counts, a block having
    2 * `expansion` times the weights of a plain layer of the same width. Reports nothing.

    Args:
        expansion: hidden units of a block for each that `hidden` says, 4 in the paper. More make a block richer and
            slower.
    """

    expansion: PositiveInt = 4

    def build_network(self, spec: NetworkSpec) -> NetworkSpec:
        """Put the fully connected layers beside a stream."""
        return replace(spec, expansion=self.expansion)
