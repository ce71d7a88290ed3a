"""Change detectors: a stream of numbers in, alarms out. Plain Python; one file each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, get_type_hints

from lopgym.declared import fitted
from lopgym.kinds import KindOf
from lopgym.registry import Registry


class Detector:
    """Base of every detector. What it has heard is in `memory`, plain data, so that it can be kept and taken back."""

    def __post_init__(self) -> None:
        """Refuse options out of bounds, and begin.

        Raises:
            ValueError: an option of another type or out of bounds.
        """
        hints = get_type_hints(type(self), include_extras=True)
        for name in self.__dataclass_fields__:  # type: ignore[attr-defined]  # every detector is a dataclass
            setattr(self, name, fitted(name, getattr(self, name), hints[name]))
        self.memory: dict[str, Any] = self.start()

    def start(self) -> dict[str, Any]:
        """Return the memory of a detector that has heard nothing."""
        raise NotImplementedError

    def update(self, value: float) -> bool:
        """Hear one value; say whether the stream has risen."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Return what it has heard so far; hearing more does not change it."""
        return dict(self.memory)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self.memory = dict(state)


detectors: Registry[Detector] = Registry("detector", __name__)

Detecting = Annotated[Any, KindOf(detectors)]
"""Type of an option that takes a detector."""
