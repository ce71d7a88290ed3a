"""The drift layer of a single environment: clock, tasks, what takes effect when, and who owns what."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lopgym.envs.drift_clock import DriftClock
from lopgym.envs.layers import owners
from lopgym.envs.nonstationary import NonStationary
from lopgym.envs.nonstationary_vector import NonStationaryVector
from lopgym.envs.permute_action import PermuteAction
from lopgym.envs.permute_observation import PermuteObservation, orders, permuted, shuffled_space
from lopgym.envs.scale_reward import ScaleReward
from lopgym.envs.variants import variants
from lopgym.schedules import Constant, Count, Cycle, Linear, Polynomial, Resample, Schedule, Sine, Steps
from tests.dial import Dial, Dials


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


def test_seeking_far_does_not_walk_there() -> None:
    """Ten billion steps are a few rounds of the jumps: counted by hand, with and without common multiples."""
    clock = DriftClock({"a": Count(period=4), "b": Cycle(values=(1.0, 2.0), period=6), "c": 3.0}, 0)
    for rounds in (10**9, 5, 0, 10**8):
        clock.seek(12 * rounds + 7)
        assert clock.task == 4 * rounds + 2  # of 12 steps: 4, 6, 8 and 12
        assert clock.values == {"a": float(3 * rounds + 1), "b": 2.0, "c": 3.0}
        assert clock.advance(1)
        assert clock.task == 4 * rounds + 3


def test_own_clocks_by_hand() -> None:
    """Left follows the step in the episode, right the episode; only right makes tasks. Episodes have four steps."""
    env = NonStationary(
        Dial(),
        drifts={"left": Linear(start=0.0, end=40.0, steps=4), "right": Count(period=2)},
        clocks={"left": "step", "right": "episode"},
    )
    for life in range(2):
        observation, info = env.reset(seed=life)
        for episode in range(5):
            assert (observation.tolist(), info["task"]) == ([0.0, episode // 2], episode // 2)
            for step in range(4):
                observation, _, ended, _, info = env.step(0)
                right = float(episode // 2)
                assert observation.tolist() == [10.0 * step, right]
                assert _news(info) == (episode // 2, {"left": 10.0 * step, "right": right}, 4 * episode + step)
            assert ended
            observation, info = env.reset()
    assert _news(env.reset(options={"clock": 3, "episode": 9})[1]) == (4, {"left": 0.0, "right": 4.0}, 3)
    assert _news(env.reset()[1]) == (5, {"left": 0.0, "right": 5.0}, 3)
    with pytest.raises(ValueError, match=r"options\['episode'\]=-1 must be a whole number of episodes"):
        env.reset(options={"clock": 8, "episode": -1})
    assert env.clock.t == 3


@pytest.mark.parametrize("apply", ["step", "reset", "truncate"])
def test_own_clocks_do_not_wait_for_the_life(apply: Any) -> None:
    """Whatever becomes of changes of the life, episodes and steps in them are in force at once and cut nothing."""
    drifts = {"left": Count(period=1), "right": Count(period=1)}
    for clocks in ({"left": "step", "right": "episode"}, {"left": "episode", "right": "step"}):
        env = NonStationary(Dial(), drifts=drifts, clocks=clocks, apply=apply)
        env.reset(seed=0)
        for episode in range(3):
            for step in range(4):
                observation, _, _, truncated, _ = env.step(0)
                assert dict(zip(("left", "right"), observation.tolist(), strict=True)) == {
                    name: {"step": step, "episode": episode}[clock] for name, clock in clocks.items()
                }
                assert not truncated
            env.reset()


def test_wrong_clocks_are_refused() -> None:
    """Of a parameter that does not drift, unknown, without a trigger; the episode is nobody's option then."""
    for clocks, trigger, said in (
        ({"lift": "step"}, None, "clocks: 'lift' does not drift; did you mean 'left'?"),
        ({"left": "episodes"}, None, "clocks: 'left' cannot follow 'episodes'; did you mean 'episode'?"),
        ({"left": "trigger"}, None, "give a trigger if, and only if"),
        ({}, {"cap": 3}, "give a trigger if, and only if"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            NonStationary(Dial(), drifts={"left": 1.0}, clocks=clocks, trigger=trigger)  # type: ignore[arg-type]
    env = NonStationary(Dial(), drifts={"left": 1.0})
    env.reset(options={"episode": 3})
    assert env.unwrapped.options == {"episode": 3}  # type: ignore[attr-defined]


def test_frozen_time_stands_still() -> None:
    """Life and episodes stop, the steps in an episode do not; then all go on from where they stood."""
    drifts = {"left": Count(period=1), "right": Count(period=1)}
    plain = NonStationary(Dial(), drifts=drifts, clocks={"right": "episode"})
    within = NonStationary(Dial(), drifts=drifts, clocks={"right": "step"})
    for env in (plain, within):
        env.reset(seed=0)
        env.step(0)
        env.freeze()
        seen = [env.step(0)[0].tolist() for _ in range(2)]
        assert seen == ([[1.0, 0.0]] * 2 if env is plain else [[1.0, 1.0], [1.0, 2.0]])
        assert env.reset()[1]["clock"] == 1
        env.freeze(False)
        assert env.step(0)[-1]["clock"] == 1
        assert env.step(0)[0].tolist() == ([2.0, 0.0] if env is plain else [2.0, 1.0])
        env.reset()
        assert env.step(0)[0].tolist() == ([3.0, 1.0] if env is plain else [3.0, 0.0])


_SNAPPED = {
    "drifts": {
        "left": {"kind": "random_walk", "start": 0.0, "sd": 1.0, "low": -9.0, "high": 9.0, "period": 3},
        "right": {"kind": "cycle", "values": [0, 1, 2, 3, 4, 5, 6], "period": 1},
    },
    "world_seed": 4,
}


@pytest.mark.parametrize("clock", ["life", "episode", "step", "trigger"])
@pytest.mark.parametrize("apply", ["step", "reset", "truncate"])
def test_snapshots_are_exact(clock: Any, apply: Any) -> None:
    """At every step, after JSON, on a layer that was somewhere else: everything goes on as it did."""
    trigger = {"threshold": -1e9, "window": 2, "cap": 9} if clock == "trigger" else None
    made = [NonStationary(Dial(), **_SNAPPED, clocks={"right": clock}, trigger=trigger, apply=apply) for _ in "ab"]  # type: ignore[arg-type]

    def rest(env: Any, steps: int) -> list[Any]:
        said = []
        for _ in range(steps):
            observation, _, ended, cut, info = env.step(0)
            said += [observation.tolist(), ended, cut, _news(info)]
            if ended or cut:
                observation, info = env.reset()
                said += [observation.tolist(), _news(info)]
        return said

    env, other = made
    env.reset(seed=0)
    other.reset(seed=3, options={"clock": 77})
    for k in range(12):
        rest(env, k)
        saved, inner = json.loads(json.dumps(env.snapshot())), env.unwrapped.steps  # type: ignore[attr-defined]
        expected = rest(env, 30)
        for layer in (env, other):
            layer.restore(saved)
            layer.unwrapped.steps = inner  # type: ignore[attr-defined]
            assert layer.snapshot() == saved
            assert rest(layer, 30) == expected


def test_snapshots_of_another_layer_are_refused() -> None:
    """One line says what does not fit."""
    env, batch = NonStationary(Dial(), drifts={"left": 1.0}), NonStationaryVector(Dials(2), drifts={"left": 1.0})
    for saved, layer, said in (
        (batch.snapshot(), env, "no snapshot of such a layer"),
        (NonStationary(Dial(), drifts={"right": 1}).snapshot(), env, "its drifts ['right'], here ['left']"),
        (NonStationaryVector(Dials(3), drifts={"left": 1.0}).snapshot(), batch, "its copies 3, here 2"),
        (
            NonStationary(Dial(), drifts={"left": 1.0}, clocks={"left": "trigger"}, trigger={"cap": 1}).snapshot(),
            env,
            "its trigger True, here False",
        ),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            layer.restore(saved)  # type: ignore[attr-defined]


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
    for name, offer in (
        ("lift", "did you mean 'left'"),
        ("observation_ordr", "did you mean 'observation_order'"),
        ("observation_order", "put the layer 'permute_observation' around the environment first, or use `lopgym.envs"),
        ("xyz", "known: action_delay, .*left, .*right"),
    ):
        with pytest.raises(ValueError, match=f"no parameter '{name}' can drift here; {offer}"):
            NonStationary(Dial(), drifts={name: 1.0})
    for make in (gym.make, gym.make_vec):
        with pytest.raises(
            ValueError, match="'size' can drift here; it is an argument of BatchedGridWorld, fixed when"
        ):
            make("lopgym/GridWorld-v0", drifts={"size": 9})
    twice = PermuteObservation(ScaleReward(PermuteObservation(Dial())))
    with pytest.raises(ValueError, match="'observation_order' is owned by two layers, PermuteObservation and Permute"):
        NonStationary(twice, drifts={"observation_order": 1})
    assert NonStationary(twice, drifts={"reward_scale": 2.0}).drifting == ("reward_scale",)
    with pytest.raises(ValueError, match="drifts left already: give all drifts to one layer"):
        NonStationary(NonStationary(Dial(), drifts={"left": 1.0}), drifts={"right": 1})
    with pytest.raises(ValueError, match="apply='stepp' is not allowed; did you mean 'step'"):
        NonStationary(Dial(), drifts={}, apply="stepp")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("drift", "said"),
    [
        (101.0, "at step 0: left=101.0 is outside [-100.0, 100.0] 1"),
        ({"kind": "steps", "values": [0, 5, 101], "at": [2, 9]}, "at step 9: left=101.0 is outside"),
        ({"kind": "cycle", "values": [1, 1, -101], "period": 3}, "at step 6: left=-101.0 is outside"),
        ({"kind": "sine", "mean": 0.5, "amplitude": 101, "period": 9}, "sooner or later: left=-100.5 is outside"),
    ],
)
def test_values_that_a_schedule_names_are_checked_at_once(drift: Any, said: str) -> None:
    """The error says what is out of bounds and when it would have come; the world is as it was."""
    dial, dials = Dial(), Dials(2)
    for make in (
        lambda: NonStationary(dial, drifts={"left": drift}),
        lambda: NonStationaryVector(dials, drifts={"left": drift}),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
            make()
    assert (dial.physics.left, dials.physics.left) == (0.0, 0.0)
    with pytest.raises(ValueError, match=r"^at episode 2: right=0.5 must be a whole number"):
        NonStationary(dial, drifts={"right": Cycle(values=(0, 1, 0.5), period=1)}, clocks={"right": "episode"})


def test_what_an_episode_may_never_come_to_is_not_refused_before() -> None:
    """Episodes of four steps: a drift within each goes no farther than step 3."""
    far = {"left": Linear(start=0.0, end=1000.0, steps=40)}
    with pytest.raises(ValueError, match=r"sooner or later: left=1000.0 is outside"):
        NonStationary(Dial(), drifts=far)
    env = NonStationary(Dial(), drifts=far, clocks={"left": "step"})
    env.reset(seed=0)
    assert [env.step(0)[4]["drift"]["left"] for _ in range(4)] == [0.0, 25.0, 50.0, 75.0]


def test_a_drift_that_is_no_schedule_is_named() -> None:
    """Whatever is wrong with it, the parameter is told first."""
    for drift, said in ((float("nan"), "left"), ({"kind": "cycel"}, "drift of left: no schedule of kind 'cycel'")):
        with pytest.raises(ValueError, match=said):
            NonStationary(Dial(), drifts={"right": 1, "left": drift})


def test_other_values_out_of_bounds_are_refused_when_they_come() -> None:
    """At the step at which they would hold."""
    env = NonStationary(Dial(), drifts={"left": Polynomial(coefficients=(99.0, 2.0), steps=2)})
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
        "clocks": {},
        "trigger": None,
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
    with pytest.raises(TypeError, match=r"Tuple.* cannot change places: only those of a Box can"):
        PermuteObservation(gym.make("Blackjack-v1"))
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
