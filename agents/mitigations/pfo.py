"""PFO: proximal feature optimisation, a trust region for features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.mitigations.extra_passes import decides, given, penalise
from lopgym.agents.promises import Promises
from lopgym.bounds import NonNegativeFloat, PositiveInt
from lopgym.probes.recording import swapped


@mitigations.register(
    "pfo",
    cite="arXiv:2405.00662 (proximal feature optimization), and the authors' code, "
    "github.com/CLAIRE-Labo/no-representation-no-trust",
    null={"strength": 0.0},
    promises=Promises(function="n/a", touches=("hidden", "norms", "extra")),
)
@dataclass(kw_only=True, eq=False)
class PFO(Mitigation):
    """Proximal feature optimisation: keep pre-activations near what they were when the data were collected.

    Loss + strength * E mean_u (phi_u(s) - phi_old,u(s))^2, phi being what the activations are given and u the units of
    all chosen layers together, each place of an image one. PPO clips the policy but not its features, whose
    pre-activations may grow without end from rollout to rollout and lose their rank. phi_old is the network as it was
    when the rollout ended; DQN has no rollout to hold on to, so there it is the target network. As in the authors' runs
    the critic stays free. They penalise the minibatch learned; here it is a batch of recent observations, of the same
    rollout or replay. A pass forward and one forward and back are added to each update, and a copy of the weights is
    kept for PPO. It slows the learning of features that a new task needs.

    Args:
        strength: of the pull, 1 or 10 in the authors' runs. More keeps features stiller; less is nearer to `none`.
        layers: `last`: the features, which the head reads; `all`: every hidden layer.
        batch: recent observations. More steadies the pull and costs more.
    """

    strength: NonNegativeFloat = 1.0
    layers: Literal["last", "all"] = "last"
    batch: PositiveInt = 64
    _old: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)
    _steps: int = field(default=-1, init=False, repr=False)

    def on_gradient(self, learner: Learner) -> None:
        """Add the gradient of the pull."""
        if not self.strength:
            return
        observations, modules = learner.observations(self.batch), self._modules(learner)
        with torch.no_grad(), swapped(learner.network, self._reference(learner)):
            old = given(learner, modules, observations)
        with torch.enable_grad():
            now = given(learner, modules, observations)
            moved = torch.cat([(now[name] - old[name]).flatten(1) for name in modules], dim=1)
            penalise(learner, moved.square().mean(), self.strength)

    def _modules(self, learner: Learner) -> dict[str, nn.Module]:
        heads = {id(head) for head in learner.heads.values()}
        return {
            layer.name: layer.activation
            for layer in learner.layers
            if decides(layer.name) and (self.layers == "all" or not heads.isdisjoint(map(id, layer.outgoing)))
        }

    def _reference(self, learner: Learner) -> Mapping[str, Tensor]:
        """Return the target's weights; without a target, those before the first update since the last env step."""
        if learner.target is not None:
            return learner.target.state_dict()
        if learner.steps != self._steps:
            self._steps = learner.steps
            self._old = {name: tensor.clone() for name, tensor in learner.network.state_dict().items()}
        return self._old

    def state_dict(self) -> dict[str, Any]:
        """Return the weights at the end of the last rollout, and when that was."""
        return {"steps": self._steps, "old": {name: tensor.clone() for name, tensor in self._old.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._steps = int(state["steps"])
        self._old = {name: tensor.clone() for name, tensor in state["old"].items()}
