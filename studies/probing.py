"""Probing: measure everything that can be measured of one agent, each value beside those of fresh networks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lopgym.agents.anatomy import Anatomy, anatomy_of
from lopgym.agents.measuring import Measuring
from lopgym.agents.stand_in import captures_of, stand_in, strangers
from lopgym.probes import probes
from lopgym.probes.captures import Captures, Probe, Unavailable, requests
from lopgym.probes.dormant import dormancy_scores
from lopgym.probes.null import Null, null
from lopgym.probes.recording import swapped
from lopgym.studies.collecting import collect
from lopgym.studies.findings import Finding, findings
from lopgym.studies.revival import freed_by_revival, no_gradient_units
from lopgym.studies.subjects import Subject

COLLECTED = 1024  # transitions that the agent meets first
BATCH = 256  # of them, those looked at: as many as a run's own measurements see, so that numbers compare

START = "initial_"  # requests of this prefix ask for the start of training
Curves = Mapping[str, Tensor]  # layer -> one falling line


@dataclass(frozen=True)
class Portrait:
    """What cannot be said in one number a layer.

    Args:
        spectra: hidden layer -> singular values of its activations over their sum, falling.
        loudness: hidden layer -> mean magnitude of each unit over the layer's mean, falling.
    """

    spectra: Curves
    loudness: Curves


Measured = tuple[dict[str, float], dict[str, str], Portrait]  # values, probes skipped and why, curves


@dataclass(frozen=True)
class Look:
    """Everything measured of one agent at one moment.

    Args:
        name: of the agent.
        layers: hidden layer -> number of its units.
        fresh: how many freshly initialised networks it was compared with.
        readings: `<probe>/<layer>` -> value beside its null.
        skipped: probe -> why it could not be measured.
        portrait: of the agent.
        strangers: portraits of the fresh networks.
    """

    name: str
    layers: Mapping[str, int]
    fresh: int
    readings: Mapping[str, Null]
    skipped: Mapping[str, str]
    portrait: Portrait
    strangers: tuple[Portrait, ...]

    @property
    def findings(self) -> list[Finding]:
        """What the readings say in plain language."""
        return findings(self.readings, self.layers)

    def of(self, layer: str) -> dict[str, Null]:
        """Return the readings of one layer, by probe."""
        split = ((tag.partition("/"), reading) for tag, reading in self.readings.items())
        return {probe: reading for (probe, _, where), reading in split if where == layer}

    @property
    def places(self) -> list[str]:
        """Everything that has readings: hidden layers first, in their order, then heads and the rest."""
        return [*self.layers, *dict.fromkeys(w for t in self.readings if (w := t.partition("/")[2]) not in self.layers)]

    def plain(self) -> dict[str, Any]:
        """Return it as plain data; numbers that JSON does not have are strings."""
        return {
            "name": self.name,
            "layers": dict(self.layers),
            "fresh_networks": self.fresh,
            "findings": [vars(found) for found in self.findings],
            "readings": {tag: {k: _plain(v) for k, v in vars(r).items()} for tag, r in self.readings.items()},
            "skipped": dict(self.skipped),
        }


def look(subject: Subject, fresh: int = 20) -> Look:
    """Let the agent act, then measure it and `fresh` newly initialised networks on what it met.

    Everything drawn is a function of the subject's seed. Nothing is learned; the global random generators of NumPy and
    torch are set.

    Raises:
        ValueError: fewer than two fresh networks have no spread.
    """
    if fresh < 2:
        raise ValueError(f"fresh networks: at least 2, not {fresh}")
    collect(subject.model, COLLECTED, subject.seed)
    bench = _Bench(subject)
    values, skipped, portrait = bench.agent()
    others = [bench.stranger(state) for state in strangers(bench.anatomy, fresh, subject.seed)]
    references = {tag: [other[tag] for other, _, _ in others if tag in other] for tag in values}
    return Look(
        name=subject.name,
        layers={layer.name: len(layer.incoming.weight) for layer in bench.anatomy.layers},
        fresh=fresh,
        readings={tag: null(value, references[tag]) for tag, value in values.items() if len(references[tag]) > 1},
        skipped=skipped,
        portrait=portrait,
        strangers=tuple(theirs for _, _, theirs in others),
    )


class _Bench:
    """One batch, before which the agent's network and fresh ones are put in turn."""

    def __init__(self, subject: Subject) -> None:
        self.anatomy: Anatomy = anatomy_of(subject.model)
        self._model, self._initial, self._seed = subject.model, subject.initial, subject.seed
        self._probes: dict[str, Probe] = {entry.name: entry.make for entry in probes}
        self._probes |= {"no_gradient_units": no_gradient_units, "freed_by_revival": freed_by_revival}

    def agent(self) -> Measured:
        """Measure the agent."""
        if self._initial is None:
            return _measured(self._captures(self._measuring()), *_without_start(self._probes))
        with swapped(self.anatomy.network, self._initial):
            measuring = self._measuring()
        return _measured(self._captures(measuring), self._probes, {})

    def stranger(self, state: Mapping[str, Tensor]) -> Measured:
        """Measure the agent with a freshly initialised network, in its target, too; its start is now."""
        with stand_in(self._model, state):
            return _measured(self._captures(self._measuring()), self._probes, {})

    def _measuring(self) -> Measuring:
        """Begin: what the network holds now is its start. Equal seeds draw equal batches."""
        return Measuring(self.anatomy, self._probes, seed=self._seed, samples=BATCH)

    def _captures(self, measuring: Measuring) -> Captures:
        return captures_of(self.anatomy, measuring, samples=BATCH, seed=self._seed)


def _without_start(chosen: Mapping[str, Probe]) -> tuple[dict[str, Probe], dict[str, str]]:
    """Part probes from those that ask for the start of training, where nobody knows it."""
    asking = {name for name, probe in chosen.items() if any(r.startswith(START) for r in requests(probe))}
    kept = {name: probe for name, probe in chosen.items() if name not in asking}
    return kept, dict.fromkeys(sorted(asking), "the file does not hold the network as it was at first")


def _measured(captures: Captures, chosen: Mapping[str, Probe], skipped: dict[str, str]) -> Measured:
    values: dict[str, float] = {}
    for name, probe in chosen.items():
        try:
            found = captures.supply(name, probe)
        except Unavailable as error:
            skipped[name] = str(error)
        else:
            values |= {f"{name}/{where}": value for where, value in found.items()}
    return values, skipped, _portrait(captures)


def _portrait(captures: Captures) -> Portrait:
    return Portrait(
        {name: sigma / sigma.sum().clamp(min=1e-300) for name, sigma in captures.singular_values.items()},
        {name: dormancy_scores(a).sort(descending=True).values for name, a in captures.activations.items()},
    )


def _plain(number: float | None) -> float | str | None:
    return number if number is None or math.isfinite(number) else str(number)
