"""The drift layer of a single environment: clock, tasks, what takes effect when, and who owns what."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lopgym.envs.drift_clock import DriftClock
from lopgym.envs.layers import owners
from lopgym.envs.nonstationary import NonStationary
from lopgym.envs.permute_action import PermuteAction
from lopgym.envs.permute_observation import PermuteObservation, orders, permuted, shuffled_space
from lopgym.envs.scale_reward import ScaleReward
from lopgym.envs.variants import variants
from lopgym.physics import Parametric, Physics, param
from lopgym.schedules import Constant, Count, Cycle, Linear, Resample, Schedule, Sine, Steps


@dataclass(frozen=True, eq=False)
class DialPhysics(Physics):
    """Two numbers."""

    left: float = param(0.0, low=-100.0, high=100.0, unit="1", doc="a number")
    right: int = param(0, low=0, high=100, unit="index", doc="a whole number")


class Dial(Parametric, gym.Env[Any, Any]):
    """Shows its two parameters; the reward is their sum; an episode has four steps."""

    def __init__(self) -> None:
        """Start at 0 and 0."""
        self.observation_space, self.action_space = gym.spaces.Box(-100, 100, (2,)), gym.spaces.Discrete(2)
        self.physics, self.steps, self.options = DialPhysics(), 0, None
        self._write_physics()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin."""
        super().reset(seed=seed)
        self.steps, self.options = 0, options
        return self._see(), {"own": 1}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Go on."""
        self.steps += 1
        return self._see(), float(self._see().sum()), self.steps == 4, False, {"own": 2}

    def _see(self) -> Any:
        return np.array([self.physics.left, self.physics.right], dtype=np.float32)


def _news(info: dict[str, Any]) -> tuple[int, dict[str, float], int]:
    return info["task"], info["drift"], info["clock"]


def test_step_uses_the_clock_then_advances_it() -> None:
    """Written out by hand: right jumps at 2, 4, ...; the last step of a task reports that task."""
    env = NonStationary(Dial(), drifts={"right": Count(period=2)})
    observation, info = env.reset(seed=0)
    assert (observation[1], _news(info)) == (0, (0, {"right": 0.0}, 0))
    expected = [(0, (0, {"right": 0.0}, 0)), (0, (0, {"right": 0.0}, 1)), (1, (1, {"right": 1.0}, 2))]
    for value, news in expected:
        observation, _, terminated, truncated, info = env.step(0)
        assert (observation[1], _news(info)) == (value, news)
        assert (terminated, truncated, info["own"]) == (False, False, 2)
    observation, _, terminated, _, info = env.step(0)
    assert (terminated, observation[1], _news(info)) == (True, 1, (1, {"right": 1.0}, 3))


def test_plain_reset_keeps_the_clock_and_reports_the_next_step() -> None:
    """The world is continual: after 4 steps, reset is in the world of step 4."""
    env = NonStationary(Dial(), drifts={"right": Count(period=4)})
    env.reset(seed=0)
    for _ in range(4):
        env.step(0)
    observation, info = env.reset()
    assert (observation[1], _news(info), info["own"]) == (1, (1, {"right": 1.0}, 4), 1)
    assert _news(env.step(0)[-1]) == _news(info)


def test_seeded_reset_restarts_and_options_seek() -> None:
    """A seed is a new life at 0; `options` goes anywhere, back too; both together do both."""
    env = NonStationary(Dial(), drifts={"right": Count(period=4)})
    env.reset(seed=0)
    for _ in range(9):
        env.step(0)
    assert _news(env.reset(seed=1)[1]) == (0, {"right": 0.0}, 0)
    assert _news(env.reset(options={"clock": 41})[1]) == (10, {"right": 10.0}, 41)
    assert _news(env.reset(options={"clock": np.int64(8)})[1]) == (2, {"right": 2.0}, 8)
    assert _news(env.reset(seed=1, options={"clock": 5})[1]) == (1, {"right": 1.0}, 5)
    assert _news(env.step(0)[-1]) == (1, {"right": 1.0}, 5)


def test_the_clock_is_taken_out_of_the_options_that_are_passed_on() -> None:
    """Layers below get their own options only, and the caller's dict is left alone."""
    env = NonStationary(Dial(), drifts={})
    options = {"clock": 3, "mine": 4}
    env.reset(options=options)
    assert env.unwrapped.options == {"mine": 4}  # type: ignore[attr-defined]
    assert options == {"clock": 3, "mine": 4}
    env.reset()
    assert env.unwrapped.options is None  # type: ignore[attr-defined]


@pytest.mark.parametrize("clock", [-1, 1.5, "3", None, True])
def test_a_bad_clock_is_refused(clock: Any) -> None:
    """One line that names it; the clock stays."""
    env = NonStationary(Dial(), drifts={"right": Count(period=4)})
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(ValueError, match=r"options\['clock'\]=.* must be a whole number of steps"):
        env.reset(options={"clock": clock})
    assert env.clock.t == 1


def test_parameters_that_jump_together_are_one_change() -> None:
    """Jumps at 2, 4, 6, ... and at 3, 6, ...: five different steps up to 8."""
    env = NonStationary(Dial(), drifts={"right": Count(period=2), "left": Cycle(values=(1.0, 2.0), period=3)})
    tasks = [env.reset(options={"clock": t})[1]["task"] for t in range(9)]
    assert tasks == [0, 0, 1, 2, 3, 3, 4, 4, 5]


@pytest.mark.parametrize("apply", ["step", "reset", "truncate"])
def test_what_takes_effect_when(apply: Any) -> None:
    """A change at step 2 of a four-step episode, in the three modes, written out by hand."""
    env = NonStationary(Dial(), drifts={"right": Steps(values=(0, 7), at=(2,))}, apply=apply)
    env.reset(seed=0)
    said = [env.step(0) for _ in range(4)]
    seen = [int(observation[1]) for observation, *_ in said]
    tasks = [info["task"] for *_, info in said]
    drifts = [info["drift"]["right"] for *_, info in said]
    truncated = [cut for _, _, _, cut, _ in said]
    late = apply == "reset"
    assert seen == drifts == ([0, 0, 0, 0] if late else [0, 0, 7, 7])
    assert tasks == ([0, 0, 0, 0] if late else [0, 0, 1, 1])
    assert truncated == [False, apply == "truncate", False, False]
    assert [info["clock"] for *_, info in said] == [0, 1, 2, 3]
    observation, info = env.reset()
    assert (int(observation[1]), _news(info)) == (7, (1, {"right": 7.0}, 4))


def test_smooth_drift_moves_every_step_and_never_truncates() -> None:
    """A line is followed step by step; there are no tasks, so nothing is cut."""
    env = NonStationary(Dial(), drifts={"left": Linear(start=0.0, end=10.0, steps=10)}, apply="truncate")
    env.reset(seed=0)
    said = [env.step(0) for _ in range(4)]
    assert [(observation[0], cut, info["task"]) for observation, _, _, cut, info in said] == [
        (0, False, 0),
        (1, False, 0),
        (2, False, 0),
        (3, False, 0),
    ]


def test_stride_counts_the_steps_of_all_copies() -> None:
    """With stride 3 the clock shows 0, 3, 6, and the changes that were jumped over count."""
    env = NonStationary(Dial(), drifts={"right": Count(period=1)}, stride=3)
    env.reset(seed=0)
    assert [_news(env.step(0)[-1]) for _ in range(3)] == [(t, {"right": float(t)}, t) for t in (0, 3, 6)]
    with pytest.raises(ValueError, match="stride=0"):
        NonStationary(Dial(), drifts={}, stride=0)


def test_random_schedules_follow_the_world_seed_and_the_parameter() -> None:
    """One world seed, one realisation; two parameters with the same schedule differ; a seed of its own is kept."""
    draw = Resample(low=0, high=10, period=1)
    first, again, other = (DriftClock({"a": draw, "b": draw}, seed) for seed in (0, 0, 1))
    assert first.values == again.values != other.values
    assert first.values["a"] != first.values["b"]
    own = DriftClock({"a": Resample(low=0, high=10, period=1, seed=4)}, 9)
    assert own.values["a"] == Resample(low=0, high=10, period=1, seed=4)(0)


_SCHEDULES = st.one_of(
    st.builds(Count, period=st.integers(1, 9)),
    st.builds(Cycle, period=st.integers(1, 9), values=st.just((1.0, 2.0))),
    st.builds(Steps, values=st.just((1.0, 2.0, 3.0)), at=st.sampled_from([(1, 2), (5, 9), (3, 30)])),
    st.builds(Sine, mean=st.just(0.0), amplitude=st.just(1.0), period=st.floats(2, 9)),
    st.builds(Constant, value=st.just(1.0)),
)


@given(
    st.dictionaries(st.sampled_from("abc"), _SCHEDULES), st.lists(st.integers(1, 12), max_size=12), st.integers(0, 60)
)
@settings(derandomize=True, max_examples=60, deadline=None)
def test_the_clock_agrees_with_counting_on_fingers(drifts: dict[str, Schedule], moves: list[int], target: int) -> None:
    """However it got there, by steps of any size or by seeking, the clock knows values and tasks exactly."""

    def expected(t: int) -> tuple[int, dict[str, float]]:
        jumps = {u for u in range(1, t + 1) if any(s.next_change(u - 1) == u for s in drifts.values())}
        return len(jumps), {name: float(schedule(t)) for name, schedule in drifts.items()}

    clock, t = DriftClock(drifts, 0), 0
    for k in moves:
        before = clock.values
        moved = clock.advance(k)
        t += k
        assert (clock.task, clock.values) == expected(t)
        assert moved or clock.values is before
    clock.seek(target)
    assert (clock.t, clock.task, clock.values) == (target, *expected(target))
    clock.advance(3)
    assert (clock.task, clock.values) == expected(target + 3)


def test_between_changes_no_schedule_is_asked() -> None:
    """The price of a step without a change is a comparison of integers."""

    class Counting(Count):
        calls = 0

        def __call__(self, t: int) -> float:
            Counting.calls += 1
            return super().__call__(t)

    clock = DriftClock({"a": Counting(period=100)}, 0)
    before = Counting.calls
    assert [clock.advance(1) for _ in range(100)] == [False] * 99 + [True]
    assert Counting.calls == before + 1


def test_owners_are_found_anywhere_in_the_stack() -> None:
    """Through wrappers that are not ours, too."""
    base = Dial()
    scaled = ScaleReward(base)
    env = gym.wrappers.TimeLimit(scaled, 10)
    assert owners(env, ["left", "reward_scale"]) == {"left": base, "reward_scale": scaled}
    outer = NonStationary(env, drifts={"reward_scale": 3.0, "left": 2.0})
    outer.reset(seed=0)
    assert outer.step(0)[1] == 6.0


def test_unknown_and_doubly_owned_names_are_refused() -> None:
    """The nearest name is offered; both owners are named; two drift layers do not fight."""
    with pytest.raises(ValueError, match="no parameter 'lift' can drift here; did you mean 'left'"):
        NonStationary(Dial(), drifts={"lift": 1.0})
    twice = PermuteObservation(ScaleReward(PermuteObservation(Dial())))
    with pytest.raises(ValueError, match="'observation_order' is owned by two layers, PermuteObservation and Permute"):
        NonStationary(twice, drifts={"observation_order": 1})
    assert NonStationary(twice, drifts={"reward_scale": 2.0}).drifting == ("reward_scale",)
    with pytest.raises(ValueError, match="drifts left already: give all drifts to one layer"):
        NonStationary(NonStationary(Dial(), drifts={"left": 1.0}), drifts={"right": 1})
    with pytest.raises(ValueError, match="apply='stepp' is not allowed; did you mean 'step'"):
        NonStationary(Dial(), drifts={}, apply="stepp")  # type: ignore[arg-type]


def test_values_out_of_bounds_are_refused_when_they_come() -> None:
    """At once at step 0, else at the step at which they would hold."""
    with pytest.raises(ValueError, match=r"left=101.0 is outside \[-100.0, 100.0\]"):
        NonStationary(Dial(), drifts={"left": 101.0})
    env = NonStationary(Dial(), drifts={"left": Steps(values=(0, 101), at=(2,))})
    env.reset(seed=0)
    env.step(0)
    env.step(0)
    with pytest.raises(ValueError, match="left=101"):
        env.step(0)


def test_constructor_arguments_are_recorded_as_plain_data() -> None:
    """So the spec of a hand-made stack can be written as JSON."""
    env = NonStationary(Dial(), drifts={"left": Cycle(values=(1.0, 2.0), period=3), "right": 4}, stride=2)
    assert env._saved_kwargs == {
        "drifts": {
            "left": {"kind": "cycle", "period": 3, "values": [1.0, 2.0]},
            "right": {"kind": "constant", "value": 4},
        },
        "stride": 2,
        "apply": "step",
        "world_seed": 0,
    }


def test_infos_are_not_shared_between_calls() -> None:
    """What a caller does to an info changes nothing."""
    env = NonStationary(Dial(), drifts={"left": 1.0})
    _, info = env.reset(seed=0)
    kept = copy.deepcopy(_news(env.step(0)[-1])[1])
    info["drift"]["left"] = 9.0
    assert env.step(0)[-1]["drift"] == kept == {"left": 1.0}


@given(st.integers(0, 5), st.integers(1, 40), st.integers(0, 2**40))
@settings(derandomize=True, max_examples=40, deadline=None)
def test_orders_are_permutations(world_seed: int, size: int, number: int) -> None:
    """Every order has each element once, depends on world seed and number alone, and applies as one index."""
    order = orders(world_seed, "observation_order", size, number)
    assert sorted(order.tolist()) == list(range(size))
    many = orders(world_seed, "observation_order", size, np.array([number, 0, number]))
    assert (many[0] == order).all()
    assert (many[2] == order).all()
    observations = np.arange(3 * size).reshape(3, size)
    assert permuted(observations, order).tolist() == [[row[i] for i in order] for row in observations]
    for row, moved, own in zip(observations, permuted(observations, many), many, strict=True):
        assert moved.tolist() == [row[i] for i in own]


def test_orders_of_different_numbers_differ() -> None:
    """20 orders of 30 elements, and those of another world: all different."""
    found = {tuple(orders(seed, "observation_order", 30, k)) for seed in (0, 1) for k in range(20)}
    assert len(found) == 40


def test_variants_are_made_once_each() -> None:
    """Copies with the same number share one table."""
    made: list[int] = []
    tables, rows = variants(np.array([3, 1, 3, 3]), lambda k: np.array([made.append(k) or k]))  # type: ignore[func-returns-value]
    assert made == [1, 3]
    assert tables[rows].tolist() == [[3], [1], [3], [3]]
    tables, rows = variants(5, lambda k: np.array([k, k]))
    assert tables[rows].tolist() == [5, 5]


def test_layers_refuse_spaces_that_they_cannot_shuffle() -> None:
    """One line that says what is allowed; a shuffled space holds the observation in every order."""
    with pytest.raises(TypeError, match="only a Box observation has"):
        PermuteObservation(gym.make("FrozenLake-v1"))
    with pytest.raises(TypeError, match="only Discrete actions have"):
        PermuteAction(gym.make("Pendulum-v1"))
    box = gym.spaces.Box(np.array([-1.0, 0.0]), np.array([3.0, 2.0]), dtype=np.float64)
    assert shuffled_space(box) == gym.spaces.Box(-1.0, 3.0, (2,), np.float64)


def test_action_orders_respect_the_start_of_the_space() -> None:
    """Actions 5, 6, 7 stay actions 5, 6, 7."""

    class Echo(Dial):
        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            return self._see(), float(action), False, False, {}

    base = Echo()
    base.action_space = gym.spaces.Discrete(3, start=5)
    env = PermuteAction(base)
    assert sorted(env.step(action)[1] for action in (5, 6, 7)) == [5.0, 6.0, 7.0]
    with pytest.raises(ValueError, match="action 4 is not in"):
        env.step(4)
