"""What probes cost: ours beside the seed authors' analysis and Plasticine's metrics, and beside a forward pass.

All contenders run in one process and in turns, A B C A B C, so that whatever else the machine does meets all of them.
The unit is CPU time (`process_time`); a ratio is the median of the ratios round by round, with the least and the
greatest. Before the race the values are compared: they must agree to 1e-5.
The C library keeps freed memory (`keep_freed_memory`), for all of them, as it does wherever an agent is measured.
Both peers are written anew from their formulas (`probe_peers.py`) and meet the same network, batch and loss. Of a
convolution the authors' ranks and W look at some random rows, ours at all or 5000: estimates, and not compared.

Run it: `OMP_NUM_THREADS=1 python benchmarks/probes.py` (some minutes); `--rounds 3 --nets 2x64` is quicker. Probes'
share of training: `--share` (two minutes more).
"""

from __future__ import annotations

import argparse
import gc
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from statistics import median
from typing import Any

import torch
from probe_peers import BATCH, NETS, ROWS, Net, Values, authors, plasticine

import lopgym
from lopgym.probes import probes
from lopgym.probes.captures import measure
from lopgym.probes.memory import keep_freed_memory
from lopgym.studies.compose import from_keywords

Probes = Mapping[str, Callable[..., Values]]

TOLERANCE = 1e-5
SUITE = (
    "dead_fraction",
    "duplicate_cosine_fraction",
    "effective_rank",
    "participation_ratio",
    "saturated_fraction",
    "shapiro",
)
BESIDES = ("duplicate_fraction", "dormant_fraction", "srank")  # what the full suite yields beside the authors'
FIVE = ("zero_fraction", "feature_norm", "effective_rank", "srank", "dormant_fraction")
SAMPLED = ("effective_rank", "participation_ratio", "shapiro")  # of `ROWS` rows, by the authors
FORWARD, OURS, OUR_FIVE = "a forward pass", "lopgym, the full unit and rank suite", "lopgym, Plasticine's five"
EVENT, PLASTICINE, SHARE = 15.0, 1.9, 0.05  # limits: forward passes an event, Plasticine over ours, share of training
LEAST = 0.1  # CPU seconds that a round of one contender takes, or one call
STUDIES = {"catch_dqn": 6, "label_bandit_ppo": 6}  # of how many tasks the share of probes is taken


@dataclass(frozen=True)
class Contender:
    """What is timed, beside whom, and the most (or least) it may cost in multiples of that one."""

    call: Callable[[], Any]
    beside: str = ""
    goal: tuple[str, float] | None = None

    def verdict(self, ratio: float) -> str:
        """Say what was wanted, and whether it was met."""
        if self.goal is None:
            return ""
        sign, limit = self.goal
        met = ratio <= limit if sign == "<=" else ratio >= limit
        return f"{sign} {limit:g}: {'met' if met else 'missed'}"


def ours(net: Net, chosen: tuple[str, ...]) -> Values:
    """Measure these probes of ours, on what nothing has been computed of yet."""
    return measure(net.captures(), bound(chosen))


@cache
def bound(chosen: tuple[str, ...]) -> Probes:
    """Return probes with options bound: the authors' threshold is for derivatives of the mean loss, ours a sample's."""
    options = {"saturated_fraction": {"threshold": 1e-4 * BATCH}}
    return {name: partial(probes[name].make, **options.get(name, {})) for name in chosen}


def forward(net: Net) -> None:
    """Run the network once."""
    with torch.no_grad():
        net.module(net.observations)


def event(net: Net, chosen: Probes) -> Values:
    """Measure what a run measures, where it has measured before."""
    return measure(net.captures(net.previous), chosen)


@cache
def default_probes() -> dict[str, Callable[..., Values]]:
    """Return the probes of a study that says nothing of probes, options bound."""
    chosen = {label: options.model_dump() for label, options in from_keywords("catch_dqn").probes.items()}
    return {label: partial(probes[options.pop("kind")].make, **options) for label, options in chosen.items()}


def disagreement(found: Values, theirs: Values, tags: Iterable[str]) -> dict[str, float]:
    """Return by how much values differ, relative to theirs where that is above 1, of those that differ too much."""
    gaps = {tag: abs(found[tag] - theirs[tag]) / max(1.0, abs(theirs[tag])) for tag in tags}
    return {tag: gap for tag, gap in gaps.items() if not gap <= TOLERANCE}


def comparable(net: Net, tags: Iterable[str]) -> list[str]:
    """Return those tags whose values are of all rows on both sides."""
    rows = {name: len(values) for name, values in net.captures().activations.items()}
    return [tag for tag in tags if rows[tag.split("/")[1]] <= ROWS or tag.split("/")[0] not in SAMPLED]


def compare(net: Net) -> str:
    """Compare all values.

    Raises:
        AssertionError: some differ by more than the tolerance.
    """
    pairs = [(ours(net, SUITE), authors(net)), (ours(net, FIVE), plasticine(net))]
    tags = [comparable(net, pairs[0][1]), list(pairs[1][1])]
    wrong = [disagreement(*pair, some) for pair, some in zip(pairs, tags, strict=True)]
    assert not any(wrong), wrong
    return f"{len(tags[0])} of {len(pairs[0][1])} values as the authors', {len(tags[1])} as Plasticine's"


def contenders(net: Net) -> dict[str, Contender]:
    """Return what is timed on one network."""
    default = Contender(lambda: event(net, default_probes()), FORWARD, ("<=", EVENT))
    return {
        FORWARD: Contender(lambda: forward(net)),
        **({"lopgym, a default event": default} if net.events else {}),
        OURS: Contender(lambda: ours(net, (*SUITE, *BESIDES))),
        "the authors' analysis": Contender(lambda: authors(net), OURS, (">=", net.over_authors)),
        OUR_FIVE: Contender(lambda: ours(net, FIVE)),
        "Plasticine's five": Contender(lambda: plasticine(net), OUR_FIVE, (">=", PLASTICINE)),
    }


def single_probes(net: Net) -> dict[str, Contender]:
    """Return each default probe alone, to be told which of them cost."""
    alone = {name: Contender(partial(event, net, {name: probe}), FORWARD) for name, probe in default_probes().items()}
    return {FORWARD: Contender(lambda: forward(net))} | alone


def race(all_of: Mapping[str, Contender], rounds: int) -> dict[str, list[float]]:
    """Let all run in turns; return the CPU seconds of a call, round by round."""
    for one in all_of.values():
        one.call()  # what a first call alone does, such as reading the config, counts for nothing
    repeats = {name: max(1, round(LEAST / _seconds(one.call, 1))) for name, one in all_of.items()}
    times: dict[str, list[float]] = {name: [] for name in all_of}
    for _ in range(rounds):
        for name, one in all_of.items():
            gc.collect()
            times[name].append(_seconds(one.call, repeats[name]))
    return times


def report(all_of: Mapping[str, Contender], times: Mapping[str, list[float]]) -> Iterator[str]:
    """Yield the lines of one table."""
    yield f"  {'':38} {'ms':>9} {'ratio':>7}  {'[min-max]':15} goal"
    for name, one in all_of.items():
        line = f"  {name:38} {1e3 * median(times[name]):9.2f}"
        if one.beside:
            ratios = [mine / other for mine, other in zip(times[name], times[one.beside], strict=True)]
            span = f"[{min(ratios):.2f}-{max(ratios):.2f}]"
            line += f" {median(ratios):7.2f}  {span:15} {one.verdict(median(ratios))}"
        yield line.rstrip()


def share(study: str, tasks: int) -> str:
    """Train a few tasks and say how much of the CPU time went into probes, by the run's own account."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        run = lopgym.run(study, tasks=tasks, runs_dir=folder)
        total = time.process_time() - began
        spent = run.series("time/probes_cpu_seconds")[1]
    part = spent[-1] / total
    verdict = "met" if part <= SHARE else "missed"
    said = f"{len(spent)} events, {spent[-1]:.2f} of {total:.1f} CPU s: {part:.1%}"
    return f"  {study:20} {said}; <= {SHARE:.0%}: {verdict}"


def _seconds(call: Callable[[], Any], repeats: int) -> float:
    began = time.process_time()
    for _ in range(repeats):
        call()
    return (time.process_time() - began) / repeats


def main(arguments: list[str] | None = None) -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description="What probes cost.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--nets", nargs="*", choices=[*NETS], default=[*NETS])
    parser.add_argument("--each", action="store_true", help="also time every default probe alone")
    parser.add_argument("--share", action="store_true", help="also train, for probes' share of it")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_freed_memory()
    print(f"Python {platform.python_version()}, torch {torch.__version__}, lopgym {lopgym.__version__}")
    print(f"CPU time of one thread, batch {BATCH}, median of {asked.rounds} rounds in turns")
    for name in asked.nets:
        net = NETS[name]()
        print(f"\n{name}: {compare(net)}")
        for all_of in (contenders, single_probes) if asked.each and net.events else (contenders,):
            print(*report(all_of(net), race(all_of(net), asked.rounds)), sep="\n")
    for study, tasks in STUDIES.items() if asked.share else ():
        print(share(study, tasks))


if __name__ == "__main__":
    main()
