"""The drift layer of a batch: equal, copy for copy, to separate environments; its clock, its autoreset."""

from __future__ import annotations

import copy
import json
from contextlib import nullcontext
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecTransposeImage

from lopgym.agents.vec_env import GymVecEnv, deal
from lopgym.envs import environments
from lopgym.envs.build import batched, make_vec
from lopgym.envs.layers import owners
from lopgym.envs.nonstationary import NonStationary
from lopgym.envs.nonstationary_vector import NonStationaryVector
from lopgym.envs.own_clocks import OwnClocks
from lopgym.envs.vector_actions import ActionCheck
from lopgym.envs.world import BatchedWorld, copy_seeds, reset_mask
from tests.dial import Dials
from tests.play import every_batch, hurried, random_actions

COPIES = 3


def _drifts(world: str, smooth: bool = False) -> dict[str, Any]:
    """Jumps of the world's own parameters and of all layers, the reward's smooth or not."""
    own = hurried(world, 25) | {"observation_order": {"kind": "count", "period": 40}}
    sine = {"kind": "sine", "mean": 2.0, "amplitude": 1.0, "period": 50.0}
    return own | {"reward_scale": sine if smooth else {"kind": "count", "period": 65}}


def _told(info: dict[str, Any], mask: Any) -> dict[str, Any]:
    """What an info says of the masked copies, without the masks."""
    return {
        key: _told(value, mask) if isinstance(value, dict) else np.asarray(value)[mask].tolist()
        for key, value in info.items()
        if not key.startswith("_")
    }


def _assert_same_step(ours: Any, theirs: Any) -> None:
    for one, other in zip(ours[:-1], theirs[:-1], strict=True):
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()
    one, other = ours[-1], theirs[-1]
    assert one.keys() == other.keys()
    for key in [key for key in one if key.startswith("_")]:
        assert one[key].tolist() == other[key].tolist()
    news = ("task", "drift", "clock")
    assert _told({k: one[k] for k in news}, one["_task"]) == _told({k: other[k] for k in news}, one["_task"])


def _pair(world: str, apply: str, mode: str) -> tuple[Any, Any]:
    options = {
        "drifts": _drifts(world, smooth=mode == "Disabled"),
        "apply": apply,
        "autoreset_mode": mode,
        "max_episode_steps": 11,
    }
    id = f"lopgym/{environments[world].facts['id']}"
    return tuple(make_vec(id, COPIES, vectorization_mode=kind, **options) for kind in (None, "sync"))  # type: ignore[return-value,arg-type]


@every_batch
@pytest.mark.parametrize("apply", ["step", "reset", "truncate"])
@pytest.mark.parametrize("mode", ["SameStep", "Disabled"])
def test_a_batch_is_its_copies(world: str, apply: str, mode: str) -> None:
    """Bit for bit: observations, rewards, ends and infos of a native batch and of separate copies with stride N."""
    batch, copies = _pair(world, apply, mode)
    rng = np.random.default_rng(0)
    _assert_same_step(batch.reset(seed=5), copies.reset(seed=5))
    ends = 0
    for _ in range(150):
        actions = random_actions(batch.single_action_space, rng, COPIES)
        ours, theirs = batch.step(actions), copies.step(actions)
        ended = ours[2] | ours[3]
        ends += ended.sum()
        if mode == "SameStep" and ended.any():
            assert ours[-1]["final_obs"][ended].tobytes() == np.stack(theirs[-1]["final_obs"][ended]).tobytes()
            assert _told(ours[-1]["final_info"], ended) == _told(theirs[-1]["final_info"], ended)
            assert (ours[-1]["final_info"]["_clock"] == ended).all()
        _assert_same_step(ours, theirs)
        if mode == "Disabled" and ended.any():
            masks = [{"reset_mask": ended.copy()} for _ in range(2)]
            _assert_same_step(batch.reset(options=masks[0]), copies.reset(options=masks[1]))
    assert ends > 10


def _poles(copies: int, mode: str, apply: Any, trigger: Any = None) -> tuple[Any, Any]:
    """CartPoles that follow all clocks, as a batch and one by one."""
    drifts = {
        "gravity": {"kind": "linear", "start": 1.0, "end": 40.0, "steps": 30},
        "force_mag": {"kind": "cycle", "values": [10.0, 20.0, 5.0], "period": 2},
        "length": {"kind": "resample", "low": 0.2, "high": 2.0, "period": 40},
        "masscart": {"kind": "resample", "low": 0.2, "high": 2.0, "period": 1},
    }
    clocks = {"gravity": "step", "force_mag": "episode"} | ({"masscart": "trigger"} if trigger else {})
    own: dict[str, Any] = {"drifts": drifts, "apply": apply, "clocks": clocks, "trigger": trigger}
    world = environments["cartpole"]
    batch = NonStationaryVector(world.make(copies), autoreset_mode=mode, max_episode_steps=15, **own)

    def one() -> Any:
        return gym.wrappers.TimeLimit(NonStationary(world.facts["single"](), stride=copies, **own), 15)

    return batch, gym.vector.SyncVectorEnv([one] * copies, autoreset_mode=AutoresetMode(mode))


def _assert_alike(batch: Any, copies: Any, mode: str, steps: int) -> None:
    rng = np.random.default_rng(1)
    _assert_same_step(batch.reset(seed=2), copies.reset(seed=2))
    for _ in range(steps):
        actions = rng.integers(2, size=batch.num_envs)
        ours, theirs = batch.step(actions), copies.step(actions)
        _assert_same_step(ours, theirs)
        ended = ours[2] | ours[3]
        if mode == "SameStep" and ended.any():
            assert _told(ours[-1]["final_info"], ended) == _told(theirs[-1]["final_info"], ended)
        if mode == "Disabled" and ended.any():
            _assert_same_step(*(env.reset(options={"reset_mask": ended.copy()}) for env in (batch, copies)))


@pytest.mark.parametrize("apply", ["step", "reset", "truncate"])
@pytest.mark.parametrize("mode", ["SameStep", "Disabled"])
def test_copies_keep_their_own_clocks(mode: str, apply: str) -> None:
    """Bit for bit: each copy counts its own episodes and the steps in them, and is in tasks of its own."""
    batch, copies = _poles(3, mode, apply)
    _assert_alike(batch, copies, mode, 150)
    assert apply == "truncate" or len(set(batch.snapshot()["in_force"]["task"])) > 1


@pytest.mark.parametrize("apply", ["step", "reset", "truncate"])
@pytest.mark.parametrize("trigger", [{"threshold": 11.0, "window": 3}, {"plateau": 2.0, "window": 2, "cap": 50}])
def test_the_trigger_of_a_batch_of_one_is_that_of_the_single(trigger: Any, apply: str) -> None:
    """It fires at the same steps, whoever cuts the episodes."""
    batch, single = _poles(1, "SameStep", apply, trigger)
    _assert_alike(batch, single, "SameStep", 300)
    fired = batch.own_clocks.watch.log
    assert fired == single.envs[0].env.own_clocks.watch.log
    assert len(fired) > 3


@pytest.mark.parametrize("mode", ["SameStep", "Disabled", "NextStep"])
@pytest.mark.parametrize("apply", ["step", "reset", "truncate"])
def test_snapshots_of_a_batch_are_exact(mode: str, apply: str) -> None:
    """After JSON, on a layer that was somewhere else, with a twin of the world below it."""
    trigger = {"threshold": 12.0, "window": 4, "cap": 90}
    batch, other = (_poles(3, mode, apply, trigger)[0] for _ in range(2))

    def rest(env: Any, steps: int) -> list[Any]:
        said, rng = [], np.random.default_rng(5)
        for _ in range(steps):
            observation, reward, terminated, truncated, info = env.step(rng.integers(2, size=3))
            said.append([x.tolist() for x in (observation, reward, terminated, truncated)])
            said.append(_told({key: info[key] for key in ("task", "drift", "clock")}, slice(None)))
            if mode == "Disabled" and (terminated | truncated).any():
                said.append(env.reset(options={"reset_mask": terminated | truncated})[0].tolist())
        return said

    batch.reset(seed=0)
    other.reset(seed=8, options={"clock": 120})
    for steps in (1, 7, 20):
        rest(batch, steps)
        saved = json.loads(json.dumps(batch.snapshot()))
        twin = copy.deepcopy(batch.env)
        expected = rest(batch, 60)
        other.restore(saved)
        other.env, other._force.owners = twin, owners(twin, other.drifting)
        assert other.snapshot() == saved
        assert rest(other, 60) == expected


def test_a_frozen_batch_stands_still() -> None:
    """The clock and the tasks stop for all copies, and go on from where they stood."""
    batch = NonStationaryVector(
        Dials(2), drifts={"left": {"kind": "count", "period": 2}, "right": {"kind": "count", "period": 1}},
        clocks={"right": "episode"}, autoreset_mode="SameStep",
    )  # fmt: skip
    batch.reset(seed=0)
    actions = np.zeros(2, dtype=int)
    batch.step(actions)
    batch.freeze()
    for _ in range(9):
        observation, *_, info = batch.step(actions)
        assert (observation.tolist(), info["clock"].tolist(), info["task"].tolist()) == ([[1, 0]] * 2, [2, 2], [1, 1])
    batch.freeze(False)
    assert batch.step(actions)[-1]["clock"].tolist() == [2, 2]
    assert batch.step(actions)[0].tolist() == [[3, 1], [3, 1]]


def test_copies_can_be_in_different_tasks() -> None:
    """With `apply="reset"` a change reaches each copy at its own reset: the test above would else prove little."""
    batch = batched(8, world="recoded_grid", drifts=_drifts("recoded_grid"), apply="reset", autoreset_mode="SameStep")
    batch.reset(seed=0)
    assert any(len(set(batch.step(np.arange(8) % 4)[-1]["task"].tolist())) > 1 for _ in range(60))


@every_batch
def test_copy_i_of_a_seed_is_the_copy_of_seed_plus_i(world: str) -> None:
    """A list of seeds says the same as the first of them."""
    batch = batched(3, world=world)
    one, other = batch.reset(seed=7)[0], batch.reset(seed=[7, 8, 9])[0]
    assert one.tobytes() == other.tobytes()
    assert batched(2, world=world).reset(seed=8)[0].tobytes() == one[1:].tobytes()


@every_batch
def test_unseeded_batches_differ(world: str) -> None:
    """Without a seed the luck comes from the operating system, and goes on."""
    seen = [[batch.reset()[0].tobytes() for _ in range(20)] for batch in (batched(4, world=world) for _ in range(2))]
    assert seen[0] != seen[1]
    assert len(set(seen[0])) > 1


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_the_clock_advances_by_n_in_every_mode(mode: AutoresetMode) -> None:
    """Whatever is reset when, call k uses step k N."""
    batch = batched(4, world="label_bandit", autoreset_mode=mode, drifts={"labelling": {"kind": "count", "period": 8}})
    batch.reset(seed=0)
    for call in range(6):
        if mode is AutoresetMode.DISABLED and call:
            batch.reset()
        info = batch.step(np.zeros(4, dtype=int))[-1]
        told = info["final_info"] if mode is AutoresetMode.SAME_STEP else info
        began = mode is AutoresetMode.NEXT_STEP and call % 2 == 1
        assert told["clock"].tolist() == [4 * (call + began)] * 4
        assert told["task"].tolist() == [(call + began) // 2] * 4
        assert batch.clock.t == 4 * (call + 1)


def test_next_step_resets_instead_of_stepping() -> None:
    """The call after an end ignores the action, gives no reward and shows the new episode, in the new world."""
    batch = batched(2, world="catch", rows=3, drifts={"observation_order": {"kind": "count", "period": 6}})
    assert batch.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    batch.reset(seed=0)
    assert not batch.step(np.ones(2, dtype=int))[2].any()
    _, reward, terminated, _, info = batch.step(np.ones(2, dtype=int))
    assert terminated.all()
    assert (np.abs(reward) == 1).all()
    assert info["task"].tolist() == [0, 0]
    observation, reward, terminated, truncated, info = batch.step(np.ones(2, dtype=int))
    assert not np.stack([reward, terminated, truncated]).any()
    assert (info["clock"].tolist(), info["task"].tolist()) == ([6, 6], [1, 1])
    order = batch.env._order  # type: ignore[attr-defined]
    assert (observation == batch.unwrapped._observe()[:, order]).all()  # type: ignore[attr-defined]
    assert (batch.unwrapped._row == 0).all()  # type: ignore[attr-defined]


def test_the_time_limit_cuts_each_copy_by_its_own_age() -> None:
    """After `max_episode_steps` steps of its own, wherever the others are."""
    batch = batched(2, world="cartpole", max_episode_steps=4, autoreset_mode="Disabled", drifts={})
    batch.reset(seed=0)
    actions = np.array([0, 1])
    assert not batch.step(actions)[3].any()
    batch.reset(options={"reset_mask": np.array([False, True])})
    cuts = [batch.step(actions)[3].tolist() for _ in range(3)]
    assert cuts == [[False, False], [False, False], [True, False]]


def test_the_registered_time_limit_is_the_default() -> None:
    """None means the registered limit, as for `gymnasium.make`; -1 means none."""
    limits = [batched(world="cartpole", max_episode_steps=limit).max_episode_steps for limit in (None, -1, 7)]
    assert limits == [500, None, 7]
    assert batched(world="catch").max_episode_steps is None


def test_truncation_at_a_change_cuts_all_copies() -> None:
    """The last step before a change ends every episode; its observation is of the old world."""
    batch = batched(
        2,
        world="recoded_grid",
        drifts={"code": {"kind": "count", "period": 4}},
        apply="truncate",
        autoreset_mode="SameStep",
    )
    batch.reset(seed=0)
    old = batch.unwrapped._codes[0]  # type: ignore[attr-defined]
    assert not batch.step(np.zeros(2, dtype=int))[3].any()
    observation, _, _, truncated, info = batch.step(np.zeros(2, dtype=int))
    new = batch.unwrapped._codes[0]  # type: ignore[attr-defined]
    assert truncated.all()
    assert (info["final_info"]["task"].tolist(), info["task"].tolist()) == ([0, 0], [1, 1])
    for code, seen in ((old, info["final_obs"]), (new, observation)):
        assert all((code == one).all(axis=1).any() for one in seen)
    assert not any((old == one).all(axis=1).any() for one in observation)


def test_misuse_gets_one_clear_line() -> None:
    """Stepping too early or after an end, a partial new life, a bad mask, a batch that resets by itself."""
    batch = batched(2, world="label_bandit", autoreset_mode="Disabled")
    with pytest.raises(gym.error.ResetNeeded, match="before its first step"):
        batch.step(np.zeros(2, dtype=int))
    batch.reset(seed=0)
    batch.step(np.zeros(2, dtype=int))
    before = batch.clock.t
    with pytest.raises(gym.error.ResetNeeded, match=r"copies \[0, 1\] have ended"):
        batch.step(np.zeros(2, dtype=int))
    assert batch.clock.t == before
    batch.reset()
    for actions in (np.array([0, 4]), np.array([-1, 0]), np.array([0]), np.zeros((2, 2), dtype=int), np.zeros(2)):
        with pytest.raises(ValueError, match=r"(?s)actions .* are not in MultiDiscrete\(\[4 4\]\)"):
            batch.step(actions)
    assert batch.clock.t == before
    with pytest.raises(ValueError, match="max_episode_steps=0 must be at least 1"):
        batched(2, world="catch", max_episode_steps=0)
    half = {"reset_mask": np.array([True, False])}
    for moved in ({"seed": 1, "options": half}, {"options": {**half, "clock": 3}}):
        with pytest.raises(ValueError, match="all copies share one clock"):
            batch.reset(**moved)
    with pytest.raises(ValueError, match="resets by itself; NonStationaryVector needs autoreset mode Disabled"):
        NonStationaryVector(gym.make_vec("CartPole-v1", 2), drifts={})


@pytest.mark.parametrize("mask", [[True, False], np.array([1, 0]), np.array([True]), np.zeros(2, dtype=bool)])
def test_bad_masks_are_refused(mask: Any) -> None:
    """A mask is a bool array with one entry a copy, and asks for something."""
    with pytest.raises(ValueError, match=r"reset_mask'\] must be a bool array of shape \(2,\)"):
        reset_mask({"reset_mask": mask}, 2)


def test_seeds_of_copies() -> None:
    """One seed counts up, none stays none, a list is taken as it is, anything else is refused."""
    assert copy_seeds(4, 3) == [4, 5, 6]
    assert copy_seeds(None, 2) == [None, None]
    assert copy_seeds([1, None], 2) == [1, None]
    for bad in (-1, [1], [1, -2]):
        with pytest.raises(ValueError, match="must be a whole number of at least 0, or 2 of them"):
            copy_seeds(bad, 2)


def test_a_masked_seeded_reset_of_the_world_itself_leaves_the_others_alone() -> None:
    """Below the drift layer, copies can be seeded one by one."""
    world: BatchedWorld = batched(3, world="catch", drifts={}).unwrapped  # type: ignore[assignment]
    world.reset(seed=0)
    for _ in range(3):
        world.step(np.array([0, 1, 2]))
    twin = copy.deepcopy(world)
    observation, _ = world.reset(seed=[9, 9, 9], options={"reset_mask": np.array([False, True, False])})
    assert world.count.tolist() == [4, 1, 4]
    assert observation[[0, 2]].tobytes() == twin._observe()[[0, 2]].tobytes()
    alone = batched(1, world="catch", drifts={}).unwrapped
    assert observation[1].tobytes() == alone.reset(seed=9)[0][0].tobytes()
    everyone = np.ones(3, dtype=bool)
    ours, theirs = world.reset(options={"reset_mask": everyone})[0], twin.reset(options={"reset_mask": everyone})[0]
    assert ours[[0, 2]].tobytes() == theirs[[0, 2]].tobytes()


def test_what_callers_do_to_arrays_changes_nothing() -> None:
    """Observations are theirs to alter; shared arrays of infos are read-only."""
    one, other = (batched(2, world="catch", autoreset_mode="SameStep") for _ in range(2))
    one.reset(seed=0)[0][:] = 9.0
    other.reset(seed=0)
    for _ in range(12):
        ours, theirs = one.step(np.ones(2, dtype=int)), other.step(np.ones(2, dtype=int))
        assert ours[0].tobytes() == theirs[0].tobytes()
        ours[0][:] = 9.0
    with pytest.raises(ValueError, match="read-only"):
        ours[-1]["task"][0] = 5
    batch = batched(2, world="cartpole", autoreset_mode="Disabled")
    batch.reset(seed=0)
    seen = batch.step(np.ones(2, dtype=int))[0]
    kept = seen[1].copy()
    seen[:] = 9.0
    assert batch.reset(options={"reset_mask": np.array([True, False])})[0][1].tobytes() == kept.tobytes()


@every_batch
def test_a_world_shows_again_what_it_has_shown(world: str) -> None:
    """When some copies begin anew, the others see what they saw, to the last bit, unless physics moved between."""
    batch: BatchedWorld = environments[world].make(6)
    rng = np.random.default_rng(3)
    batch.reset(seed=1)
    for _ in range(25):
        seen = batch.step(random_actions(batch.single_action_space, rng, 6))[0]
        mask = rng.random(6) < 0.4
        mask[rng.integers(6)] = True
        again = batch.reset(options={"reset_mask": mask})[0]
        assert (again.dtype, again[~mask].tobytes()) == (seen.dtype, seen[~mask].tobytes())


def test_who_goes_on_has_seen_the_old_world() -> None:
    """A change that comes with the reset of one copy does not repaint what the other saw, whatever became of it."""
    code = {"code": {"kind": "count", "period": 4}}
    batch = batched(2, world="recoded_grid", drifts=code, autoreset_mode="Disabled")
    batch.reset(seed=0)
    batch.step(np.zeros(2, dtype=int))
    seen = batch.step(np.ones(2, dtype=int))[0]
    kept = seen[1].copy()
    seen[:] = 9.0
    shown, info = batch.reset(options={"reset_mask": np.array([True, False])})
    assert info["task"].tolist() == [1, 1]
    assert shown[1].tobytes() == kept.tobytes()
    assert batch.unwrapped._observe()[1].tobytes() != kept.tobytes()  # type: ignore[attr-defined]


@every_batch
def test_a_batch_without_layers_is_its_copies(world: str) -> None:
    """Bit for bit, as the world alone moves: between changes what it shows at a reset is taken as it is."""
    options = {"drifts": hurried(world, 25), "autoreset_mode": "SameStep", "max_episode_steps": 7}
    id = f"lopgym/{environments[world].facts['id']}"
    batch, copies = (make_vec(id, COPIES, vectorization_mode=kind, **options) for kind in (None, "sync"))  # type: ignore[arg-type]
    rng = np.random.default_rng(4)
    _assert_same_step(batch.reset(seed=6), copies.reset(seed=6))
    for _ in range(40):
        actions = random_actions(batch.single_action_space, rng, COPIES)
        _assert_same_step(batch.step(actions), copies.step(actions))


@pytest.mark.parametrize("world", ["cartpole", "catch", "random_mdp"])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_what_a_call_returned_stays_as_it_was(world: str, mode: AutoresetMode) -> None:
    """No later call writes into arrays of an earlier one, infos and last infos of episodes included."""
    drifts = hurried(world, 25)
    batch = batched(5, world=world, drifts=drifts, autoreset_mode=mode, max_episode_steps=9)
    rng, said = np.random.default_rng(0), []

    def hear(told: tuple[Any, ...]) -> tuple[Any, ...]:
        said.append((told, copy.deepcopy(told)))
        return told

    hear(batch.reset(seed=2))
    for _ in range(40):
        _, _, terminated, truncated, _ = hear(batch.step(random_actions(batch.single_action_space, rng, 5)))
        if mode is AutoresetMode.DISABLED and (terminated | truncated).any():
            hear(batch.reset(options={"reset_mask": terminated | truncated}))
    for one, as_it_was in said:
        np.testing.assert_equal(one, as_it_was)


def test_a_batch_tells_of_the_step_before_the_end_and_of_the_one_after() -> None:
    """Under SAME_STEP, by hand: the clock of a copy that began anew is the next, its last info has the one before."""
    batch = batched(3, world="cartpole", drifts={}, autoreset_mode="SameStep", max_episode_steps=2)
    batch.reset(seed=0)
    batch.step(np.zeros(3, dtype=int))
    info = batch.step(np.ones(3, dtype=int))[-1]
    assert info["final_info"]["clock"].tolist() == [3, 3, 3]
    assert info["clock"].tolist() == [6, 6, 6]


ROWS = st.sampled_from([np.int64, np.int32, np.uint8, np.uint64, np.float64])


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.lists(st.integers(-3, 300), min_size=3, max_size=3), ROWS, st.integers(-2, 2))
def test_the_check_of_actions_is_the_space(actions: list[int], dtype: Any, start: int) -> None:
    """One number of actions for all copies or several, counted from 0 or not; floats are no actions."""
    given_actions = np.array(actions).astype(dtype)
    whole = np.issubdtype(dtype, np.integer)
    for numbers in ([4, 4, 4], [2, 250, 4]):
        space = gym.spaces.MultiDiscrete(numbers, start=[start] * 3)
        values = [int(one) - start for one in given_actions]
        allowed = whole and all(0 <= value < number for value, number in zip(values, numbers, strict=True))
        with nullcontext() if allowed else pytest.raises(ValueError, match="are not in MultiDiscrete"):
            ActionCheck(space)(given_actions)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.booleans()), min_size=1, max_size=60), st.integers(1, 6))
def test_the_age_of_episodes_is_that_of_a_count(moves: list[tuple[int, bool]], limit: int) -> None:
    """Against counting step by step; where no copy is told to be old, none is; a restored count goes on alike."""
    own, ages = OwnClocks({}, {}, None, 0, 3), np.zeros(3, dtype=int)
    for bits, restored in moves:
        own.stepped(0.0, 0)
        ages += 1
        old = own.as_old_as(limit)
        assert own.elapsed.tolist() == ages.tolist()
        assert (np.zeros(3, dtype=bool) if old is None else old).tolist() == (ages >= limit).tolist()
        begins = np.array([bits >> copy & 1 for copy in range(3)], dtype=bool)
        own.begin(begins if restored else begins.nonzero()[0], 0)
        ages[begins] = 0
        if restored:
            own, saved = OwnClocks({}, {}, None, 0, 3), json.loads(json.dumps(own.snapshot()))
            own.restore(saved)


def test_infos_are_dealt_out_to_the_copies() -> None:
    """Written out by hand: masks, nested infos, numbers as Python's, arrays and objects as they are."""
    on = np.array([True, False, True])
    inner = {"a": np.array([1.5, 0.0, 2.5]), "_a": on, "b": np.array([True, False, True])}
    info = {"row": np.eye(3), "_row": ~on, "own": inner, "_own": on, "any": np.array(["x", None, "z"], dtype=object)}
    first, second, third = deal(info, 3)
    assert first == {"own": {"a": 1.5, "b": True}, "any": "x"}
    assert third == {"own": {"a": 2.5, "b": True}, "any": "z"}
    assert second.pop("row").tolist() == [0.0, 1.0, 0.0]
    assert second == {"any": None}
    assert (type(first["own"]["a"]), type(first["own"]["b"])) == (float, bool)


def test_episodes_are_known_to_be_monitored() -> None:
    """So that `evaluate_policy` takes the returns of the infos, which a `VecNormalize` outside does not scale."""
    door = GymVecEnv(batched(3, world="catch", autoreset_mode="SameStep"))
    assert door.env_is_wrapped(Monitor) == [True] * 3
    assert door.env_is_wrapped(VecTransposeImage, indices=[0]) == [False]
