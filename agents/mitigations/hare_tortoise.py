"""Hare and Tortoise: a fast network that now and then goes back to its own slow average."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import mitigations
from lopgym.agents.mitigations.forgetting import FORGETTING
from lopgym.agents.mitigations.triggered import Periodic
from lopgym.agents.promises import Promises
from lopgym.agents.triggers import When
from lopgym.bounds import Fraction, PositiveInt


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
class HareTortoise(Periodic):
    """Hare and Tortoise: average the weights slowly, and now and then set the network back to the average.

    After each update, slow <- decay * slow + (1 - decay) * fast, for weights and buffers alike; when the trigger fires,
    fast <- slow. The hare, which learns and acts, forgets what it only memorised; the tortoise keeps what lasted. As in
    the authors' code the optimizer keeps its state; they go back every 10 epochs of supervised learning, a period that
    is to be tuned here. (There the two share their memory until the next update, which so sets the average to the
    network; here the average goes on.) `log_std`, which belongs to no layer, goes on by itself. The target follows at
    its next update, and can be ahead of a hare that has just gone back. No further passes, a copy of the weights.

    With little decay the average is the network itself, and with much it is old: going back then costs what was learned
    since. At a task change it goes back into the old task. Reports `resets`.

    Args:
        decay: of the average. More goes back further; 0 goes nowhere.
        when: a trigger, of going back: the word `updates` for every `every` updates, or another one. The average
            follows after every update, whatever it is.
        every: updates between two resets, if `when` is the word `updates`. More lets the hare run longer.
        optimizer: `keep` leaves its state; `reset_moments` zeroes what it remembers of the averaged weights, but not
            its step count, so that first steps are long, as `optimizer_reset` says; `clear` forgets all of them.
    """

    decay: Fraction = 0.999
    when: When = "updates"
    every: PositiveInt = 4000
    optimizer: Literal["keep", "reset_moments", "clear"] = "keep"
    _slow: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    def begin(self, learner: Learner) -> None:
        """Start both at the same weights, if it acts from the start."""
        super().begin(learner)
        if not self.active_from:
            self._start(learner)

    @torch.no_grad()
    def after_step(self, learner: Learner) -> None:
        """Let the tortoise follow; when it is time, the hare goes back."""
        self._start(learner)
        fast = dict(_averaged(learner))
        for name, slow in self._slow.items():
            slow.mul_(self.decay).add_(fast[name], alpha=1 - self.decay)
        super().after_step(learner)

    @torch.no_grad()
    def act(self, learner: Learner) -> None:
        """Put the hare where the tortoise is."""
        self._start(learner)
        fast = dict(_averaged(learner))
        for name, slow in self._slow.items():
            fast[name].copy_(slow)
        weights = [tensor for tensor in fast.values() if tensor.requires_grad]
        FORGETTING[self.optimizer](learner.optimizer, weights)
        learner.report({"resets": 1})

    def _start(self, learner: Learner) -> None:
        """Called late, both are at the weights at which it first acts."""
        if not self._slow:
            self._slow = {name: tensor.detach().clone() for name, tensor in _averaged(learner)}

    def state_dict(self) -> dict[str, Any]:
        """Return the tortoise, and what the trigger remembers."""
        return super().state_dict() | {"slow": {name: tensor.clone() for name, tensor in self._slow.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        super().load_state_dict(state)
        self._slow = {name: tensor.clone() for name, tensor in state["slow"].items()}


def _averaged(learner: Learner) -> Iterator[tuple[str, Tensor]]:
    """Yield weights and buffers by name, the network's own memory; counters among the buffers cannot be averaged."""
    for name, parameter in learner.network.named_parameters():
        if not name.endswith("log_std"):
            yield name, parameter
    for name, buffer in learner.network.named_buffers():
        if buffer.is_floating_point():
            yield name, buffer
