"""Snapshots: where a layer of a world stands, as plain data and arrays, and how it goes back there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from lopgym.envs.layers import stack

Snapshot = dict[str, Any]  # numbers, texts, None, arrays, and lists and dicts of them


class StateError(ValueError):
    """A world cannot say its state, or cannot be brought to the one that it was given."""

    exit_code = 3


class Stateful:
    """What can say where it stands, and go back there: itself alone, not what it wraps."""

    def snapshot(self) -> Snapshot:
        """Return a copy of the state."""
        raise NotImplementedError

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot of this, or of one that was made alike, exactly; it is copied.

        Raises:
            ValueError: it is of another kind.
        """
        raise NotImplementedError


class Kept(Stateful):
    """State in attributes: a class names those that its steps and resets change; those of its bases are kept, too.

    What follows from the physics of a layer is not state: the drift layer restores the physics, and comes first.
    """

    kept: ClassVar[tuple[str, ...]] = ()
    """Attributes that are arrays, whose shapes never change, or `Stateful`."""
    _all_kept: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        """Gather the names of a class and its bases, those of the bases first."""
        super().__init_subclass__(**options)
        names = [name for base in reversed(cls.__mro__) for name in vars(base).get("kept", ())]
        cls._all_kept = tuple(dict.fromkeys(names))

    def snapshot(self) -> Snapshot:
        """Return a copy of the attributes."""
        return {name: _copied(getattr(self, name)) for name in self._all_kept}

    def restore(self, snapshot: Snapshot) -> None:
        """Set the attributes.

        Raises:
            StateError: there are others, or an array has another shape.
        """
        check_keys(self, snapshot, self.snapshot())
        for name in self._all_kept:
            own = getattr(self, name)
            if isinstance(own, Stateful):
                own.restore(snapshot[name])
                continue
            array = np.array(snapshot[name])
            if array.shape != own.shape:
                raise StateError(f"{type(self).__name__}: {name} has shape {array.shape} there, {own.shape} here")
            setattr(self, name, array)


class WholeState:
    """The state of a stack of layers of vector environments, each of which is `Stateful`; for the outermost one."""

    def state_dict(self) -> dict[str, Any]:
        """Return where the whole world stands, as plain data and arrays.

        Raises:
            StateError: a layer cannot say it.
        """
        for layer in stack(self):
            if not isinstance(layer, Stateful):
                raise StateError(f"{type(layer).__name__} cannot say its state: no run in it can be resumed")
        return {"layers": snapshots(self)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Bring the whole world to where one that was made alike stood, exactly.

        Raises:
            ValueError: it was made otherwise.
        """
        restore(self, state["layers"])


def snapshots(env: Any) -> list[Snapshot]:
    """Return the names and snapshots of those layers of an environment that are `Stateful`, from the outermost in."""
    return [{"layer": type(layer).__name__, "state": layer.snapshot()} for layer in _stateful(env)]


def restore(env: Any, saved: Sequence[Mapping[str, Any]]) -> None:
    """Bring layers to their snapshots, from the outermost in: what drifts is in force before those inside go back.

    Raises:
        ValueError: the layers are others.
    """
    layers = _stateful(env)
    there, here = [one["layer"] for one in saved], [type(layer).__name__ for layer in layers]
    if there != here:
        raise StateError(f"the state is of another world: its layers are {', '.join(there)}; here {', '.join(here)}")
    for layer, one in zip(layers, saved, strict=True):
        layer.restore(one["state"])


def check_keys(owner: object, snapshot: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Raise StateError unless a snapshot has these keys."""
    if {*snapshot} != {*keys}:
        raise StateError(f"no snapshot of {type(owner).__name__}: it has {_listed(snapshot)}, not {_listed(keys)}")


def alike(one: Any, other: Any) -> bool:
    """Say whether two snapshots are equal to the last bit; a NaN equals a NaN."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return False
    return bool(one == other or (one != one and other != other))


def check_snapshot(snapshot: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Hold a snapshot of a drift layer to one that the layer makes itself.

    Raises:
        StateError: it is of another kind of layer, of other parameters, of another number of copies, or one of the
            two has a trigger and the other has none.
    """
    if snapshot.keys() != own.keys():
        raise StateError(f"no snapshot of such a layer: it has {', '.join(snapshot)}, not {', '.join(own)}")
    for what, of in (("drifts", _drifts), ("copies", _copies), ("trigger", _trigger)):
        if of(snapshot) != of(own):
            raise StateError(f"the snapshot is of another layer: its {what} {of(snapshot)}, here {of(own)}")


def _stateful(env: Any) -> list[Stateful]:
    return [layer for layer in stack(env) if isinstance(layer, Stateful)]


def _copied(value: Any) -> Any:
    return value.snapshot() if isinstance(value, Stateful) else np.array(value)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"


def _drifts(snapshot: Mapping[str, Any]) -> list[str]:
    return sorted(snapshot["in_force"]["drift"])


def _copies(snapshot: Mapping[str, Any]) -> int:
    return len(snapshot["own_clocks"]["elapsed"])


def _trigger(snapshot: Mapping[str, Any]) -> bool:
    return snapshot["own_clocks"]["trigger"] is not None
