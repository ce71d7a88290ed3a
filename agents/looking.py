"""Looking: an ordinary callback that looks at an agent now and then, always when it has data to be judged by."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

Write = Callable[[int, Mapping[str, float]], None]


class Looking(BaseCallback):
    """Looks at the end of a rollout: first when the agent is about to learn, then in every so many env steps.

    The data of the rollout are there then, and the network is the one that collected them: the first look meets the
    network as it was initialised. While a replay is being filled, at first or again, a look waits.

    Args:
        name: of the tag `time/<name>_cpu_seconds`, the cost of all looks so far.
        every: env steps over all copies between two looks; 0 is never.
        write: takes (env step, values).
    """

    def __init__(self, name: str, every: int, write: Write) -> None:
        """Keep the options."""
        super().__init__()
        self.every, self.write = every, write
        self._cost, self._seconds = f"time/{name}_cpu_seconds", 0.0

    @abstractmethod
    def look(self, step: int) -> Mapping[str, float]:
        """Return what is seen, by tag."""

    def state_dict(self) -> dict[str, Any]:
        """Return when the next look is, and what looks have cost so far: a measured time."""
        return {"at": self._at, "time": self._seconds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned, once training has begun."""
        self._at, self._seconds = state["at"], state["time"]

    def _on_training_start(self) -> None:
        self._at = self.num_timesteps

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        step = self.num_timesteps
        if self.every and step >= self._at and step > getattr(self.model, "learning_starts", 0):
            self._at = (step // self.every + 1) * self.every
            started = time.process_time()
            values = self.look(step)
            self._seconds += time.process_time() - started
            self.write(step, {**values, self._cost: self._seconds})
