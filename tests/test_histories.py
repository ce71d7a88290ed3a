"""Whatever a world has been through, a seeded reset begins the life that a fresh environment begins."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lopgym.envs.build import batched, single
from tests.play import (
    BATCHED,
    LAYERED,
    WORLDS,
    action_space,
    every_world,
    layered,
    random_actions,
    restless,
    same,
    swaying,
)

COPIES, STEPS, SEED, LENGTH = 3, 25, 3, 105
MODES = ("SameStep", "NextStep", "Disabled")
few = settings(derandomize=True, deadline=None, max_examples=8)

EVENTS = st.one_of(
    st.tuples(st.just("step"), st.integers(1, 15)),
    st.tuples(st.just("step"), st.integers(1, 15)),
    st.tuples(st.just("reset"), st.just({})),
    st.tuples(st.just("reset"), st.fixed_dictionaries({"seed": st.integers(0, 2**40)})),
    st.tuples(st.just("reset"), st.fixed_dictionaries({"options": st.just({"low": -0.45, "high": -0.44})})),
    st.tuples(
        st.just("reset"),
        st.fixed_dictionaries(
            {"options": st.fixed_dictionaries({"clock": st.integers(0, 10**6), "episode": st.integers(0, 50)})}
        ),
    ),
    st.tuples(st.just("freeze"), st.integers(1, 5)),
    st.tuples(st.just("leap"), st.integers(1, 5)),
)
History = list[tuple[str, Any]]
histories: st.SearchStrategy[History] = st.lists(EVENTS, min_size=1, max_size=6)


class Life:
    """An environment or a batch at random play, and what can befall it."""

    def __init__(self, env: Any, world: str, mode: str | None) -> None:
        """Take an environment, begun or not."""
        self.env, self.mode, self.space = env, mode, action_space(world)
        self.rng = np.random.default_rng(1)

    def draw(self) -> Any:
        """Return what to do next."""
        actions = random_actions(self.space, self.rng, COPIES if self.mode else 1)
        return actions if self.mode else actions[0]

    def step(self, steps: int) -> list[Any]:
        """Go on, into further episodes."""
        said = []
        for _ in range(steps):
            said.append(copy.deepcopy(self.env.step(self.draw())))
            over = np.asarray(said[-1][2]) | np.asarray(said[-1][3])
            if self.mode == "Disabled" and over.any():
                said.append(self.env.reset(options={"reset_mask": over}))
            elif self.mode is None and over:
                said.append(self.env.reset())
        return said

    def reset(self, how: dict[str, Any]) -> None:
        """Begin an episode, of the same life or of another, here or elsewhere in time."""
        self.env.reset(**copy.deepcopy(how))

    def freeze(self, steps: int) -> None:
        """Let time stand still for a while."""
        self.env.freeze()
        self.step(steps)
        self.env.freeze(False)

    def leap(self, steps: int) -> None:
        """Take the clocks back to where they were."""
        saved = self.env.snapshot()
        self.step(steps)
        self.env.restore(saved)


def _drifts(world: str, layers: bool) -> dict[str, Any]:
    if layers:
        return layered(world, 3)
    return restless(world, 3) | swaying() | {"reward_shift": {"kind": "cycle", "values": [0.0, 1.0, 5.0], "period": 1}}


def _made(world: str, mode: str | None, layers: bool) -> Any:
    clocks = {"observation_order": "episode", "reward_scale": "step", "reward_shift": "trigger"}
    time = {"drifts": _drifts(world, layers), "clocks": clocks, "trigger": {"threshold": -1e9, "window": 2, "cap": 19}}
    if mode is None:
        return single(world, **time)  # type: ignore[arg-type]
    return batched(COPIES, world=world, autoreset_mode=mode, max_episode_steps=9, **time)  # type: ignore[arg-type]


def _life(env: Any, world: str, mode: str | None) -> list[Any]:
    life = Life(env, world, mode)
    begun = env.reset(seed=SEED)
    return [copy.deepcopy(begun), *life.step(STEPS)]


@cache
def _expected(world: str, mode: str | None, layers: bool) -> list[Any]:
    return _life(_made(world, mode, layers), world, mode)


@every_world
@given(mode=st.sampled_from((None, *MODES)), history=histories)
@settings(few, max_examples=5)
def test_a_seed_forgets_everything(world: str, mode: str | None, history: History) -> None:
    """Steps, resets, jumps in time, frozen time, restored clocks, other starts: nothing is left of them."""
    _assert_forgotten(world, mode if world in BATCHED else None, False, history)


@pytest.mark.parametrize("world", LAYERED)
@given(mode=st.sampled_from((None, *MODES)), history=histories)
@few
def test_a_seed_forgets_everything_in_the_layers(world: str, mode: str | None, history: History) -> None:
    """Nothing is late, owed or stuck any more."""
    _assert_forgotten(world, mode, True, history)


def _assert_forgotten(world: str, mode: str | None, layers: bool, history: History) -> None:
    env = _made(world, mode, layers)
    life = Life(env, world, mode)
    env.reset()
    for event, what in history:
        getattr(life, event)(what)
    assert same(_life(env, world, mode), _expected(world, mode, layers))


CASES = [*((world, False) for world in WORLDS), *((world, True) for world in LAYERED)]
LONG = [(w, layers, mode) for w, layers in CASES for mode in (None, *["NextStep"] * (w in BATCHED))]


@pytest.mark.parametrize(("world", "layers", "mode"), LONG)
def test_a_seed_forgets_a_long_life_and_whoever_waits_for_a_reset(world: str, layers: bool, mode: str | None) -> None:
    """After more than a hundred steps, the last of which ends an episode that nobody follows up."""
    env = _made(world, mode, layers)
    life = Life(env, world, mode)
    env.reset()
    life.step(LENGTH)
    for _ in range(LENGTH):
        _, _, terminated, truncated, _ = env.step(life.draw())
        if np.any(terminated | truncated):
            break
    assert same(_life(env, world, mode), _expected(world, mode, layers))
