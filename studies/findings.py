"""Findings: what the numbers of a look say in plain language, by a table of rules.

A number is a finding if it lies beyond every fresh network's, on the side that is bad, by more than chance would take
it there, and by enough to matter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lopgym.probes.null import Null

Readings = Mapping[str, Null]  # "<probe>/<layer>" -> value beside its null


@dataclass(frozen=True)
class Rule:
    """When a probe's value is worth a sentence.

    Args:
        probe: its name.
        theme: what it speaks of; of the rules that hold in one place, the first of each theme speaks.
        high: whether a value above those of fresh networks is bad; if not, one below them is.
        by: how far from the mean of fresh networks it must be.
        sentence: with {place}, {value}, {fresh}, {times} (value over fresh) and the names of other probes.
        relative: whether `by` is a share of that mean.
        whole: whether it speaks of what lies behind the hidden layers: a head, the policy.
    """

    probe: str
    theme: str
    high: bool
    by: float
    sentence: str
    relative: bool = False
    whole: bool = False

    @property
    def share(self) -> bool:
        """Whether values are shares: what is told in percent."""
        return "{value:.0%}" in self.sentence

    def holds(self, reading: Null) -> bool:
        """Whether a value is a finding."""
        bad = reading.value > reading.mean if self.high else reading.value < reading.mean
        margin = self.by * abs(reading.mean) if self.relative else self.by
        return reading.beyond and bad and abs(reading.value - reading.mean) >= margin


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Args:
        place: hidden layer, or what else the probe speaks of.
        probe: by what measure.
        sentence: what, in plain language.
    """

    place: str
    probe: str
    sentence: str


# What matters most stands first.
RULES: Sequence[Rule] = (
    Rule(
        "no_gradient_units",
        "stuck",
        high=True,
        by=0.05,
        sentence="{value:.0%} of the units of {place} receive no gradient (fresh networks: {fresh:.0%}), and "
        "{frozen_fraction:.0%} are frozen themselves; reviving every unit without a gradient is predicted to free "
        "{freed_by_revival:.0%} of the parameters of {place}",
    ),
    Rule(
        "frozen_fraction",
        "stuck",
        high=True,
        by=0.05,
        sentence="{value:.0%} of the units of {place} sit where their activation is flat (fresh: {fresh:.0%}): "
        "hardly any gradient passes them, whatever the loss",
    ),
    Rule(
        "dead_fraction",
        "stuck",
        high=True,
        by=0.05,
        sentence="{value:.0%} of the units of {place} are silent on nearly every observation (fresh: {fresh:.0%})",
    ),
    Rule(
        "dormant_fraction",
        "stuck",
        high=True,
        by=0.1,
        sentence="{value:.0%} of the units of {place} are dormant, much quieter than the average of their layer "
        "(fresh: {fresh:.0%})",
    ),
    Rule(
        "clone_fraction",
        "alike",
        high=True,
        by=0.05,
        sentence="{value:.0%} of the units of {place} say what another says and hear what it hears (fresh: "
        "{fresh:.0%}): gradient descent alone hardly parts them",
    ),
    Rule(
        "duplicate_fraction",
        "alike",
        high=True,
        by=0.1,
        sentence="{value:.0%} of the units of {place} rise and fall with another (fresh: {fresh:.0%})",
    ),
    Rule(
        "effective_rank",
        "rank",
        high=False,
        by=0.3,
        relative=True,
        sentence="{place} spreads along {value:.1f} directions; fresh networks use {fresh:.1f} on these observations",
    ),
    Rule(
        "ntk_rank",
        "interference",
        high=False,
        by=0.3,
        relative=True,
        whole=True,
        sentence="Through {place}, the gradients of single observations span {value:.1f} directions (fresh: "
        "{fresh:.1f}): what is learned of one moves the others",
    ),
    Rule(
        "weight_norm",
        "size",
        high=True,
        by=1.0,
        relative=True,
        sentence="The weights of {place} are {times:.1f} times as large as fresh ones: a step of the same size turns "
        "them less",
    ),
    Rule(
        "policy_entropy",
        "exploration",
        high=False,
        by=0.5,
        relative=True,
        whole=True,
        sentence="The entropy of the policy is {value:.2f} nats (fresh: {fresh:.2f}): an agent that tries little "
        "learns little, which is not loss of plasticity",
    ),
)


def findings(readings: Readings, hidden: Collection[str], rules: Sequence[Rule] = RULES) -> list[Finding]:
    """Return what the rules find, in their order, then in that of the readings.

    Args:
        readings: what was measured.
        hidden: the hidden layers. Heads are left out: some are made nearly zero, and all grow.
        rules: what to look for.
    """
    told: dict[tuple[str, str], Finding] = {}
    for rule in rules:
        for found in _of(rule, readings):
            if rule.whole or found.place in hidden:
                told.setdefault((rule.theme, found.place), found)
    return list(told.values())


def _of(rule: Rule, readings: Readings) -> Iterator[Finding]:
    for tag, reading in readings.items():
        probe, _, place = tag.partition("/")
        if probe == rule.probe and rule.holds(reading):
            facts = {name.partition("/")[0]: r.value for name, r in readings.items() if name.endswith(f"/{place}")}
            facts |= {"value": reading.value, "fresh": reading.mean, "times": _times(reading)}
            sentence = rule.sentence.format(place=place, **facts).replace("%", " %")
            yield Finding(place, probe, sentence)


def _times(reading: Null) -> float:
    return reading.value / reading.mean if reading.mean else float("inf")
