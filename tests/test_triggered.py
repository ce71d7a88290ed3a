"""The trigger: when it fires, by hand; what it forgets; and that a triggered world can be put on a tape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lopgym.envs.nonstationary import NonStationary
from lopgym.envs.nonstationary_vector import NonStationaryVector
from lopgym.envs.tape import RecordTape, played
from lopgym.envs.triggered import Trigger, Watch
from lopgym.schedules import Count
from tests.dial import Dial, Dials


class Paid(Dial):
    """A dial whose reward is the action."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Go on."""
        observation, _, terminated, truncated, info = super().step(action)
        return observation, float(action), terminated, truncated, info


def _triggered(trigger: dict[str, Any], apply: Any = "step", **more: Any) -> NonStationary:
    return NonStationary(
        Paid(), drifts={"right": Count(period=1)}, clocks={"right": "trigger"}, trigger=trigger, apply=apply, **more
    )


def _play(env: Any, earned: list[int]) -> list[tuple[int, int, bool]]:
    """Play four-step episodes that earn 0 to 4; return (right, task, cut) of each step."""
    said = []
    env.reset(seed=0)
    for wanted in earned:
        for step in range(4):
            observation, _, terminated, truncated, info = env.step(int(step < wanted))
            said.append((int(observation[1]), info["task"], truncated))
            if terminated or truncated:
                env.reset()
                break
    return said


def test_a_threshold_on_the_mean_return() -> None:
    """Window 2, threshold 3: episodes earn 4, 2 (mean 3: fires), then 4 alone is too few, 1 (2.5), 4 (2.5), 3 (3.5)."""
    env = _triggered({"threshold": 3.0, "window": 2})
    said = _play(env, [4, 2, 4, 1, 4, 3, 0])
    assert env.own_clocks.watch is not None
    assert env.own_clocks.watch.log == [8, 24]
    assert said == [(0, 0, False)] * 8 + [(1, 1, False)] * 16 + [(2, 2, False)] * 4


def test_a_plateau_is_two_windows_alike() -> None:
    """Means of 2 episodes: 0, then 0.5, 1, 1.5, 1.5, 1. The last is less than 0.5 above that of two episodes before."""
    env = _triggered({"plateau": 0.5, "window": 2})
    _play(env, [0, 0, 1, 1, 2, 1, 1, 4])
    assert env.own_clocks.watch is not None
    assert env.own_clocks.watch.log == [28]  # windows ending at 4 to 7: 1 - 0, 1.5 - 0.5, 1.5 - 1, 1 - 1.5
    rule = Trigger(plateau=0.5, window=2)
    for returns, fires in (([0, 0, 1], False), ([0, 0, 1, 1], False), ([1, 1, 2, 1], False), ([1, 1, 1, 1.9], True)):
        assert rule.fires([float(one) for one in returns]) is fires


@pytest.mark.parametrize("apply", ["step", "reset", "truncate"])
def test_the_cap_moves_on_whatever_the_agent_does(apply: str) -> None:
    """Every 6 steps: in the middle of an episode, at the next reset, or by ending it."""
    env = _triggered({"cap": 6}, apply)
    said = _play(env, [0] * 5)
    assert env.own_clocks.watch is not None
    right = [right for right, _, _ in said]
    assert [task for _, task, _ in said] == right
    if apply == "step":
        assert right == [0] * 6 + [1] * 6 + [2] * 6 + [3] * 2
        assert env.own_clocks.watch.log == [6, 12, 18]
    if apply == "reset":
        assert right == [0] * 8 + [1] * 4 + [2] * 8
    if apply == "truncate":
        assert [place for place, (_, _, cut) in enumerate(said) if cut] == [5, 11]
        assert right == [0] * 6 + [1] * 6 + [2] * 4


def test_episodes_of_the_world_before_are_left_out() -> None:
    """The cap fires at step 6; the episode that began at 4 earns much, but not in the new world."""
    env = _triggered({"threshold": 4.0, "window": 1, "cap": 6})
    _play(env, [0, 4, 3, 4])
    assert env.own_clocks.watch is not None
    assert env.own_clocks.watch.log == [6, 12, 16]  # 6 by the cap, 12 by the cap, 16 by the episode from 12


def test_new_lives_and_seeking() -> None:
    """A seed forgets all; going back forgets what came later; the cap counts from there."""
    env = _triggered({"cap": 4})
    _play(env, [0] * 3)
    watch = env.own_clocks.watch
    assert watch is not None
    assert watch.log == [4, 8, 12]
    assert env.reset(options={"clock": 9})[1]["task"] == 2
    assert watch.log == [4, 8]
    for _ in range(4):
        env.step(0)
    assert watch.log == [4, 8, 13]
    assert env.reset(seed=1)[1]["task"] == 0
    assert watch.log == []


def test_frozen_time_does_not_hear() -> None:
    """Episodes that were frozen, even in part, are left out."""
    env = _triggered({"threshold": 0.0, "window": 1, "cap": 100})
    env.reset(seed=0)
    env.step(0)
    env.freeze()
    env.step(0)
    env.freeze(False)
    env.step(0)
    env.reset()
    watch = env.own_clocks.watch
    assert watch is not None
    assert watch.log == []
    env.step(0)
    env.reset()
    assert watch.log == [3]


@pytest.mark.parametrize("mode", ["SameStep", "NextStep", "Disabled"])
@pytest.mark.parametrize("apply", ["step", "truncate"])
def test_a_batch_has_one_trigger(mode: str, apply: Any) -> None:
    """It hears of the episodes of all copies, in their order: three of three copies make a window; all move at once."""
    batch = NonStationaryVector(
        Dials(3),
        drifts={"right": Count(period=1)},
        clocks={"right": "trigger"},
        trigger={"threshold": 0.0, "window": 3},
        apply=apply,
        autoreset_mode=mode,
    )
    batch.reset(seed=0)
    actions, right = np.zeros(3, dtype=int), []
    for _ in range(12):
        observation, _, terminated, truncated, _ = batch.step(actions)
        right.append(observation[:, 1].tolist())
        if mode == "Disabled" and (terminated | truncated).any():
            batch.reset(options={"reset_mask": terminated | truncated})
    assert batch.own_clocks.watch is not None
    length, late = (5, 1) if mode == "NextStep" else (4, 0)  # calls from one beginning to the next
    assert batch.own_clocks.watch.log == [3 * (k * length - late) for k in range(1, 13) if k * length - late <= 12]
    assert all(len(set(one)) == 1 for one in right)
    assert right[-1] == [3.0 if mode == "SameStep" else 2.0] * 3  # it shows the next episode in the step of the end


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_an_episode_is_heard_once(mode: str) -> None:
    """Not again while its copy waits for the reset: with three copies, the fifth return is one of the second round."""
    batch = NonStationaryVector(
        Dials(3),
        drifts={"right": Count(period=1)},
        clocks={"right": "trigger"},
        trigger={"threshold": 0.0, "window": 5},
        autoreset_mode=mode,
    )
    batch.reset(seed=0)
    for _ in range(9):
        batch.step(np.zeros(3, dtype=int))
    assert batch.own_clocks.watch is not None
    assert batch.own_clocks.watch.log == ([3 * 8] if mode == "SameStep" else [3 * 9])


@pytest.mark.parametrize("apply", ["step", "reset", "truncate"])
def test_a_triggered_life_played_from_its_tape_is_the_same(tmp_path: Path, apply: Any) -> None:
    """What the agent brought about, played back to the same actions: sights, tasks and lengths are equal."""
    path = str(tmp_path / "tape.jsonl")
    live = RecordTape(_triggered({"threshold": 2.5, "window": 2, "cap": 11}, apply), path=path)
    earned = [4, 4, 0, 1, 0, 3, 4, 2, 2, 4]
    expected = _play(live, earned)
    live.close()
    again = NonStationary(Paid(), drifts=played(path), apply="truncate" if apply == "truncate" else "step")
    assert [step[:2] for step in _play(again, earned)] == [step[:2] for step in expected]
    assert max(task for _, task, _ in expected) > 2


def test_the_trigger_is_recorded_as_plain_data() -> None:
    """A hand-made stack is made again from its spec."""
    trigger = Trigger(threshold=1.0, window=5)
    kwargs = _triggered(trigger)._saved_kwargs  # type: ignore[arg-type]
    assert kwargs["trigger"] == {"threshold": 1.0, "plateau": None, "window": 5, "cap": None}
    assert Trigger.of(kwargs["trigger"]) == trigger


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "it would never fire"),
        ({"window": 5}, "it would never fire"),
        ({"treshold": 5}, "a trigger has no option 'treshold'; did you mean 'threshold'"),
        ({"cap": 0}, "cap=0 must be > 0"),
        ({"threshold": "high"}, "threshold='high' must be a number"),
        ({"plateau": -1.0}, "plateau=-1.0 must be > 0"),
    ],
)
def test_bad_triggers_are_refused(data: dict[str, Any], said: str) -> None:
    """One line each."""
    with pytest.raises(ValueError, match=said):
        Trigger.of(data)


def test_a_watch_remembers_two_windows() -> None:
    """No more than that: a life is long."""
    watch = Watch(Trigger(plateau=0.1, window=3))
    for k in range(50):
        assert not watch.ended(float(k), began=k, t=k + 1)
    assert len(watch.snapshot()["returns"]) == 6
