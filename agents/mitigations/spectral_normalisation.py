"""Spectral normalisation: divide a layer's weights by their largest singular value, in every pass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from lopgym.agents.initialisers import Affine, bias_of
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.mitigations.power_iteration import as_matrix, singular_vectors
from lopgym.agents.network import NetworkSpec
from lopgym.agents.promises import Promises

FIRST_ITERATIONS = 15  # at the initial weights, from a fixed random vector; afterwards one in every training pass


@mitigations.register(
    "spectral_normalisation",
    cite="arXiv:2105.05246; arXiv:1802.05957 alg. 1",
    null=None,
    null_reason="a normalised network is another function at any setting",
    promises=Promises(function="n/a"),
)
@dataclass(kw_only=True, eq=False)
class SpectralNormalisation(Mitigation):
    """Spectral normalisation: let the last hidden layer compute (W / sigma_1(W)) x + b.

    So the layer stretches no input, however long its weights grow, and the gradient with respect to W, which passes
    through sigma_1 = u W v, falls as W grows: a schedule for the step size more than a constraint. The vector u takes
    one power iteration in every training pass and none in evaluation. The weights that the optimizer, resets and
    probes see are those before the division, under their usual names; u is a buffer, saved with the network, and goes
    to the target when that is updated. A kernel of a convolution is a row. It hurts where a layer should stretch: a
    network of many layers loses signal when all of them are divided. A unit that is reset changes sigma_1 and so, a
    little, what the others put out; compensation by outgoing weights is exact up to that factor only.

    Args:
        layers: `last`: the hidden layer before the heads, which the paper finds enough; `hidden`: all hidden layers.
    """

    layers: Literal["last", "hidden"] = "last"

    def build_network(self, spec: NetworkSpec) -> NetworkSpec:
        """Let the chosen layers divide by their largest singular value."""
        return replace(spec, finish=(*spec.finish, self._finish))

    def _finish(self, blocks: nn.ModuleList) -> None:
        for block in [*blocks][-1:] if self.layers == "last" else blocks:
            watch(cast(Affine, block.incoming))


@torch.no_grad()
def watch(module: Affine) -> None:
    """Make a module divide its weights by their largest singular value whenever it is called."""
    matrix = as_matrix(module.weight)
    drawn = torch.randn(len(matrix), generator=torch.Generator().manual_seed(0)).to(matrix)
    left, _ = singular_vectors(matrix, nn.functional.normalize(drawn, dim=0), FIRST_ITERATIONS)
    # Stable-Baselines3 copies buffers called `running_` to the target, as it does for batch norm
    module.register_buffer("running_left", left)
    module.register_forward_hook(divide)


def divide(module: Affine, inputs: Any, output: Tensor) -> Tensor:
    """Return (W / sigma_1) x + b, given W x + b."""
    matrix, state = as_matrix(module.weight), cast(Tensor, module.running_left)
    if module.training and torch.is_grad_enabled():
        with torch.no_grad():
            state.copy_(singular_vectors(matrix, state)[0])
    left = state.clone()  # the next pass turns the buffer, and this one's backward pass needs what it was
    right = nn.functional.normalize(matrix.detach().T @ left, dim=0)
    sigma = (left @ matrix @ right).clamp(min=torch.finfo(matrix.dtype).tiny)
    bias = bias_of(module).view(-1, *(1 for _ in output.shape[2:]))
    return (output - bias) / sigma + bias
