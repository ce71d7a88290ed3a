"""Attentive: what methods share that act by what the loss asked in the update just learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations.triggered import Periodic
from lopgym.agents.mitigations.witness import Witness


@dataclass(kw_only=True, eq=False)
class Attentive(Periodic):
    """Base of triggered methods with a witness of the last update: it listens if the trigger may fire after it.

    They define `act`, and forget what it has used up. What was heard is kept until then: a task change comes after the
    update, and a checkpoint may come between them. Who attaches a method late, after an update, gives that one away.
    """

    _witness: Witness = field(default_factory=Witness, init=False, repr=False)

    def asks(self) -> bool:
        """Say whether the method, with its options, has a use for what is heard."""
        return True

    def begin(self, learner: Learner) -> None:
        """Listen to the first update, if the method may act after it."""
        super().begin(learner)
        self._attend(learner)

    def end(self, learner: Learner) -> None:
        """Stop listening."""
        super().end(learner)
        self._witness.close()

    def after_step(self, learner: Learner) -> None:
        """Act if the trigger fires; then listen to the next update, if the method may act after that."""
        super().after_step(learner)
        self._attend(learner)

    def state_dict(self) -> dict[str, Any]:
        """Return what the trigger remembers, and what was heard and is still to be used."""
        return super().state_dict() | {"witness": self._witness.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        super().load_state_dict(state)
        self._witness.load_state_dict(state["witness"])

    def _attend(self, learner: Learner) -> None:
        if self.asks() and self._trigger.is_near(learner):
            self._witness.listen(learner.layers)
        else:
            self._witness.close()
