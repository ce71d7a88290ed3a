"""World seeds: no two share a realisation, of a schedule or of what a world is made of; all copies of one world do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from lopgym.envs import environments
from lopgym.envs.build import batched, single
from lopgym.envs.drift_clock import DriftClock
from lopgym.envs.layers import layers
from lopgym.schedules import from_plain, schedules, to_plain
from tests.play import LAYERED, WORLDS, action_space, every_batch, layered, random_actions, restless
from tests.test_schedules import EXAMPLES

COPIES, SEEDS = 4, range(1000, 1020)
DRAWN = [entry.name for entry in environments if "world_seed" in entry.options and entry.name in WORLDS]
RANDOM = [entry.name for entry in schedules if "seed" in entry.options]


@contextmanager
def _overheard(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Yield the seeds of all generators that are opened meanwhile."""
    heard: set[str] = set()
    default_rng = np.random.default_rng

    def listening(*seed: Any) -> np.random.Generator:
        heard.update(map(str, seed))
        return default_rng(*seed)

    with monkeypatch.context() as patch:
        patch.setattr(np.random, "default_rng", listening)
        yield heard


def _shared(opened: list[set[str]]) -> list[str]:
    """Return the seeds that are in several of the sets."""
    seeds = [seed for some in opened for seed in some]
    return [seed for seed in set(seeds) if seeds.count(seed) > 1]


def _assert_own_numbers(world: str, drifts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold worlds of different seeds, and batches of them, to streams that no other world opens."""
    space, opened = action_space(world), []
    for seed in SEEDS:
        with _overheard(monkeypatch) as heard:
            env, rng = single(world, drifts=drifts, world_seed=seed), np.random.Generator(np.random.PCG64(0))
            env.reset(seed=0)
            for _ in range(5):
                env.step(random_actions(space, rng, 1)[0])
        with _overheard(monkeypatch) as heard_of_batch:
            batched(2, world=world, drifts=drifts, world_seed=seed).reset(seed=0)
        assert heard_of_batch <= heard
        opened.append(heard)
    assert len({len(some) for some in opened}) == 1
    assert opened[0]
    assert _shared(opened) == []


@pytest.mark.parametrize("world", DRAWN)
def test_no_two_worlds_are_made_of_the_same_numbers(world: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stream that a world opens, for any of its variants, single or batched, is its own."""
    physics = environments[world].make.physics_type.__dataclass_fields__
    numbered = {name: 3 for name, field in physics.items() if field.metadata["unit"] == "index"}
    _assert_own_numbers(world, numbered, monkeypatch)


@pytest.mark.parametrize("layer", [layer.name for layer in layers if "world_seed" in layer.options])
def test_no_two_worlds_have_the_same_layers(layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders, rotations, masks, signs: variant 3 of one world is nothing of another's."""
    physics = layers[layer].make.physics_type.__dataclass_fields__
    world = next(world for world in LAYERED if physics.keys() <= layered(world, 1).keys())
    others = {name: field.default for name, field in physics.items()}
    for name in [name for name, field in physics.items() if field.metadata["unit"] == "index"]:
        _assert_own_numbers(world, {other: _strong(physics[other]) for other in others} | {name: 3}, monkeypatch)


def _strong(field: Any) -> float:
    """Return a value at which a layer does what it can."""
    return min(field.default + 0.5, field.metadata["high"]) if isinstance(field.default, float) else field.default


@pytest.mark.parametrize("kind", RANDOM)
def test_no_two_worlds_share_a_realisation(kind: str) -> None:
    """Of 40 worlds and two parameters, 80 different courses, whatever the law."""
    plain = to_plain(EXAMPLES[kind][0].schedule) | {"seed": None}
    drifts = {"one": from_plain(plain), "other": from_plain(plain)}
    courses = [_course(schedule) for seed in range(40) for schedule in DriftClock(drifts, seed).schedules.values()]
    assert len(set(courses)) == 80


def _course(schedule: Any) -> tuple[float, ...]:
    return tuple(schedule(t) for t in range(150))


@every_batch
@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_all_copies_share_one_world(world: str, mode: str) -> None:
    """Of the same seed and doing the same, they see and earn the same, for ever: they differ in luck alone."""
    batch = batched(COPIES, world=world, drifts=restless(world, 7), world_seed=8, autoreset_mode=mode)
    said: list[Any] = [batch.reset(seed=[5] * COPIES)[0]]
    rng = np.random.default_rng(0)
    for _ in range(40):
        actions = np.repeat(random_actions(action_space(world), rng, 1), COPIES, axis=0)
        said += batch.step(actions)[:4]
    assert all((one == one[:1]).all() for one in said)
