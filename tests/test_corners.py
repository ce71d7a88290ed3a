"""Parameters at the ends of their bounds, in many combinations: all is finite, and moved there is built there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from lopgym.envs.build import batched, single
from lopgym.envs.layers import owners, stack
from lopgym.physics import Parametric
from tests.play import BATCHED, LAYERED, WORLDS, action_space, layered, random_actions

CORNERS, STEPS, SEED = 24, 20, 6
BUILT = (0, 1, 2, 9)  # the corners whose lone environment is made, too: all low, all high, two at random
LAYERS = [(world, True) for world in LAYERED]
Said = tuple[bytes, float]  # what was seen, and what it paid


def _fields(world: str, layers: bool) -> dict[str, Any]:
    """Name -> declared field of the parameters of a world, or of the layers that fit around it."""
    env = single(world, drifts=layered(world, 1) if layers else {})
    inside = [one for one in stack(env) if isinstance(one, Parametric)]
    told = inside[:-1] if layers else inside[-1:]
    return {name: type(one.physics).__dataclass_fields__[name] for one in told for name in one.physics.names()}


def _corners(fields: Mapping[str, Any]) -> list[dict[str, float]]:
    """All low, all high, then for each parameter low, high, its default or something between them, at random."""
    rng = np.random.default_rng(0)
    ends: list[dict[str, float]] = [{name: f.metadata[end] for name, f in fields.items()} for end in ("low", "high")]
    return ends + [{name: _anywhere(field, rng) for name, field in fields.items()} for _ in range(CORNERS - 2)]


def _anywhere(field: Any, rng: np.random.Generator) -> float:
    low, high = field.metadata["low"], field.metadata["high"]
    whole = isinstance(field.default, int)
    between = int(rng.integers(low, high, endpoint=True)) if whole else float(rng.uniform(low, high))
    choices: list[float] = [low, high, field.default, between]
    return choices[int(rng.integers(4))]


def _told(seen: Any, reward: Any) -> Said:
    assert np.isfinite(seen).all()
    assert np.isfinite(reward)
    return np.asarray(seen).tobytes(), float(reward)


def _actions(world: str) -> list[Any]:
    rng = np.random.default_rng(0)
    return [random_actions(action_space(world), rng, 1)[0] for _ in range(STEPS)]


def _life(env: Any, world: str, seed: int = SEED) -> list[Said]:
    """What a lone environment shows and pays in a new life."""
    said = [_told(env.reset(seed=seed)[0], 0.0)]
    for action in _actions(world):
        seen, reward, terminated, truncated, _ = env.step(action)
        said.append(_told(seen, reward))
        if terminated or truncated:
            said.append(_told(env.reset()[0], 0.0))
    return said


def _lives(batch: Any, world: str) -> list[list[Said]]:
    """The same of each copy of a batch."""
    said = [[_told(seen, 0.0)] for seen in batch.reset(seed=SEED)[0]]
    for action in _actions(world):
        seen, reward, terminated, truncated, info = batch.step(np.repeat(action[None], batch.num_envs, axis=0))
        over = terminated | truncated
        for i, own in enumerate(said):
            own.append(_told(info["final_obs"][i] if over[i] else seen[i], reward[i]))
            if over[i]:
                own.append(_told(seen[i], 0.0))
    return said


@pytest.mark.parametrize(("world", "layers"), [(world, False) for world in WORLDS] + LAYERS)
def test_moved_to_a_corner_is_built_there(world: str, layers: bool) -> None:
    """From another life, all parameters at once: every number is that of the environment built there, and finite."""
    fields = _fields(world, layers)
    corners = _corners(fields)
    for corner in (corners[i] for i in BUILT):
        moved = single(world, drifts={name: field.default for name, field in fields.items()})
        _life(moved, world)
        for name, owner in reversed(owners(moved.env, corner).items()):  # not in the order of the one that is built
            owner.set_physics(**{name: corner[name]})
        assert _life(moved, world) == _life(single(world, drifts=corner), world)


@pytest.mark.parametrize(("world", "layers"), [(world, False) for world in BATCHED] + LAYERS)
def test_each_copy_of_a_batch_can_be_in_a_corner_of_its_own(world: str, layers: bool) -> None:
    """All corners at once, one a copy: each goes as the lone environment there, and all numbers are finite."""
    fields = _fields(world, layers)
    corners = _corners(fields)
    still = {name: field.default for name, field in fields.items()}
    batch = batched(CORNERS, world=world, drifts=still, autoreset_mode="SameStep", max_episode_steps=-1)
    for name, owner in reversed(owners(batch.env, fields).items()):
        owner.set_physics(**{name: np.array([corner[name] for corner in corners])})
    lives = _lives(batch, world)
    for i in BUILT:
        assert lives[i] == _life(single(world, drifts=corners[i]), world, SEED + i)


@pytest.mark.parametrize(("world", "layers"), [(world, False) for world in BATCHED] + LAYERS)
def test_a_batch_can_be_in_a_corner(world: str, layers: bool) -> None:
    """All copies in the same one: as lone environments there."""
    for corner in _corners(_fields(world, layers))[:6]:
        batch = batched(2, world=world, drifts=corner, autoreset_mode="SameStep", max_episode_steps=-1)
        lone = [_life(single(world, drifts=corner), world, SEED + i) for i in range(2)]
        assert _lives(batch, world) == lone
