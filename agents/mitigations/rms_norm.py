"""Root-mean-square normalisation before every activation."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.network import NetworkSpec, Shape
from lopgym.agents.promises import Promises

EPS = 1e-5  # LayerNorm's; PyTorch's own choice for RMSNorm is the rounding error of the dtype


@mitigations.register(
    "rms_norm",
    cite="arXiv:1910.07467",
    null=None,
    null_reason="a normalised network is another function at any setting",
    promises=Promises(function="n/a"),
)
@dataclass(kw_only=True, eq=False)
class RMSNorm(Mitigation):
    """Divide what each hidden layer computes for a sample by its root mean square, before the activation.

    z <- z / sqrt(mean(z^2) + 1e-5), over all units; of an image over channels and positions together. The size of the
    pre-activations no longer drifts, but unlike with `layer_norm` their mean may: a layer can still turn off for a
    sample. It hurts where the size of an observation is what matters. Reports nothing.

    Args:
        affine: learn a gain for every output. Gains can silence units.
    """

    affine: bool = False

    def build_network(self, spec: NetworkSpec) -> NetworkSpec:
        """Insert a norm before every activation."""

        def norm(shape: Shape) -> nn.Module:
            return nn.RMSNorm(shape, eps=EPS, elementwise_affine=self.affine)

        return replace(spec, before_activation=(*spec.before_activation, norm))
