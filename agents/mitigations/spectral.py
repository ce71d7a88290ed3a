"""Spectral regularisation: keep the largest singular value of every layer near 1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lopgym.agents.draws import normal_like
from lopgym.agents.initialisers import bias_of
from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.mitigations.power_iteration import as_matrix, singular_vectors
from lopgym.agents.promises import Promises
from lopgym.bounds import NonNegativeFloat, PositiveInt

NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)
FIRST_ITERATIONS = 15  # from a random vector, as PyTorch's own spectral_norm; afterwards one an update keeps up


@mitigations.register(
    "spectral",
    cite="arXiv:2406.06811 (spectral regularisation)",
    null={"strength": 0.0},
    promises=Promises(function="n/a", touches=("hidden", "heads", "norms")),
)
@dataclass(kw_only=True, eq=False)
class Spectral(Mitigation):
    """Spectral regularisation: pull each layer's largest singular value towards 1 and its bias towards 0.

    Its penalty is strength times the sum, over layers, of (sigma_1(W)^k - 1)^2 + ||b||^(2k), and over norms, if there
    are any with parameters, of ||gain - 1||^2 + ||shift||^(2k). It bounds how far a layer stretches its inputs and
    leaves the small singular values, and so diversity and rank, to the loss. Kernels of a convolution are rows of one
    matrix. sigma_1 comes from one power iteration an update whose vectors persist; the first of them, random, gets
    15, a start the paper does not prescribe. Acts on hidden layers and heads, and on norms, not on `log_std`; the
    target follows at its next update. It hurts where outputs must be large: a head's sigma_1 is held to 1 as well,
    which limits Q-values unless features grow. `strength` is ours: the paper tunes it.

    Args:
        strength: of the pull. More holds sigma_1 closer to 1; less lets layers stretch.
        k: exponent. A larger one spares values near 1 less and punishes large ones far harder.
    """

    strength: NonNegativeFloat = 1e-4
    k: PositiveInt = 2
    _left: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    @torch.no_grad()
    def on_gradient(self, learner: Learner) -> None:
        """Add the penalty's gradient."""
        if not self.strength:
            return
        self._pull_to_one(learner)
        for _, module in learner.affines():
            self._pull_to_zero(bias_of(module))
        for norm in norms(learner.network):
            if norm.weight.grad is not None:
                norm.weight.grad.add_(norm.weight - 1, alpha=2 * self.strength)
            if getattr(norm, "bias", None) is not None:
                self._pull_to_zero(norm.bias)

    def _pull_to_one(self, learner: Learner) -> None:
        """Add d (sigma^k - 1)^2 / dW = 2 k (sigma^k - 1) sigma^(k - 1) u v^T, for each W as (units, inputs)."""
        weights = {name: module.weight for name, module in learner.affines() if module.weight.grad is not None}
        if not weights:
            return
        found = [self._largest(learner, name, as_matrix(weight)) for name, weight in weights.items()]
        sigma = torch.stack([largest for _, _, largest in found])
        slopes = 2 * self.k * (sigma**self.k - 1) * sigma ** (self.k - 1)
        for weight, (left, right, _), slope in zip(weights.values(), found, slopes, strict=True):
            assert weight.grad is not None
            weight.grad.add_(torch.outer(left, right).mul_(slope).view_as(weight), alpha=self.strength)

    def _largest(self, learner: Learner, name: str, matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return u, v and sigma_1, as far as they are known."""
        iterations = 1
        if name not in self._left:
            drawn = normal_like(matrix[:, 0], learner.rng)
            self._left[name], iterations = nn.functional.normalize(drawn, dim=0), FIRST_ITERATIONS
        left, right = singular_vectors(matrix, self._left[name], iterations)
        self._left[name] = left
        return left, right, left @ matrix @ right

    def _pull_to_zero(self, vector: Tensor) -> None:
        """Add d ||b||^(2k) / db = 2 k ||b||^(2k - 2) b."""
        if vector.grad is not None:
            vector.grad.addcmul_(vector, vector.square().sum() ** (self.k - 1), value=2 * self.k * self.strength)

    def state_dict(self) -> dict[str, Any]:
        """Return the left singular vectors, by layer."""
        return {name: left.clone() for name, left in self._left.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._left = {name: left.clone() for name, left in state.items()}


def norms(network: nn.Module) -> Iterator[Any]:
    """Yield every norm of `network` that has gains."""
    for module in network.modules():
        if isinstance(module, NORMS) and getattr(module, "weight", None) is not None:
            yield module
