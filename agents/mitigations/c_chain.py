"""C-CHAIN: reduce churn, what each update changes of what the network says elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from annotated_types import Interval
from torch import Tensor
from torch.nn.utils import get_total_norm

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.mitigations.extra_passes import decides, gradient_of, put_out
from lopgym.agents.promises import Promises
from lopgym.bounds import NonNegativeFloat, PositiveInt

EPS = 1e-12  # beside the length of the churn's gradient, which is 0 where an update changed nothing


@dataclass
class Churned:
    """A reference batch, what the network said of it before the last update, and running means of two lengths.

    Args:
        observations: (B, ...).
        outputs: of each head that decides, (B, outputs).
        pulls: (2,), of the gradient of the loss and of that of the churn. They start at 0, which their ratio forgets.
    """

    observations: Tensor
    outputs: dict[str, Tensor]
    pulls: Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))


@mitigations.register(
    "c_chain",
    cite="arXiv:2506.00592 (continual churn approximated reduction), and the authors' code, "
    "github.com/bluecontra/C-CHAIN; churn: arXiv:2409.04792",
    null={"share": 0.0},
    promises=Promises(function="n/a", touches=("hidden", "heads", "norms", "extra")),
)
@dataclass(kw_only=True, eq=False)
class CChain(Mitigation):
    """C-CHAIN: penalise what the last update changed of the network's outputs on a reference batch.

    Loss + lambda * churn, where churn is E d(f_t(s), f_{t-1}(s)) over recent observations, f_{t-1} being the network
    before the last update. As in the authors' code, d is the mean squared difference for Q-values and for the means of
    Gaussian actions, the cross-entropy from the old probabilities to the new ones for discrete actions (several at a
    time are taken for one), and a critic stays free. Churn grows as the neural tangent kernel loses its rank; less of
    it keeps the gradients of different samples apart.

    They set lambda so that churn is a share of the loss (PPO: of the policy's), |L| / churn times 0.01 for DQN and 0.05
    for PPO on locomotion, by running means; a hook knows gradients and no loss, so here the churn's gradient is a
    `share` of the length of the loss's, over the parameters that both reach, by running means too. The batch is drawn
    one update ahead. A pass forward and one forward and back are added to each update. It slows learning where the
    whole function has to change at once, and pulls back for one update what a reset has changed.

    Args:
        share: of the gradient. More keeps outputs stiller and learns slower; less is nearer to `none`.
        decay: of the running means. More steadies lambda; less follows the losses of the moment.
        batch: reference observations. More measures churn better and costs more.
    """

    share: NonNegativeFloat = 0.05
    decay: Annotated[float, Interval(ge=0, lt=1)] = 0.99
    batch: PositiveInt = 64
    _last: Churned | None = field(default=None, init=False, repr=False)

    def on_gradient(self, learner: Learner) -> None:
        """Add the gradient of the last update's churn, and note what the network says before this one."""
        if not self.share:
            return
        last = self._last
        if last is not None:
            self._reduce(learner, last)
        observations = learner.observations(self.batch)
        with torch.no_grad():
            outputs = _outputs(learner, observations)
        self._last = Churned(observations, outputs, *([] if last is None else [last.pulls]))

    def _reduce(self, learner: Learner, last: Churned) -> None:
        with torch.enable_grad():
            now = _outputs(learner, last.observations)
            churn = torch.stack([_churn(learner, name, now[name], old) for name, old in last.outputs.items()]).sum()
            pairs = gradient_of(learner, churn)
        lengths = [get_total_norm(side).item() for side in zip(*pairs, strict=True)]
        last.pulls.lerp_(torch.tensor(lengths, dtype=torch.float64), 1 - self.decay)
        loss, churned = last.pulls.tolist()
        for gradient, pull in pairs:
            gradient.add_(pull, alpha=self.share * loss / (churned + EPS))

    def state_dict(self) -> dict[str, Any]:
        """Return the reference batch, what was said of it, and the running means."""
        last = self._last
        if last is None:
            return {}
        outputs = {name: tensor.clone() for name, tensor in last.outputs.items()}
        return {"observations": last.observations.clone(), "outputs": outputs, "pulls": last.pulls.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        if state:
            outputs = {name: tensor.clone() for name, tensor in state["outputs"].items()}
            self._last = Churned(state["observations"].clone(), outputs, state["pulls"].clone())


def _outputs(learner: Learner, observations: Tensor) -> dict[str, Tensor]:
    return put_out(learner, {name: head for name, head in learner.heads.items() if decides(name)}, observations)


def _churn(learner: Learner, name: str, now: Tensor, before: Tensor) -> Tensor:
    if hasattr(learner.network, "log_std") or not name.startswith("actor."):  # means of a Gaussian, or values
        return (now - before).square().mean()
    return -(before.softmax(1) * now.log_softmax(1)).sum(1).mean()
