"""Muon: hidden weights move by orthogonal matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Interval
from torch import Tensor
from torch.optim import Adam, Optimizer

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, OptimizerFactory, mitigations
from lopgym.agents.mitigations.around import Around, evaluated, inside, plain_adam
from lopgym.agents.promises import Promises
from lopgym.bounds import NonNegativeFloat


class MuonAndAdam(Around):
    """Muon for the parameters of a group whose places are in its `muon`, Adam for the others.

    Args:
        base: the Adam.
        options: of `torch.optim.Muon`.
    """

    method = "muon"

    def __init__(self, base: Adam, options: dict[str, Any]) -> None:
        """Begin with Adam for all."""
        super().__init__(base)
        self.options = options
        self.muon: torch.optim.Muon | None = None  # made once there are matrices to give it
        for group in self.param_groups:
            group["muon"] = []

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs."""
        return super().__getstate__() | {"options": self.options, "muon": None}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step of each on its share."""
        loss = evaluated(closure)
        self.base.state = self.state
        self.base.param_groups = [{**g, "params": self._share(g, muon=False)} for g in self.param_groups]
        self.base.step()
        for group in self.param_groups:
            if matrices := [p for p in self._share(group, muon=True) if p.grad is not None]:
                self._step_muon(matrices, group["lr"])
        return loss

    def _step_muon(self, matrices: list[Tensor], lr: float) -> None:
        if self.muon is None:
            self.muon = torch.optim.Muon(matrices, **self.options)
        self.muon.param_groups[0].update(params=matrices, lr=lr)
        self.muon.state = self.state
        self.muon.step()  # type: ignore[no-untyped-call]  # torch's

    def _share(self, group: dict[str, Any], *, muon: bool) -> list[Any]:
        return [p for place, p in enumerate(group["params"]) if (place in group["muon"]) is muon]


@mitigations.register(
    "muon",
    cite="Jordan et al. 2024, kellerjordan.github.io/posts/muon; step size arXiv:2502.16982; as torch.optim.Muon",
    null=None,
    null_reason="an orthogonal step is none of Adam's",
    promises=Promises(function="n/a", touches=("hidden",)),
)
@dataclass(kw_only=True, eq=False)
class Muon(Mitigation):
    """Muon: replace the momentum of a weight matrix by the nearest orthogonal matrix, so that all directions learn.

    B <- momentum * B + (1 - momentum) * G; W <- W - 0.2 * sqrt(max(m, n)) * lr * O, with O near U V^T of the singular
    value decomposition of (1 - momentum) * G + momentum * B (Nesterov), by five steps of Newton and Schulz in
    bfloat16: PyTorch's, which leave singular values of about 0.5 to 1.5. The factor gives entries the size of Adam's
    steps, so that the agent's learning rate serves. Only weights of fully connected hidden layers, the first among
    them; convolutions, biases, norms, heads and `log_std` stay Adam's. A unit that is reset loses its momentum, but its
    row is orthogonalised with the others. The target follows as ever. It hurts where gradients are noise, which is made
    as large as the signal. Reports nothing.

    Args:
        momentum: of the running mean of gradients. More smooths steps, and answers later.
        weight_decay: share of hidden weights lost per update, as a multiple of the learning rate. More keeps them
            small.
    """

    momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.95
    weight_decay: NonNegativeFloat = 0.0

    def wrap_optimizer(self, factory: OptimizerFactory) -> OptimizerFactory:
        """Put Muon and Adam in the place of Adam."""
        return inside(factory, self._instead)

    def begin(self, learner: Learner) -> None:
        """Say which parameters are weights of fully connected hidden layers."""
        hidden = {id(module.weight) for _, module in learner.hidden_affines() if module.weight.ndim == 2}
        for group in learner.optimizer.param_groups:
            group["muon"] = [place for place, p in enumerate(group["params"]) if id(p) in hidden]

    def _instead(self, factory: OptimizerFactory) -> OptimizerFactory:
        own = {"momentum": self.momentum, "weight_decay": self.weight_decay, "adjust_lr_fn": "match_rms_adamw"}

        def make(params: Iterable[Any], lr: float, **options: Any) -> Optimizer:
            return MuonAndAdam(plain_adam("muon", factory, params, lr, **options), own)

        return make
