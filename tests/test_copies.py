"""Copies and pickles made in the middle of an episode: they go on as the original, and apart from it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lopgym.envs.build import batched, single
from lopgym.envs.telling import ChangeFlag, TellingVector
from tests.play import (
    BATCHED,
    LAYERED,
    action_space,
    every_batch,
    every_world,
    layered,
    random_actions,
    restless,
    same,
    swaying,
)

pytestmark = pytest.mark.fault("F13")

COPIES, STEPS = 3, 24
MOMENTS = (0, 1, 6, 13)  # steps after which copies are made
WAYS: tuple[Callable[[Any], Any], ...] = (copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env)))
# SAME_STEP keeps nothing between two calls that the others do not.
every_mode = pytest.mark.parametrize("mode", ["NextStep", "Disabled"])


def _time(world: str) -> dict[str, Any]:
    """Every clock that there is, and a trigger that fires now and then."""
    more = {"reward_shift": {"kind": "cycle", "values": [0.0, 1.0, 5.0], "period": 1}}
    clocks = {"observation_order": "episode", "reward_scale": "step", "reward_shift": "trigger"}
    trigger = {"threshold": -1e9, "window": 2, "cap": 17}
    return {"drifts": restless(world, 4) | swaying() | more, "clocks": clocks, "trigger": trigger}


def _step(env: Any, action: Any, mode: str) -> list[Any]:
    """Go on, into the next episode; what is said is nobody's but the caller's."""
    said = [copy.deepcopy(env.step(action))]
    over = np.asarray(said[0][2]) | np.asarray(said[0][3])
    if mode == "Single" and over:
        said.append(env.reset())
    elif mode == "Disabled" and over.any():
        said.append(env.reset(options={"reset_mask": over}))
    return said


def _refusal(env: Any) -> str | None:
    """Return why an environment has no copies; None if it has."""
    try:
        copy.deepcopy(env)
    except TypeError as error:
        return str(error)
    return None


def _assert_apart(make: Callable[[], Any], world: str, mode: str = "Single") -> None:
    """Hold copies, what they were made from, and one that nobody ever copied to one another, step by step."""
    original, untouched = make(), make()
    for env in (original, untouched):
        env.reset(seed=9)
    if refusal := _refusal(original):  # what another library wrote in C may have none
        assert world not in BATCHED
        assert "cannot be copied or pickled" in refusal
        return
    rng, copies, twins = np.random.default_rng(0), 1 if mode == "Single" else COPIES, list[Any]()
    for moment in range(STEPS):
        if moment in MOMENTS:
            twins += [way(original) for way in WAYS]
        actions = random_actions(action_space(world), rng, copies)
        action = actions[0] if mode == "Single" else actions
        said = [_step(env, action, mode) for env in (original, *twins, untouched)]
        assert all(same(one, said[-1]) for one in said)


@every_world
def test_a_world_goes_on(world: str) -> None:
    """With all clocks running: nothing of the episode is lost, nothing is shared."""
    _assert_apart(lambda: single(world, **_time(world)), world)


@every_batch
@every_mode
def test_a_batch_goes_on(world: str, mode: str) -> None:
    """Copies that have ended and wait for their reset, too."""
    made = {"world": world, "autoreset_mode": mode, "max_episode_steps": 9} | _time(world)
    _assert_apart(lambda: batched(COPIES, **made), world, mode)


@pytest.mark.parametrize("world", LAYERED)
def test_all_layers_go_on(world: str) -> None:
    """What is late, owed, stuck or on its way to the agent is copied, too."""
    _assert_apart(lambda: ChangeFlag(single(world, drifts=layered(world, 4, native=False)), delay=2), world)


@pytest.mark.parametrize("world", LAYERED)
@every_mode
def test_all_layers_of_a_batch_go_on(world: str, mode: str) -> None:
    """The same, copy by copy."""
    made = {"world": world, "drifts": layered(world, 4), "autoreset_mode": mode, "max_episode_steps": 9}
    _assert_apart(lambda: TellingVector(batched(COPIES, **made), ChangeFlag, delay=2), world, mode)
