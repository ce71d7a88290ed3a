"""Options that hold a thing of a registry: its `kind` and its options, as plain data, or its bare name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lopgym.registry import Registry, nearest


@dataclass(frozen=True)
class KindOf:
    """Marks an option that takes one entry of a registry, `{"kind": name, ...}`, or the name alone for its defaults.

    Args:
        registry: of what can be chosen.
    """

    registry: Registry[Any]

    def build(self, option: str, data: Any) -> Any:
        """Make what `data` says; what is no plain data is taken for the thing itself.

        Raises:
            ValueError: there is no such kind, or it has no such option; the message begins with `option`.
        """
        if not isinstance(data, str | Mapping):
            return data
        chosen = {"kind": data} if isinstance(data, str) else dict(data)
        kind = chosen.pop("kind", None)
        known = [entry.name for entry in self.registry]
        if kind not in known:
            raise ValueError(f"{option}={kind!r} does not exist; {nearest(str(kind), known)}")
        try:
            return self.registry.build(kind, **chosen)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{option}: {error}") from None
