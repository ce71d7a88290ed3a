"""What the agent is told: by hand, late, garbled; in a batch what each copy would be told alone."""

from __future__ import annotations

import json
import re
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

from lopgym.envs.build import batched, single
from lopgym.envs.nonstationary import NonStationary
from lopgym.envs.telling import (
    ChangeFlag,
    DifferenceObservation,
    DriftObservation,
    TaskIdObservation,
    Telling,
    TellingVector,
)
from lopgym.schedules import Count, Cycle, Steps
from tests.dial import Dial
from tests.play import every_world

WRAPPERS: list[tuple[type[Telling], dict[str, Any]]] = [
    (TaskIdObservation, {"tasks": 3}),
    (ChangeFlag, {}),
    (DriftObservation, {}),
    (DifferenceObservation, {"parameters": ("gravity",)}),
]
every_wrapper = pytest.mark.parametrize(("wrapper", "options"), WRAPPERS, ids=[one.__name__ for one, _ in WRAPPERS])
DRIFTS: dict[str, Any] = {
    "gravity": {"kind": "resample", "low": 5.0, "high": 20.0, "period": 7},
    "length": {"kind": "sine", "mean": 0.6, "amplitude": 0.3, "period": 31.0},
    "observation_order": {"kind": "count", "period": 9},
}


def _told(env: Any, steps: int, skip: int = 2) -> list[Any]:
    """What is told at each of so many observations, resets among them."""
    observation, _ = env.reset(seed=0)
    said = [observation[skip:].tolist()]
    while len(said) < steps:
        observation, _, ended, cut, _ = env.step(0)
        said.append(observation[skip:].tolist())
        if ended or cut:
            said.append(env.reset()[0][skip:].tolist())
    return said[:steps]


def _dial(**drifts: Any) -> NonStationary:
    return NonStationary(Dial(), drifts=drifts)


def test_the_task_by_hand() -> None:
    """Jumps at 2, 4, 6; four steps an episode, so the fifth observation is the last and the sixth a first."""
    said = _told(TaskIdObservation(_dial(right=Count(period=2)), tasks=3), 9)
    assert [one.index(1.0) for one in said] == [0, 0, 0, 1, 1, 2, 2, 2, 0]
    assert all(sorted(one) == [0, 0, 1] for one in said)


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_the_flag_by_hand(delay: int) -> None:
    """Up once for each change, also for one between two episodes; late by `delay` observations."""
    said = _told(ChangeFlag(_dial(right=Count(period=2)), delay=delay), 12)
    changes = [0, 0, 0, 1, 0, 1, 0, 0, 1, 0, 1, 0]
    assert [int(one[0]) for one in said] == ([0] * delay + changes)[:12]


def test_values_and_differences_by_hand() -> None:
    """Left from -100 to 100: 50 is 0.5; from 50 to -100 is three quarters of the range, downwards."""
    left = Steps(values=(50.0, -100.0, 0.0), at=(2, 3))
    env = _dial(left=left, right=Count(period=1))
    assert _told(DriftObservation(env), 5) == [[0.5], [0.5], [0.5], [-1.0], [0.0]]
    assert _told(DifferenceObservation(env), 5) == [[0.0], [0.0], [0.0], [-0.75], [0.5]]
    assert _told(DriftObservation(env, delay=2), 7) == [[0.5]] * 5 + [[-1.0], [0.0]]


def test_a_new_life_is_not_told_of_the_last() -> None:
    """A seed clears what is late and what was before."""
    env = ChangeFlag(DriftObservation(_dial(left=Cycle(values=(10.0, 20.0), period=1)), delay=2), delay=1)
    first = _told(env, 8)
    assert _told(env, 8) == first
    assert first[0] == first[1] == [pytest.approx(0.1), 0.0]


def test_noise_is_what_it_says() -> None:
    """A flag lies with its probability, a task is drawn at random with its, values are at most so far off."""
    flag = _told(ChangeFlag(_dial(left=1.0), noise=0.25), 4000)
    assert abs(np.mean(flag) - 0.25) < 0.03
    task = np.array(_told(TaskIdObservation(_dial(left=1.0), tasks=4, noise=0.4), 4000))
    assert (task.sum(axis=1) == 1).all()
    assert np.abs(task.mean(axis=0) - [0.7, 0.1, 0.1, 0.1]).max() < 0.03
    value = np.array(_told(DriftObservation(_dial(left=50.0), noise=0.25), 4000))
    assert 0.249 < np.abs(value - 0.5).max() < 0.25
    assert abs(value.mean() - 0.5) < 0.02
    edge = np.array(_told(DriftObservation(_dial(left=100.0), noise=0.25), 400))
    assert edge.max() == 1.0
    assert (_told(ChangeFlag(_dial(left=1.0), noise=1.0), 9)) == [[1.0]] * 9


@every_wrapper
@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version", "ignore:.*infinity")
def test_told_worlds_keep_gymnasiums_contracts(wrapper: type[Telling], options: dict[str, Any]) -> None:
    """The checker passes, with noise and delay; the observation is a flat Box, what was seen comes first."""
    env = wrapper(single("cartpole", drifts=DRIFTS), delay=2, noise=0.3, **options)
    check_env(env, skip_render_check=True)
    assert isinstance(env.observation_space, gym.spaces.Box)
    assert env.observation_space.dtype == np.float32
    bare = single("cartpole", drifts=DRIFTS)
    assert env.reset(seed=3)[0][:4].tobytes() == bare.reset(seed=3)[0].tobytes()
    for _ in range(5):
        ours, theirs = env.step(1), bare.step(1)
        assert ours[0][:4].tobytes() == theirs[0].tobytes()
        assert env.observation_space.contains(ours[0])
        assert ours[1:] == theirs[1:]


@every_wrapper
def test_told_worlds_are_made_again_from_their_spec(wrapper: type[Telling], options: dict[str, Any]) -> None:
    """The wrapper is recorded with its arguments, as plain data."""
    env = wrapper(gym.make("lopgym/CartPole-v0", drifts=DRIFTS), delay=1, noise=0.1, **options)
    assert env.spec is not None
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert [one.name for one in again.spec.additional_wrappers] == [wrapper.__name__]  # type: ignore[union-attr]
    assert json.dumps(_told(env, 30, 0)) == json.dumps(_told(again, 30, 0))


@every_wrapper
@pytest.mark.parametrize("mode", ["SameStep", "Disabled"])
@pytest.mark.parametrize(("delay", "noise"), [(0, 0.0), (3, 0.4)])
def test_a_batch_is_told_what_its_copies_are(
    wrapper: type[Telling], options: dict[str, Any], mode: str, delay: int, noise: float
) -> None:
    """Bit for bit, last observations too."""
    options = {**options, "delay": delay, "noise": noise}
    batch = TellingVector(
        batched(3, world="cartpole", drifts=DRIFTS, autoreset_mode=mode, max_episode_steps=13), wrapper, **options
    )

    def one() -> Any:
        return wrapper(gym.wrappers.TimeLimit(single("cartpole", drifts=DRIFTS, stride=3), 13), **options)

    mode_of_copies = gym.vector.AutoresetMode(mode)
    copies = gym.vector.SyncVectorEnv([one] * 3, autoreset_mode=mode_of_copies)
    assert batch.observation_space == copies.observation_space
    assert batch.reset(seed=4)[0].tobytes() == copies.reset(seed=4)[0].tobytes()
    rng, ends = np.random.default_rng(0), 0
    for _ in range(60):
        actions = rng.integers(2, size=3)
        ours, theirs = batch.step(actions), copies.step(actions)
        ended = ours[2] | ours[3]
        ends += int(ended.sum())
        assert ours[0].tobytes() == theirs[0].tobytes()
        if mode == "SameStep" and ended.any():
            assert ours[-1]["final_obs"][ended].tobytes() == np.stack(theirs[-1]["final_obs"][ended]).tobytes()
        if mode == "Disabled" and ended.any():
            pair = [env.reset(options={"reset_mask": ended.copy()})[0].tobytes() for env in (batch, copies)]
            assert pair[0] == pair[1]
    assert ends > 9


@every_world
def test_every_flat_world_can_tell_its_task(world: str) -> None:
    """Others say what to do."""
    env = single(world)
    space = env.observation_space
    if isinstance(space, gym.spaces.Box) and len(space.shape) == 1:
        told = TaskIdObservation(env, tasks=2)
        assert told.observation_space.contains(told.reset(seed=0)[0])
    else:
        with pytest.raises(TypeError, match="flatten it to a Box of one axis first"):
            TaskIdObservation(env, tasks=2)


def test_whole_numbers_become_floats_and_doubles_stay() -> None:
    """So that nothing told is cut off."""
    for given, told in ((np.uint8, np.float32), (np.float64, np.float64)):
        base = Dial()
        base.observation_space = gym.spaces.Box(0, 100, (2,), given)
        env = DriftObservation(NonStationary(base, drifts={"left": 25.0}))
        observation, _ = env.reset(seed=0)
        assert env.observation_space.dtype == observation.dtype == told
        assert observation.tolist() == [25.0, 0.0, 0.25]


@pytest.mark.parametrize(
    ("wrapper", "options", "said"),
    [
        (TaskIdObservation, {"tasks": 0}, "tasks=0 must be a whole number of at least 1"),
        (TaskIdObservation, {"tasks": 2.5}, "tasks=2.5 must be a whole number of at least 1"),
        (ChangeFlag, {"delay": -1}, "delay=-1 must be a whole number of at least 0"),
        (ChangeFlag, {"delay": 1.5}, "delay=1.5 must be a whole number of at least 0"),
        (ChangeFlag, {"delay": "2"}, "delay='2' must be a whole number of at least 0"),
        (ChangeFlag, {"noise": 2.0}, "noise=2.0 must be from 0 to 1"),
        (ChangeFlag, {"noise": "0.1"}, "noise='0.1' must be from 0 to 1"),
        (DriftObservation, {"parameters": ["gravty"]}, "'gravty' does not drift here; did you mean 'gravity'?"),
        (DriftObservation, {"parameters": ["observation_order"]}, "'observation_order' is an index"),
    ],
)
def test_wrong_arguments_are_refused(wrapper: type[Telling], options: dict[str, Any], said: str) -> None:
    """In one line, single and batched alike."""
    with pytest.raises(ValueError, match=re.escape(said)):
        wrapper(single("cartpole", drifts=DRIFTS), **options)
    with pytest.raises(ValueError, match=re.escape(said)):
        TellingVector(batched(2, world="cartpole", drifts=DRIFTS), wrapper, **options)


def test_nothing_to_tell_is_refused() -> None:
    """No drift layer, or only indices."""
    with pytest.raises(ValueError, match="has no drift layer: there is nothing to tell"):
        ChangeFlag(gym.make("CartPole-v1"))
    with pytest.raises(ValueError, match="no value to tell of: right drifts, and an index says nothing"):
        DriftObservation(_dial(right=Count(period=2)))
