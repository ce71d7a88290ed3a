"""Layer normalisation before every activation."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.network import NetworkSpec, Shape
from lopgym.agents.promises import Promises


@mitigations.register(
    "layer_norm",
    cite="arXiv:1607.06450 eq. 3; for plasticity arXiv:2402.18762",
    null=None,
    null_reason="a normalised network is another function at any setting",
    promises=Promises(function="n/a"),
)
@dataclass(kw_only=True, eq=False)
class LayerNorm(Mitigation):
    """Normalise what each hidden layer computes for a sample to mean 0 and variance 1, before the activation.

    z <- (z - mean(z)) / sqrt(var(z) + 1e-5), over all units; of an image over channels and positions together. So no
    layer can drift to where all of its units are off for a sample, and its gradients do not depend on how large its
    pre-activations are. A single unit may still be off for every sample. It hurts where the size of an observation is
    what matters, and layers of very few units; as weights grow, steps of the same size turn them less and less
    (`normalise_and_project` keeps them from it). Reports nothing.

    Args:
        affine: learn a gain and a shift for every output. They can push units into the dead zone again.
    """

    affine: bool = False

    def build_network(self, spec: NetworkSpec) -> NetworkSpec:
        """Insert a norm before every activation."""

        def norm(shape: Shape) -> nn.Module:
            return nn.LayerNorm(shape, elementwise_affine=self.affine)

        return replace(spec, before_activation=(*spec.before_activation, norm))
