"""Null calibration inside a Stable-Baselines3 model: its probes beside those of fresh networks, again and again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from annotated_types import Ge, Interval

from lopgym.agents.looking import Looking, Write
from lopgym.agents.null import Probe, null_of
from lopgym.bounds import NonNegativeInt
from lopgym.probes.null import Null
from lopgym.seeding import derive


class NullCalibration(Looking):
    """Says now and then where probes stand among freshly initialised networks, as a callback that changes nothing.

    Agent and fresh networks are measured alike, as `lopgym.agents.null.null_of` says. Tags are
    `null/<probe>/<layer>/<what>`: `mean` and `std` over the fresh networks, `percentile`, the share of them in % that
    reads lower, and `z`, how many `std` the agent is above their mean; without spread there is no `z`.

    Args:
        probes: probe functions by name.
        every: env steps over all copies between two calibrations; 0 is never.
        networks: fresh networks in each, at least 2.
        samples: in the batch that all of them meet.
        write: takes (env step, values).
        seed: of batches, networks and what probes draw.
    """

    def __init__(
        self,
        *,
        probes: Mapping[str, Probe],
        every: NonNegativeInt = 10_000,
        networks: Annotated[int, Ge(2)] = 20,
        samples: Annotated[int, Interval(gt=0, le=2**16)] = 256,
        write: Write = lambda step, values: None,
        seed: int = 0,
    ) -> None:
        """Keep the options."""
        super().__init__("null", every, write)
        self.probes, self.networks, self.samples, self.seed = dict(probes), networks, samples, seed

    def look(self, step: int) -> Mapping[str, float]:
        """Calibrate on the latest data."""
        seed = derive(self.seed, "null", step)
        found = null_of(self.model, self.probes, networks=self.networks, samples=self.samples, seed=seed)
        return {f"null/{tag}/{what}": value for tag, one in found.items() for what, value in _told(one)}


def _told(one: Null) -> Iterator[tuple[str, float]]:
    yield from (("mean", one.mean), ("std", one.sd), ("percentile", one.percentile))
    if one.z is not None:
        yield "z", one.z
