"""What is in force in the copies of a batch: parameters, the number of the task, and the infos that tell of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lopgym.envs.vector_info import Info, merged, read_only
from lopgym.envs.world import Mask
from lopgym.physics import Parametric


class InForce:
    """The world that each of N copies is in: a change reaches all at once, or some at their next episode.

    Wherever copies are chosen, a mask is bool (N,), and None means all of them.

    Attributes:
        owners: parameter -> the layer that has it.
        task: the number of the task that each copy is in, int64, shape (N,); replaced, never altered.
        drift: parameter -> its value in each copy, shape (N,); replaced, never altered.
        pending: whether there are copies in which what the clocks now say is not in force yet.
    """

    def __init__(self, owners: Mapping[str, Parametric], copies: int) -> None:
        """Begin with nothing in force."""
        self.owners, self._copies = owners, copies
        self._everyone = read_only(np.ones(copies, dtype=np.bool_))
        self.task: NDArray[np.int64] = read_only(np.zeros(copies, dtype=np.int64))
        self.drift = {name: read_only(np.full(copies, np.nan)) for name in owners}
        self._masks = {f"_{name}": self._everyone for name in owners}
        self._shared: dict[str, float | None] = dict.fromkeys(owners)  # the value of all copies, if it is one
        self._behind = np.ones(copies, dtype=np.bool_)
        self.pending = True

    def expire(self) -> None:
        """Note that the clocks may say something else now."""
        self.pending = self._behind[:] = True

    def enforce(self, values: Mapping[str, Any], task: Any, mask: Mask | None = None) -> None:
        """Put values and task, one for all copies or one a copy, into force in the masked copies."""
        self.put(values, mask)
        self._enter(task if mask is None else np.where(mask, task, self.task))
        self._behind[... if mask is None else mask] = False
        self.pending = mask is not None and bool(np.count_nonzero(self._behind))

    def put(self, values: Mapping[str, Any], mask: Mask | None = None) -> None:
        """Give parameters a value, or one a copy, in the masked copies; layers hear of what moves only."""
        for name, value in values.items():
            wanted = value if mask is None else np.where(mask, value, self.drift[name])
            shared = _shared(wanted)
            if not (np.array_equal(wanted, self.drift[name]) if shared is None else shared == self._shared[name]):
                self.owners[name].set_physics(**{name: wanted if shared is None else shared})
                self.drift[name] = read_only(np.array(wanted) if shared is None else np.full(self._copies, shared))
                self._shared[name] = shared

    def tell(self, info: Info, t: int, mask: Mask | None = None) -> None:
        """Write into `info` what the masked copies meet at step t."""
        on = self._everyone if mask is None else read_only(mask.copy())
        clock = np.empty(self._copies, dtype=np.int64)
        clock.fill(t)
        info["task"], info["clock"], info["drift"] = self.task, clock, self.drift | self._masks
        info["_task"] = info["_clock"] = info["_drift"] = on
        if mask is not None:
            info["drift"].update(dict.fromkeys(self._masks, on))

    def correct(self, info: Info, t: int, copies: NDArray[np.int64]) -> None:
        """Write into an `info` that tells of a step what these copies, which begin anew, meet at step t."""
        info["clock"][copies] = t
        info["task"], told = merged(copies, self.task, info["task"]), info["drift"]
        for name, values in self.drift.items():
            if values is not told[name]:
                told[name] = merged(copies, values, told[name])

    def snapshot(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        drift = {name: values.tolist() for name, values in self.drift.items()}
        return {"drift": drift, "task": self.task.tolist(), "pending": self._behind.tolist()}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go back to a snapshot."""
        self.put({name: np.array(values) for name, values in snapshot["drift"].items()})
        self._enter(np.array(snapshot["task"]))
        self._behind = np.array(snapshot["pending"])
        self.pending = bool(self._behind.any())

    def _enter(self, task: Any) -> None:
        if np.count_nonzero(self.task != task):
            self.task = read_only(np.array(np.broadcast_to(task, self._copies)))


def _shared(value: Any) -> float | None:
    """Return the value of all copies, None where they differ."""
    if isinstance(value, float):
        return value
    first = value[0]
    return float(first) if (value == first).all() else None
