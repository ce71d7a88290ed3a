"""Hare and Tortoise: a fast network that now and then goes back to its own slow average."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.mitigations.forgetting import FORGETTING
from lopgym.agents.promises import Promises
from lopgym.bounds import Fraction, PositiveInt
from lopgym.registry import nearest


@mitigations.register(
    "hare_tortoise",
    cite="arXiv:2406.02596 (Hare and Tortoise networks)",
    null={"every": 10**9},
    promises=Promises(
        function="no",
        touches=("hidden", "heads", "norms", "extra", "buffers", "moments", "steps"),
        unless={
            "moments": {"optimizer": ("keep",)},
            "steps": {"optimizer": ("keep", "reset_moments")},
        },
    ),
)
@dataclass(kw_only=True, eq=False)
class HareTortoise(Mitigation):
    """Hare and Tortoise: average the weights slowly, and every `every` updates set the network to the average.

    After each update, slow <- decay * slow + (1 - decay) * fast, for weights and buffers alike; then, every so often,
    fast <- slow. The hare, which learns and acts, forgets what it only memorised; the tortoise keeps what lasted. As in
    the authors' code the optimizer keeps its state; they reset every 10 epochs, a period that is to be tuned here.
    `log_std`, which belongs to no layer, goes on by itself. The target follows at its next update, and can be ahead of
    a hare that has just gone back. With little decay the average is the network itself, and with much it is old: a
    reset then costs what was learned since. No further passes, a copy of the weights. Reports `resets`.

    Args:
        decay: of the average. More goes back further; 0 goes nowhere.
        every: updates between two resets. More lets the hare run longer.
        optimizer: `keep` leaves its state; `reset_moments` zeroes what it remembers of the averaged weights, but not
            its step count; `clear` forgets all of them.

    Raises:
        ValueError: a choice that does not exist.
    """

    decay: Fraction = 0.999
    every: PositiveInt = 4000
    optimizer: Literal["keep", "reset_moments", "clear"] = "keep"
    _slow: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse an unknown choice now, not at the first reset."""
        super().__post_init__()
        if self.optimizer not in FORGETTING:
            known = nearest(self.optimizer, FORGETTING)
            raise ValueError(f"hare_tortoise: optimizer={self.optimizer!r} does not exist; {known}")

    def begin(self, learner: Learner) -> None:
        """Start both at the same weights, if it acts from the start."""
        if not self.active_from:
            self._start(learner)

    @torch.no_grad()
    def after_step(self, learner: Learner) -> None:
        """Let the tortoise follow; when it is time, put the hare where the tortoise is."""
        self._start(learner)
        fast = dict(_averaged(learner))
        for name, slow in self._slow.items():
            slow.mul_(self.decay).add_(fast[name], alpha=1 - self.decay)
        if learner.updates % self.every == 0:
            for name, slow in self._slow.items():
                fast[name].copy_(slow)
            weights = [tensor for tensor in fast.values() if tensor.requires_grad]
            FORGETTING[self.optimizer](learner.optimizer, weights)
            learner.report({"resets": 1})

    def _start(self, learner: Learner) -> None:
        """Called late, both are at the weights after the first update on which it acts."""
        if not self._slow:
            self._slow = {name: tensor.detach().clone() for name, tensor in _averaged(learner)}

    def state_dict(self) -> dict[str, Any]:
        """Return the tortoise."""
        return {"slow": {name: tensor.clone() for name, tensor in self._slow.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._slow = {name: tensor.clone() for name, tensor in state["slow"].items()}


def _averaged(learner: Learner) -> Iterator[tuple[str, Tensor]]:
    """Yield weights and buffers by name, the network's own memory; counters among the buffers cannot be averaged."""
    for name, parameter in learner.network.named_parameters():
        if not name.endswith("log_std"):
            yield name, parameter
    for name, buffer in learner.network.named_buffers():
        if buffer.is_floating_point():
            yield name, buffer
