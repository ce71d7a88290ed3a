"""InFeR: initial feature regularisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.mitigations.extra_passes import penalise, put_out
from lopgym.agents.network import NetworkSpec, Shape, Trunk
from lopgym.agents.promises import Promises
from lopgym.bounds import NonNegativeFloat, PositiveInt
from lopgym.probes.recording import swapped


class Auxiliary(nn.Module):
    """Linear heads beside a trunk that nobody but a regulariser reads: not among the trunk's affine maps."""

    def __init__(self, features: int, heads: int) -> None:
        """Draw weights as `nn.Linear` does."""
        super().__init__()
        drawn = nn.Linear(features, heads)
        self.weight, self.bias = nn.Parameter(drawn.weight.detach()), nn.Parameter(drawn.bias.detach())

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, U) to (B, k)."""
        return nn.functional.linear(features, self.weight, self.bias)


@mitigations.register(
    "infer",
    cite="arXiv:2204.09560, initial feature regularization",
    null={"alpha": 0.0},
    promises=Promises(function="n/a", touches=("hidden", "norms", "extra")),
)
@dataclass(kw_only=True, eq=False)
class InFeR(Mitigation):
    """InFeR: let auxiliary heads on the features say, for ever, `beta` times what they said at the start.

    Loss + alpha * E sum_i (g_i(s; theta) - beta * g_i(s; theta_0))^2: each of the k linear heads g_i regresses on its
    own initial output, scaled up so that features, and not only heads, are held. A subspace of the features stays as
    rich as it was, so rank cannot collapse. Each trunk, actor and critic, has heads of its own; they are parameters of
    the network, trained by its optimizer. The paper takes the expectation over the replay; so do we, and over the
    rollout with PPO. A pass forward and one forward and back are added to each update, and a copy of the weights.
    It takes capacity from the task: small networks suffer, and with `beta` far above the scale of the loss clipped
    gradients are mostly its own. The target's heads are never read.

    Args:
        alpha: weight of the regression. More holds features faster; 0 builds no heads.
        beta: scale of the targets. More moves features further to meet them.
        heads: in each trunk, the paper's k. More hold a larger subspace.
        batch: recent observations. More steadies the pull and costs more.
    """

    alpha: NonNegativeFloat = 0.1
    beta: NonNegativeFloat = 100.0
    heads: PositiveInt = 10
    batch: PositiveInt = 64
    _start: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    def build_network(self, spec: NetworkSpec) -> NetworkSpec:
        """Put the heads beside the trunk."""
        return replace(spec, beside=(*spec.beside, self._heads)) if self.alpha else spec

    def _heads(self, shape: Shape) -> nn.Module:
        return Auxiliary(shape[0], self.heads)

    def begin(self, learner: Learner) -> None:
        """Remember the start. Called late, it is where the weights stood at the first update."""
        if self.alpha and not self._start:
            self._start = {name: tensor.detach().clone() for name, tensor in learner.network.state_dict().items()}

    def on_gradient(self, learner: Learner) -> None:
        """Add the gradient of the regression."""
        if not self.alpha:
            return
        self.begin(learner)
        observations = learner.observations(self.batch)
        with torch.no_grad(), swapped(learner.network, self._start):
            targets = _said(learner, observations)
        if not targets:  # the network was built without the method
            return
        with torch.enable_grad():
            said = _said(learner, observations)
            errors = [(said[name] - self.beta * targets[name]).square().sum(1).mean() for name in said]
            penalise(learner, torch.stack(errors).sum(), self.alpha)

    def state_dict(self) -> dict[str, Any]:
        """Return the weights at the start."""
        return {"start": {name: tensor.clone() for name, tensor in self._start.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._start = {name: tensor.clone() for name, tensor in state["start"].items()}


def _said(learner: Learner, observations: Tensor) -> dict[str, Tensor]:
    """Return what the auxiliary heads of each trunk that has some say of the observations, (B, k)."""
    modules = dict(learner.network.named_modules())
    trunks = {name: module for name, module in modules.items() if isinstance(module, Trunk)}
    heads = {name: part for name, trunk in trunks.items() for part in trunk.modules() if isinstance(part, Auxiliary)}
    features = put_out(learner, {name: modules[name] for name in heads}, observations) if heads else {}
    return {name: head(features[name]) for name, head in heads.items()}
