"""Reading: one look into an agent as text, a table a layer and the findings below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lopgym.probes.null import ROUNDING, Null
from lopgym.studies.probing import Look

NOTHING = "Nothing: no value is both beyond those of fresh networks and far enough from them to matter."
CAUTION = (
    "These are signs, not proof: whether an agent still learns is seen by letting it learn, beside a fresh one. "
    "A number counts here when no fresh network reads as high, or as low, and when it is more than three standard "
    "deviations away from their mean."
)
_HEAD = ("value", "fresh", "spread", "percentile")


def text(seen: Look) -> str:
    """Return tables, what was not measured and why, and the findings."""
    return "\n".join(_lines(seen))


def shown(reading: Null) -> tuple[str, str, str, str]:
    """Return value, mean and spread of fresh networks, and percentile, as short as they can be told apart.

    >>> from lopgym.probes.null import null
    >>> shown(null(1.0, [0.25, 0.25 + 1e-9]))
    ('1', '0.25', '0', '100')
    """
    spread = reading.sd if reading.sd > ROUNDING * abs(reading.mean) else 0.0
    return f"{reading.value:.4g}", f"{reading.mean:.4g}", f"{spread:.4g}", f"{reading.percentile:.0f}"


def by_reason(skipped: Mapping[str, str]) -> dict[str, list[str]]:
    """Turn probe -> why around.

    >>> by_reason({"grama": "no loss", "hessian_top": "no loss"})
    {'no loss': ['grama', 'hessian_top']}
    """
    reasons: dict[str, list[str]] = {}
    for probe, why in skipped.items():
        reasons.setdefault(why, []).append(probe)
    return reasons


def _lines(seen: Look) -> Iterator[str]:
    yield f"{seen.name}, beside {seen.fresh} fresh networks"
    width = max(len(tag.partition("/")[0]) for tag in seen.readings)
    for place in seen.places:
        units = f", {seen.layers[place]} units" if place in seen.layers else ""
        yield ""
        yield f"{place + units:{width}}" + "".join(f"{head:>12}" for head in _HEAD)
        for probe, reading in seen.of(place).items():
            yield f"{probe:{width}}" + "".join(f"{cell:>12}" for cell in shown(reading))
    yield ""
    yield from (f"not measured: {', '.join(names)}: {why}" for why, names in by_reason(seen.skipped).items())
    yield ""
    yield "What was found:"
    yield from ([f"- {found.sentence}" for found in seen.findings] or [NOTHING])
    yield CAUTION
