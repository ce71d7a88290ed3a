"""How well change detectors do: what an agent hears of its fortune, scored against the changes that the world logs.

`python -m lopgym.studies.detection catch_dqn --seeds 0-2 tasks=12` trains agents that nothing cures and prints a table:
which share of the task changes each detector finds, how late, and how often it cries for nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from math import nan
from statistics import median

import torch

from lopgym.agents.attach import Plasticity
from lopgym.agents.detectors import detectors
from lopgym.agents.hearing import SIGNALS
from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation
from lopgym.agents.task_change import TaskChange
from lopgym.agents.triggers.detected import Detected
from lopgym.record import Recorder
from lopgym.studies.compose import Config, load, session
from lopgym.studies.reporting import logger_into
from lopgym.studies.run import build_model
from lopgym.studies.worlds import training_world

Stream = list[tuple[int, float]]  # env step, over all copies, and what was heard then


@dataclass(frozen=True)
class Score:
    """How alarms meet changes.

    Args:
        changes: how many there were.
        delays: steps from each change that was found to the alarm that found it.
        false: alarms that found nothing.
        steps: over which it was listened.
    """

    changes: int
    delays: tuple[int, ...]
    false: int
    steps: int

    @property
    def found(self) -> float:
        """Share of the changes that were found."""
        return len(self.delays) / self.changes if self.changes else nan

    @property
    def delay(self) -> float:
        """Median delay in steps; NaN if nothing was found."""
        return median(self.delays) if self.delays else nan

    @property
    def false_per_10000(self) -> float:
        """False alarms in 10,000 steps."""
        return 1e4 * self.false / self.steps

    def __add__(self, other: Score) -> Score:
        """Pool two scores."""
        return Score(
            self.changes + other.changes, self.delays + other.delays, self.false + other.false, self.steps + other.steps
        )


def score(alarms: Sequence[int], changes: Sequence[int], steps: int) -> Score:
    """Let the first alarm after each change, before the next one, have found it; all other alarms are false.

    Args:
        alarms: steps at which there was an alarm, rising.
        changes: first steps of the new pieces, rising.
        steps: of the whole stream.

    >>> score([3, 12, 15, 31], [10, 20, 30], 40)
    Score(changes=3, delays=(2, 1), false=2, steps=40)
    """
    delays = []
    for begin, end in pairwise([*changes, steps]):
        first = next((alarm for alarm in alarms if begin <= alarm < end), None)
        if first is not None:
            delays.append(first - begin)
    return Score(len(changes), tuple(delays), len(alarms) - len(delays), steps)


def alarms(detected: Detected, stream: Stream) -> list[int]:
    """Return the steps at which a trigger alarms when it hears a stream."""
    return [step for step, value in stream if detected.hear(value)]


@dataclass(kw_only=True, eq=False)
class Eavesdropper(Mitigation):
    """Writes down every value of every signal, with the last step that it is of, and changes nothing."""

    heard: dict[str, Stream] = field(default_factory=lambda: {signal: [] for signal in SIGNALS})

    def begin(self, learner: Learner) -> None:
        """Listen."""
        for signal, stream in self.heard.items():
            learner.listen(signal, partial(self._note, learner, stream))

    def _note(self, learner: Learner, stream: Stream, value: float) -> None:
        stream.append((learner.steps - 1, value))  # steps are counted from 0, as on the world's clock


def overheard(config: Config) -> Mapping[str, Stream]:
    """Train what `config` says, without its mitigations, leave nothing behind, and return what the agent could hear."""
    torch.set_num_threads(1)
    world = training_world(config)
    model = build_model(config, world, {})
    model.set_logger(logger_into(Recorder([])))
    ear = Eavesdropper()
    plasticity = Plasticity(
        mitigations={"ear": ear},
        task_change=TaskChange(**config.task_change.model_dump()),
        steps_per_task=config.steps_per_task,
        seed=config.seed,
    )
    model.learn(config.tasks * config.steps_per_task, callback=plasticity, log_interval=None)
    world.close()
    return ear.heard


def judged(config: Config, heard: Mapping[str, Stream]) -> dict[tuple[str, str], Score]:
    """Return the score of every detector, at its defaults, on every signal; task changes are known by their steps."""
    steps = config.tasks * config.steps_per_task
    changes = range(config.steps_per_task, steps, config.steps_per_task)
    return {
        (entry.name, signal): score(alarms(Detected(signal=signal, detector=entry.name), stream), changes, steps)  # type: ignore[arg-type]  # the names of signals are the words
        for entry in detectors
        for signal, stream in heard.items()
    }


def table(scores: Mapping[tuple[str, str], Score]) -> str:
    """Say it in Markdown."""
    lines = ["| detector | signal | changes found | median delay, steps | false alarms per 10,000 steps |"]
    lines += ["| --- | --- | --- | --- | --- |"]
    for (detector, signal), s in scores.items():
        lines.append(
            f"| {detector} | {signal} | {len(s.delays)} of {s.changes} | {s.delay:.0f} | {s.false_per_10000:.1f} |"
        )
    return "\n".join(lines)


def pooled(configs: Iterator[Config]) -> dict[tuple[str, str], Score]:
    """Train each config and pool the scores."""
    scores: dict[tuple[str, str], Score] = {}
    for config in configs:
        for key, one in judged(config, overheard(config)).items():
            scores[key] = scores[key] + one if key in scores else one
    return scores


def _configs(study: str, seeds: Sequence[int], overrides: Sequence[str]) -> Iterator[Config]:
    for seed in seeds:
        with session() as loader:
            config = load(loader, [f"study={study}", *overrides, f"seed={seed}"])
        yield config


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(prog="python -m lopgym.studies.detection", description=__doc__)
    parser.add_argument("study")
    parser.add_argument("--seeds", default="0-2", help="first and last, such as 0-2")
    parser.add_argument("overrides", nargs="*", help="config values, such as tasks=12")
    asked = parser.parse_intermixed_args(arguments)
    first, _, last = asked.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    print(table(pooled(_configs(asked.study, seeds, asked.overrides))))


if __name__ == "__main__":
    main()
