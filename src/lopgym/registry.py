"""Named, self-discovering collections: one file with one decorator is enough to join."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Made = TypeVar("Made", bound=Callable[..., Any])


def nearest(name: str, known: Iterable[str]) -> str:
    """Say what was probably meant, or what there is.

    >>> nearest("reod", ["redo", "cbp"])
    "did you mean 'redo'?"
    >>> nearest("x", ["redo", "cbp"])
    'known: cbp, redo'
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered thing: its name, how it is made, and the facts that docs and tests need."""

    name: str
    make: Callable[..., T]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """First line of the docstring: the row in `lopgym list` and in the docs table."""
        return (inspect.getdoc(self.make) or "").partition("\n")[0]

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """Keyword-only parameters: exactly what a config may set."""
        parameters = inspect.signature(self.make).parameters.values()
        return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}


class Registry(Generic[T]):
    """Names to entries.

    The first read imports every module of `package`, then every entry point of `group`, so that other people's
    packages join by, say, `[project.entry-points."lopgym.probes"]`.
    """

    def __init__(self, kind: str, package: str, group: str = "") -> None:
        """Collect the `kind`s (a singular noun, for messages) found in `package` and `group` (default: its name)."""
        self.kind, self.package, self.group = kind, package, group or package
        self._entries: dict[str, Entry[T]] = {}
        self._discovered = False

    def register(self, name: str, **facts: Any) -> Callable[[Made], Made]:
        """Decorate a class or function to add it under `name`.

        Raises:
            ValueError: `name` is taken by something else.
        """

        def add(make: Made) -> Made:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice: {self._entries[name].make} and {make}")
            self._entries[name] = Entry(name, make, facts)
            return make

        return add

    def __getitem__(self, name: str) -> Entry[T]:
        """Return the entry called `name`.

        Raises:
            KeyError: there is none; the message offers the nearest.
        """
        self._discover()
        if name not in self._entries:
            raise KeyError(f"no {self.kind} named {name!r}; {nearest(name, self._entries)}")
        return self._entries[name]

    def __iter__(self) -> Iterator[Entry[T]]:
        """Iterate in order of name."""
        self._discover()
        return iter(sorted(self._entries.values(), key=lambda entry: entry.name))

    def build(self, name: str, *runtime: Any, **options: Any) -> T:
        """Make `name` from run-time objects and options.

        Raises:
            KeyError: nothing of that name.
            TypeError: an option that it does not take; the message offers the nearest.
        """
        entry = self[name]
        for option in options.keys() - entry.options.keys():
            raise TypeError(f"{self.kind} {name!r} has no option {option!r}; {nearest(option, entry.options)}")
        return entry.make(*runtime, **options)

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        package = importlib.import_module(self.package)
        for module in pkgutil.walk_packages(getattr(package, "__path__", []), f"{self.package}."):
            importlib.import_module(module.name)
        from importlib.metadata import entry_points  # 50 ms: paid by the first reader, not by `import lopgym`

        for point in entry_points(group=self.group):
            try:
                point.load()
            except Exception as error:  # somebody else's package must not break ours
                warnings.warn(f"{self.group}: {point.value} failed to load: {error!r}", RuntimeWarning, stacklevel=2)
