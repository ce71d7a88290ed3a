"""The start of training: the weights that regenerative regularisers pull back to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from lopgym.agents.learner import Learner


class Start:
    """Weights and biases of every affine map as they were when `remember` was first called."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._weights: list[Tensor] = []

    def remember(self, learner: Learner) -> None:
        """Copy the weights as they are; once they are known, nothing happens."""
        if not self._weights:
            self._weights = [parameter.detach().clone() for parameter in learner.weights_and_biases()]

    def weights(self, learner: Learner) -> list[Tensor]:
        """Return where each of `learner.weights_and_biases()` began."""
        self.remember(learner)
        return self._weights

    def pairs(self, learner: Learner) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield (parameter, its gradient, where it began) of each tensor that has a gradient."""
        self.remember(learner)
        for parameter, start in zip(learner.weights_and_biases(), self._weights, strict=True):
            if parameter.grad is not None:
                yield parameter, parameter.grad, start

    def state_dict(self) -> dict[str, Any]:
        """Return the weights at the start."""
        return {"start": [torch.clone(start) for start in self._weights]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._weights = [torch.clone(start) for start in state["start"]]
