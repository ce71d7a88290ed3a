"""The last steps of N copies: what a layer shows or does late."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from lopgym.envs.snapshot import Snapshot, Stateful, check_keys
from lopgym.envs.world import Mask
from lopgym.physics import Value


class History(Stateful):
    """What N copies saw or did in their last steps. The first entry of an episode stands for all before it."""

    def __init__(self, depth: int) -> None:
        """Remember up to `depth` steps back."""
        self._past: deque[NDArray[np.generic]] = deque(maxlen=depth + 1)

    def begin(self, mask: Mask, first: NDArray[np.generic]) -> None:
        """Let the masked copies have nothing but `first`, shape (N, ...), behind them."""
        if mask.all() or not self._past:
            self._past.clear()
            self._past.append(np.array(first))
        for entry in self._past:
            entry[mask] = first[mask]

    def push(self, entry: NDArray[np.generic]) -> None:
        """Add a step of every copy, shape (N, ...)."""
        self._past.append(np.array(entry))

    def snapshot(self) -> Snapshot:
        """Return all entries."""
        return {"past": [np.array(entry) for entry in self._past]}

    def restore(self, snapshot: Snapshot) -> None:
        """Remember what was remembered then."""
        check_keys(self, snapshot, ("past",))
        self._past.clear()
        self._past.extend(np.array(entry) for entry in snapshot["past"])

    def back(self, steps: Value) -> NDArray[np.generic]:
        """Return a new array with the entries of `steps` steps ago, of one number for all or of one a copy, (N,)."""
        if np.ndim(steps) == 0:
            return np.array(self._past[-1 - min(int(steps), len(self._past) - 1)])
        found = np.array(self._past[-1])
        late = np.broadcast_to(np.minimum(steps, len(self._past) - 1), len(found))
        for ago in np.unique(late):
            found[late == ago] = self._past[-1 - ago][late == ago]
        return found
