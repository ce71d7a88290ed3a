"""Every registered world, whatever it is: Gymnasium's contracts, its documents, its parameters."""

from __future__ import annotations

import copy
import inspect
import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

import lopgym
from lopgym.envs import environments
from lopgym.envs.build import batched, single
from lopgym.envs.drift_clock import Drifts
from lopgym.envs.layers import layers, stack
from lopgym.physics import Parametric
from lopgym.schedules import Count, Cycle, from_plain
from tests.drawn import DRAWN, every_drawn
from tests.play import WORLDS, every_batch, every_world, has_batch, hurried, random_actions
from tests.play import id_of as _id
from tests.play import same as _same

HEADINGS = ["Description", "Action Space", "Observation Space", "Rewards", "Starting State", "Episode End", "Drift"]
HEADINGS += ["Arguments", "Version History"]


def _restless(world: str) -> dict[str, Any]:
    """The default drift of a world, but with a change at every step, and drifting layers on top."""
    return hurried(world, 1) | {"reward_scale": {"kind": "sine", "mean": 2.0, "amplitude": 1.0, "period": 9.0}}


def _roll(env: Any, steps: int = 40, seed: int = 3, options: dict[str, Any] | None = None) -> list[Any]:
    """Everything that an environment, single or batched, says while it is played at random."""
    rng = np.random.default_rng(0)
    batch = isinstance(env, gym.vector.VectorEnv)
    space = env.single_action_space if batch else env.action_space
    said: list[Any] = [env.reset(seed=seed, options=options)]
    for _ in range(steps):
        drawn = random_actions(space, rng, env.num_envs if batch else 1)
        said.append(env.step(drawn if batch else drawn[0]))
        if not batch and (said[-1][2] or said[-1][3]):
            said.append(env.reset())
    return copy.deepcopy(said)


@every_world
@pytest.mark.parametrize("apply", ["step", "reset"])
@pytest.mark.parametrize("check", [check_env, check_env_sb3])
def test_checkers_pass_with_the_drift_layer_on(world: str, apply: str, check: Any) -> None:
    """Only Gymnasium's warnings about wrappers and infinite bounds are heard, though everything changes each step."""
    env = gym.make(_id(world), drifts=_restless(world), apply=apply)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        check(env, **({} if world in DRAWN else {"skip_render_check": True}))
    # Advice of Stable-Baselines3 that does not concern us: Pendulum's torque is Gymnasium's, our own images are small.
    advice = ("symmetric and normalized", "minimal resolution")
    allowed = ("is different from the unwrapped version", "infinity", *advice)
    assert [str(w.message) for w in heard if not any(part in str(w.message) for part in allowed)] == []


@every_world
def test_spec_round_trip(world: str) -> None:
    """Schedules become plain data; the spec made again from JSON, single or batched, is the same world."""
    plain = _restless(world)
    drifts = {name: from_plain(drift) for name, drift in plain.items()}
    env = gym.make(_id(world), drifts=drifts, world_seed=5)
    assert env.spec is not None
    assert env.spec.additional_wrappers == ()
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.spec == env.spec
    assert _same(_roll(env), _roll(again))
    if not has_batch(world):
        return
    batch = gym.make_vec(_id(world), 3, drifts=drifts, world_seed=5, autoreset_mode=gym.vector.AutoresetMode.SAME_STEP)
    assert batch.spec is not None
    twin = gym.make_vec(EnvSpec.from_json(batch.spec.to_json()))
    assert twin.metadata["autoreset_mode"] is gym.vector.AutoresetMode.SAME_STEP
    assert _same(_roll(batch), _roll(twin))
    of_single = gym.make_vec(EnvSpec.from_json(env.spec.to_json()), 3)
    assert _same(_roll(of_single), _roll(gym.make_vec(_id(world), 3, drifts=drifts, world_seed=5)))


@every_world
def test_spec_with_somebody_elses_wrapper_on_top(world: str) -> None:
    """A wrapper outside ours is recorded as usual; ours stay hidden."""
    env = gym.wrappers.RecordEpisodeStatistics(gym.make(_id(world), drifts=_restless(world)))
    assert env.spec is not None
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert [type(layer) for layer in stack(again)] == [type(layer) for layer in stack(env)]
    assert [wrapper.name for wrapper in env.spec.additional_wrappers] == ["RecordEpisodeStatistics"]


@every_world
def test_module_syntax_and_plain_gymnasium(world: str) -> None:
    """`module:id` works, and so does Gymnasium's own `make_vec` in every mode."""
    gym.make(f"lopgym:{_id(world)}").reset(seed=0)
    for mode in ("vector_entry_point", "sync") if has_batch(world) else (None,):
        batch = gym.make_vec(_id(world), 2, vectorization_mode=mode)
        assert batch.metadata["autoreset_mode"] is gym.vector.AutoresetMode.NEXT_STEP
        batch.reset(seed=0)


@every_world
def test_seeds_matter_and_world_seeds_matter(world: str) -> None:
    """Another seed is other luck; so is another world seed another world, where there is something to draw."""
    assert not _same(_roll(single(world), seed=0), _roll(single(world), seed=1))
    orders = {"observation_order": {"kind": "count", "period": 5}}
    one, other = (single(world, drifts=orders, world_seed=seed) for seed in (0, 1))
    assert not _same(_roll(one), _roll(other))


@every_world
def test_no_drift_is_bitwise_the_bare_world(world: str) -> None:
    """`drifts={}` adds news to the info and nothing else."""
    env, bare = single(world, drifts={}), single(world, drifts={}).env
    for one, other in zip(_roll(env), _roll(bare), strict=True):
        assert _same(one[:-1], other[:-1])
        assert _same({key: value for key, value in one[-1].items() if key not in ("task", "drift", "clock")}, other[-1])
        assert one[-1]["task"] == 0


def _parameters() -> list[tuple[str, str]]:
    """Every (world, parameter) of what a registered id is made of; tests/test_channels.py has the layers on demand."""
    stacks = {world: stack(single(world, drifts={})) for world in WORLDS}
    return [
        (w, n) for w, env in stacks.items() for one in env if isinstance(one, Parametric) for n in one.physics.names()
    ]


def _declared(world: str, name: str) -> tuple[float, dict[str, Any]]:
    """Default and bounds of a parameter, as declared."""
    types = [one.make.physics_type for one in (environments[world], *layers)]
    field = next(one.__dataclass_fields__[name] for one in types if name in one.names())
    return field.default, dict(field.metadata)


def _owner(env: Any, name: str) -> Parametric:
    return next(one for one in stack(env) if isinstance(one, Parametric) and name in one.physics.names())


@pytest.mark.parametrize(("world", "name"), _parameters())
def test_every_declared_parameter_matters(world: str, name: str) -> None:
    """Somewhere between its bounds, each parameter changes what is seen or earned, single and batched.

    What only matters at a goal that nobody finds at random does so in a world where it is found.
    """
    default, bounds = _declared(world, name)
    whole = isinstance(default, int)
    others = [*range(default + 1, default + 9)] if whole else [default / 2, bounds["low"], bounds["high"]]
    trials = [(v, steps) for steps in (150, 2400) for v in others if bounds["low"] <= v <= bounds["high"]]
    makers: list[Callable[[Drifts], Any]] = [lambda drifts: single(world, drifts=drifts)]
    makers += [lambda drifts: batched(4, world=world, drifts=drifts)] * has_batch(world)
    for make in makers:
        assert any(
            _differ(make({**there, name: default}), make({**there, name: value}), steps)
            for there in _places(world, name)
            for value, steps in trials
        )


def _places(world: str, name: str) -> Iterator[Drifts]:
    """The world as it is, then with the other numbers of the layer that owns `name` anywhere in their bounds."""
    yield {}
    rng, declared = np.random.default_rng(0), {other: _declared(world, other) for other in _owned_with(world, name)}
    for _ in range(8):
        yield {
            other: float(rng.uniform(bounds["low"], bounds["high"]))
            for other, (default, bounds) in declared.items()
            if isinstance(default, float)
        }


def _owned_with(world: str, name: str) -> list[str]:
    return [other for other in _owner(single(world, drifts={}), name).physics.names() if other != name]


def _differ(one: Any, other: Any, steps: int) -> bool:
    """Whether two worlds are ever told apart; at random, it can take long to meet the place where they differ."""
    said, too = ([told[:-1] for told in _roll(env, steps)] for env in (one, other))
    return not _same(said, too)


@pytest.mark.parametrize(("world", "name"), _parameters())
def test_out_of_bounds_is_refused_by_name_and_changes_nothing(world: str, name: str) -> None:
    """The error names the parameter; the world is as it was."""
    default, bounds = _declared(world, name)
    layer = _owner(single(world, drifts={name: default}), name)
    before = getattr(layer.physics, name)
    for value in (bounds["high"] * 2 + 1, bounds["low"] - abs(bounds["low"]) - 1, float("nan")):
        with pytest.raises(ValueError, match=name):
            layer.set_physics(**{name: value})
        with pytest.raises(ValueError, match=name):
            single(world, drifts={name: value})
    assert getattr(layer.physics, name) == before


@pytest.mark.parametrize(("world", "name"), _parameters())
def test_moved_environment_is_the_one_built_there(world: str, name: str) -> None:
    """Going somewhere through other values leaves no trace; both ends of the bounds stay finite."""
    default, bounds = _declared(world, name)
    for other, end in itertools.permutations((bounds["low"], bounds["high"])):
        path = {"kind": "steps", "values": [default, other, end], "at": [3, 6]}
        moved, built = single(world, drifts={name: path}), single(world, drifts={name: end})
        _roll(moved, 10)
        one, another = _roll(moved, options={"clock": 6}), _roll(built)
        assert _same([said[:-1] for said in one], [said[:-1] for said in another])
        assert all(np.isfinite(said[0]).all() for said in one)


@every_world
def test_documents_are_complete(world: str) -> None:
    """The docstring is the page of the world: all headings in order, all drifting parameters, all arguments."""
    page = inspect.getdoc(environments[world].make) or ""
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == HEADINGS
    for name in (*environments[world].options, *environments[world].facts["drifts"]):
        assert f"`{name}`" in page
    for name in environments[world].make.physics_type.names():
        assert f"`{name}`" in page


@every_drawn
def test_pictures(world: str) -> None:
    """Each copy has a picture of its own, at least 160 pixels high and wide."""
    env, batch = (single(world, render_mode="rgb_array"), lopgym.make_vec(_id(world), 2, render_mode="rgb_array"))
    env.reset(seed=0)
    batch.reset(seed=0)
    frame, frames = env.render(), batch.render()
    assert isinstance(frame, np.ndarray)
    assert frames is not None
    assert frame.dtype == np.uint8
    assert min(frame.shape[:2]) >= 160
    assert frame.std() > 0
    assert (frames[0] == frame).all()
    assert (frames[1] != frame).any()
    batch.close()


@every_batch
def test_no_pictures(world: str) -> None:
    """Without a render mode there is none; an unknown mode is refused."""
    assert batched(2, world=world).render() is None
    with pytest.raises(ValueError, match="render_mode='ascii'"):
        batched(2, world=world, render_mode="ascii")


@every_drawn
def test_the_picture_is_of_the_true_scene(world: str) -> None:
    """The picture does not depend on how the observation is shuffled."""
    frames = []
    for order in (0, 1):
        env = single(world, drifts={"observation_order": order}, render_mode="rgb_array")
        env.reset(seed=0)
        frames.append(env.render())
    assert _same(frames[0], frames[1])


@every_world
def test_wrong_arguments_get_one_clear_line(world: str) -> None:
    """Unknown options name the nearest; so do unknown parameters."""
    for make in (gym.make, gym.make_vec):
        with pytest.raises(TypeError, match="got an unexpected keyword argument 'drift'; did you mean 'drifts'"):
            make(_id(world), drift={})
    with pytest.raises(ValueError, match="did you mean 'reward_scale'"):
        single(world, drifts={"reward_scal": 1.0, "reward_scale": 2.0})
    with pytest.raises(ValueError, match="apply='steps' is not allowed; did you mean 'step'"):
        single(world, apply="steps")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="autoreset_mode='SameStap' is not allowed; did you mean 'SameStep'"):
        lopgym.make_vec(_id(world), 2, autoreset_mode="SameStap")
    with pytest.raises(ValueError, match="num_envs=0"):
        lopgym.make_vec(_id(world), 0)


def test_bounds_of_options_are_held() -> None:
    """What a constructor declares is checked, whoever calls."""
    with pytest.raises(ValueError, match="'catch': rows=1 must be >= 2"):
        single("catch", rows=1)
    with pytest.raises(KeyError, match="did you mean 'catch'"):
        single("cach")


def test_actions_outside_the_space_are_refused() -> None:
    """A wrong action is an error, not another action."""
    for world in ("catch", "label_bandit"):
        env = single(world)
        env.reset(seed=0)
        with pytest.raises(ValueError, match="action -1 is not in"):
            env.step(-1)


def test_options_reach_the_world() -> None:
    """A constructor option is an argument of the id."""
    env = gym.make("lopgym/Catch-v0", rows=4, columns=3)
    assert env.observation_space.shape == (12,)
    assert gym.make_vec("lopgym/RecodedGrid-v0", 2, features=7).single_observation_space.shape == (7,)
    assert env.spec is not None
    assert env.spec.kwargs["rows"] == 4


def test_catch_is_catch() -> None:
    """Played by hand, worked out on paper: rows 3, columns 3, ball in column b, paddle in the middle."""
    env = single("catch", drifts={}, rows=3, columns=3)
    world = env.unwrapped.batch  # type: ignore[attr-defined]
    for ball, action in itertools.product(range(3), range(3)):
        env.reset(seed=0)
        world._ball[:] = ball
        world.step(np.array([action]))
        paddle = action
        assert world._observe()[0].reshape(3, 3).tolist() == [
            [0, 0, 0],
            [int(column == ball) for column in range(3)],
            [int(column == paddle) for column in range(3)],
        ]
        _, (earned,), (over,), _, _ = world.step(np.array([1]))
        assert over
        assert earned == (1.0 if paddle == ball else -1.0)


def test_catch_can_be_won_and_random_play_gets_about_minus_0_6() -> None:
    """An oracle gets 1 an episode; the mean of random play is 2 / columns - 1."""
    batch = batched(64, world="catch", drifts={}, autoreset_mode="SameStep")
    world = batch.unwrapped
    order = batch.env.env._order  # type: ignore[attr-defined]
    rng, totals = np.random.default_rng(0), {"oracle": 0.0, "random": 0.0}
    for player in totals:
        batch.reset(seed=1)
        for _ in range(200):
            wanted = np.sign(world._ball - world._paddle) + 1  # type: ignore[attr-defined]
            actions = np.argsort(order)[wanted] if player == "oracle" else rng.integers(3, size=64)
            totals[player] += batch.step(actions)[1].sum()
    episodes = 64 * 200 / 5
    assert totals["oracle"] / episodes == 1.0
    assert abs(totals["random"] / episodes + 0.6) < 0.06


def test_label_bandit_pays_the_right_label() -> None:
    """The labels of a table earn 1 for ever; guessing earns a quarter; another table pays other labels."""
    batch = batched(64, world="label_bandit", drifts={"labelling": 3}, autoreset_mode="SameStep")
    observation, _ = batch.reset(seed=0)
    right: dict[bytes, set[int]] = {}
    earned = []
    for action in np.arange(400) % 4:
        seen = [one.tobytes() for one in observation]
        observation, reward, terminated, _, _ = batch.step(np.full(64, action))
        assert terminated.all()
        earned.append(reward.mean())
        for one in itertools.compress(seen, reward):
            right.setdefault(one, set()).add(int(action))
    assert abs(np.mean(earned) - 0.25) < 0.05
    assert [len(labels) for labels in right.values()] == [1] * 64


def test_recoded_grid_ends_at_the_goal_and_at_the_horizon() -> None:
    """The walker that never arrives is stopped after `horizon` steps; the one that arrives earns 1 and stops."""
    env = single("recoded_grid", drifts={}, horizon=9)
    world = env.unwrapped.batch  # type: ignore[attr-defined]
    env.reset(seed=0)
    first = int(world._time[0])
    world._place[:], goal = (world._goal + 1) % 5, world._goal.copy()
    assert 0 <= first < 9
    said = []
    while not said or not said[-1][1]:
        world._place[:] = (goal + 2) % 5
        said.append(env.step(0)[1:3])
    assert said == [(0.0, False)] * (8 - first) + [(0.0, True)]
    env.reset()
    assert world._time[0] == 0
    world._place[:] = goal + ([1, 0] if goal[0] < 4 else [-1, 0])
    assert env.step(1 if goal[0] < 4 else 0)[1:3] == (1.0, True)


def test_first_episodes_of_the_grid_are_spread_in_time() -> None:
    """Copies start with different times used up, so that they do not end together."""
    batch = batched(64, world="recoded_grid", drifts={})
    batch.reset(seed=0)
    assert len(set(batch.unwrapped._time.tolist())) > 10  # type: ignore[attr-defined]


def test_undrifted_cartpole_is_gymnasiums() -> None:
    """Step for step and bit for bit, single and batched, the time limit included."""
    theirs, ours = gym.make("CartPole-v1"), gym.make("lopgym/CartPole-v0", drifts={})
    for one, other in zip(_roll(theirs, 300), _roll(ours, 300), strict=True):
        assert _same(one[:-1], other[:-1])
    same = {"autoreset_mode": "SameStep"}
    pair = gym.make_vec("CartPole-v1", 4, vectorization_mode="sync", vector_kwargs=same, max_episode_steps=20)
    batch = gym.make_vec("lopgym/CartPole-v0", 4, drifts={}, max_episode_steps=20, **same)
    for one, other in zip(_roll(pair, 300), _roll(batch, 300), strict=True):
        assert _same(one[:-1], other[:-1])


def test_cartpole_follows_gymnasiums_attributes_when_it_moves() -> None:
    """With every parameter moved, Gymnasium's CartPole with the same attributes, derived ones by hand, is the same."""
    moved = {"gravity": 20.0, "masscart": 2.0, "masspole": 0.5, "length": 1.5, "force_mag": 5.0, "tau": 0.03}
    moved |= {"x_threshold": 1.0, "theta_threshold_radians": 0.1}
    theirs = gym.make("CartPole-v1")
    for name, value in {**moved, "total_mass": 2.5, "polemass_length": 0.75}.items():
        setattr(theirs.unwrapped, name, value)
    ours = gym.make("lopgym/CartPole-v0", drifts=moved)
    for one, other in zip(_roll(theirs, 200), _roll(ours, 200), strict=True):
        assert _same(one[:-1], other[:-1])


def test_cartpole_takes_gymnasiums_bounds_of_the_start() -> None:
    """`options={"low": a, "high": b}` draws the start as Gymnasium does."""
    options = {"low": -0.2, "high": 0.1}
    theirs, batch = gym.make("CartPole-v1"), batched(2, world="cartpole")
    expected = [theirs.reset(seed=seed, options=options)[0] for seed in (8, 9)]
    assert _same(batch.reset(seed=8, options={**options, "clock": 3})[0], np.stack(expected))


def test_drifts_are_recorded_as_plain_data() -> None:
    """Whatever form a drift had, the spec has its plain data."""
    drifts = {"action_order": Count(period=3), "observation_order": 2, "reward_scale": Cycle(values=(1.0,), period=2)}
    spec = gym.make("lopgym/Catch-v0", drifts=drifts).spec
    assert spec is not None
    assert spec.kwargs["drifts"]["action_order"] == {"kind": "count", "period": 3}
    assert spec.kwargs["drifts"]["observation_order"] == {"kind": "constant", "value": 2}
    assert spec.kwargs["drifts"]["reward_scale"] == {"kind": "cycle", "period": 2, "values": [1.0]}
