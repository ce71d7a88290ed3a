"""The fork probe: train copies of a network and a fresh one on the same problem, and say who fell behind, and why.

It is the direct measurement of plasticity. Four contenders meet the same samples in the same order:

| contender | trunk | heads | optimizer state |
| --- | --- | --- | --- |
| `carried` | old | old | carried over |
| `cleared` | old | old | cleared |
| `fresh_head` | old | fresh | cleared |
| `fresh` | fresh | fresh | cleared |

From one row to the next a single thing changes, so the difference of their losses is that thing's part in the gap.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from torch import Tensor

from lopgym.probes.fitting import Budget, Problem, Trainee, fit
from lopgym.probes.interval import interval

PARTS = {
    "gap": ("carried", "fresh"),
    "optimizer": ("carried", "cleared"),
    "head": ("cleared", "fresh_head"),
    "trunk": ("fresh_head", "fresh"),
}
"""Part of the gap: whose loss is higher by it, than whose. The last three sum to the first."""


@dataclass(frozen=True)
class Trial:
    """One repeat.

    Args:
        start: loss of the fresh network before training.
        losses: contender to its loss after training.
    """

    start: float
    losses: Mapping[str, float]

    @property
    def progress(self) -> float:
        """How far the fresh network brought the loss down."""
        return self.start - self.losses["fresh"]


def trial(
    trainee: Trainee, heads: Collection[str], fresh: Mapping[str, Tensor], problem: Problem, budget: Budget, seed: int
) -> Trial:
    """Let the four contenders learn `problem`; `trainee` is only copied.

    Args:
        trainee: the network in question, with its optimizer.
        heads: names of the heads' parameters.
        fresh: a newly initialised `state_dict` of the network.
        problem: what to learn.
        budget: how much training each of them gets.
        seed: of minibatches and dropout, the same for all of them.
    """
    fresh_head = {name: value for name, value in fresh.items() if name in heads}
    others = {"cleared": {}, "fresh_head": fresh_head, "fresh": fresh}
    contenders = {"carried": trainee.copy()} | {name: restarted(trainee, values) for name, values in others.items()}
    results = {
        name: fit(contender, problem.asked_of(contender.network), budget, seed)
        for name, contender in contenders.items()
    }
    return Trial(results["fresh"][0], {name: after for name, (_, after) in results.items()})


def restarted(trainee: Trainee, values: Mapping[str, Tensor]) -> Trainee:
    """Return a copy with a cleared optimizer, and `values` in place of the parameters and buffers of those names."""
    other = trainee.copy()
    other.optimizer.state.clear()
    other.network.load_state_dict(other.network.state_dict() | dict(values))
    return other


def compare(trials: Sequence[Trial]) -> dict[str, float]:
    """Return the gap to the fresh network and its parts, with their intervals, and the mean losses.

    The unit of gap and parts is the mean progress of the fresh networks: 0 learns as much as fresh, 1 ends where fresh
    began, below 0 is ahead of fresh. Trials are paired, so the interval is that of the differences; it treats the unit,
    which they share, as known. Where fresh networks make no progress there is no unit, and neither gap nor parts.

    Args:
        trials: at least two.

    Returns:
        `<part>`, `<part>_low` and `<part>_high` for `PARTS`; `loss/<contender>` after training, and `loss/start`.

    >>> one = Trial(4.0, {"carried": 3.0, "cleared": 2.0, "fresh_head": 2.0, "fresh": 0.0})
    >>> {name: compare([one, one])[name] for name in ("gap", "optimizer", "head", "trunk")}
    {'gap': 0.75, 'optimizer': 0.25, 'head': 0.0, 'trunk': 0.5}
    """
    values = {"loss/start": fmean(t.start for t in trials)}
    values |= {f"loss/{name}": fmean(t.losses[name] for t in trials) for name in trials[0].losses}
    unit = fmean(t.progress for t in trials)
    if unit > 0:
        for part, (worse, better) in PARTS.items():
            found = interval([(t.losses[worse] - t.losses[better]) / unit for t in trials])
            values |= {part: found.mean, f"{part}_low": found.low, f"{part}_high": found.high}
    return values
