"""Rollback: back to the newest checkpoint after a number that must not be learned from, and on with other luck."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from lopgym.agents.finite_guard import NumericalError
from lopgym.record import RunFolder
from lopgym.seeding import derive
from lopgym.store import newest
from lopgym.studies.checkpointing import ByFunctions
from lopgym.studies.notices import notice


class Rollbacks:
    """How often a run went back to a checkpoint, and with which luck it goes on.

    A run that went back would meet the same number again: all that is random in it is a function of its seed. So the
    random streams that the agent draws from are seeded anew, by the run's seed and how often it went back. The worlds'
    luck stays what it was: what drifts, and when, is the experiment. Nothing of it is by chance: a run that went back
    and is cut off after that goes on bit for bit, too.

    Args:
        limit: how often it may.
        seed: of the run.
    """

    def __init__(self, limit: int, seed: int) -> None:
        """Remember nothing yet."""
        self._limit, self._seed = limit, seed
        self._told: list[str] = []
        self._fault: NumericalError | None = None

    @property
    def told(self) -> list[str]:
        """What was wrong each time."""
        return [*self._told]

    def hold(self, fault: NumericalError, folder: RunFolder) -> None:
        """Take note of a fault, so that taking back a state begins with other luck.

        Raises:
            NumericalError: the fault, if the run may not go back any more.
        """
        if len(self._told) >= self._limit or newest(folder.checkpoints)[0] is None:
            raise fault
        self._fault = fault
        notice(f"warning: {fault}; goes back to there, {len(self._told) + 1} of {self._limit}")

    def of(self, model: Any) -> ByFunctions:
        """Return it as a part of the state of the run of a model: to be taken back last, behind its luck."""
        return ByFunctions(lambda: {"told": self.told}, partial(self._take_back, model))

    def _take_back(self, model: Any, state: Mapping[str, Any]) -> None:
        if self._fault is None:
            self._told = [*state["told"]]
            return
        self._told.append(self._fault.what)
        self._fault = None
        _seed_anew(model, derive(self._seed, "rollback", len(self._told)))


def _seed_anew(model: Any, seed: int) -> None:
    """Seed all streams of `lopgym.agents.luck`."""
    model.action_space.seed(seed % 2**32)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
