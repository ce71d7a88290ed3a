"""Graft: a frozen difference of two chains of modules, added to what a third one returns."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Graft:
    """Adds old(z) - new(z) to what `last` returns, z being what `first` was given in the same pass.

    It is no part of the network and lives in hooks on its modules. They call bound methods and not closures, so that a
    deep copy of a network calls a copy of the graft and never this one.

    Args:
        old: maps z to the outputs of the frozen head.
        new: maps z to the outputs that `last` had when the graft was made.
    """

    def __init__(self, old: nn.Module, new: nn.Module) -> None:
        """Hold the frozen parts."""
        self._old, self._new = old, new
        self._given: Tensor | None = None

    def attach(self, first: nn.Module, last: nn.Module) -> None:
        """Listen to what goes into `first`, and add to what comes out of `last`."""
        first.register_forward_pre_hook(self._take)
        last.register_forward_hook(self._add)

    def _take(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._given = inputs[0]

    def _add(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        z, self._given = self._given, None
        assert z is not None, "a head runs after its trunk"
        summed: Tensor = output - self._new(z) + self._old(z)  # in this order nothing is rounded while theta1 = theta2
        return summed

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to a pass: its graph can be neither copied nor pickled."""
        return self.__dict__ | {"_given": None}
