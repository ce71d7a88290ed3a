"""Forager, Pixel Breakout, Latent Context and Task Sequence: played by hand, and with physics of each copy's own."""

from __future__ import annotations

import dataclasses
import math
import pickle
import sys
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from lopgym.agents.dqn import dqn
from lopgym.agents.vec_env import GymVecEnv
from lopgym.envs import environments
from lopgym.envs.build import batched, single
from lopgym.envs.common_space import common_action, common_observation, own_action
from lopgym.envs.nonstationary import NonStationary
from lopgym.envs.shared_context import SharedContext, SharedContextVector
from tests.play import random_actions, same

WORLDS = ("forager", "latent_context", "pixel_breakout", "task_sequence")
PARAMETERS = [(world, field) for world in WORLDS for field in dataclasses.fields(environments[world].make.physics_type)]


def _inside(world: str, **options: Any) -> tuple[Any, Any]:
    """A lone, undrifted environment and the batch of one inside it."""
    env = single(world, drifts={}, **options)
    env.reset(seed=0)
    return env, env.unwrapped.batch  # type: ignore[attr-defined]


def _played(world: str, value: Any, name: str, steps: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """What three copies see and earn with one parameter set, observations (T, N, ...) and rewards (T, N)."""
    batch, rng = environments[world].make(3), np.random.default_rng(0)
    batch.set_physics(**{name: value})
    batch.reset(seed=4)
    said = []
    for _ in range(steps):
        seen, reward, terminated, truncated, _ = batch.step(random_actions(batch.single_action_space, rng, 3))
        said.append((seen, reward))
        if (terminated | truncated).any():
            batch.reset(options={"reset_mask": terminated | truncated})
    observations, rewards = zip(*said, strict=True)
    return np.stack(observations), np.stack(rewards)


@pytest.mark.parametrize(("world", "field"), PARAMETERS, ids=lambda one: getattr(one, "name", one))
def test_each_copy_can_have_physics_of_its_own(world: str, field: Any) -> None:
    """Copy i of a batch with values (N,) is copy i of a batch in which all have that value, bit for bit."""
    low, default, high = field.metadata["low"], field.default, field.metadata["high"]
    values = [low, default + 1, min(high, 7)] if isinstance(default, int) else [low, default, high]
    together = _played(world, np.array(values), field.name)
    for copy, value in enumerate(values):
        alone = _played(world, value, field.name)
        assert all(
            one[:, copy].tobytes() == other[:, copy].tobytes() for one, other in zip(together, alone, strict=True)
        )


def _small_field(**physics: Any) -> tuple[Any, Any]:
    """A field of five by five with food a, b and c around the walker, who stands in the corner."""
    env, world = _inside("forager", size=5, view=3)
    world.set_physics(**physics)
    food = np.zeros((5, 5), dtype=np.int64)
    food[0, 1], food[4, 0], food[1, 1] = 1, 2, 3
    world._fields, world._place[:] = food.reshape(1, -1), 0
    return env, world


def test_the_forager_sees_its_neighbourhood_around_the_edges() -> None:
    """Of the nine cells in view, read row by row, the second has b, the sixth a, the last c; the field is a ring."""
    _, world = _small_field()
    expected = np.zeros((9, 3))
    expected[1, 1] = expected[5, 0] = expected[8, 2] = 1
    assert (world._observe()[0] == expected.ravel()).all()


def test_food_comes_back_when_its_time_is_over() -> None:
    """Eaten in the first step, away for three, eaten again in the fifth: down is 0, up 1, right 2, left 3."""
    env, _ = _small_field(regrowth=3)
    steps = [env.step(action) for action in (2, 3, 2, 3, 2, 0, 3, 1, 1)]
    assert [reward for _, reward, *_ in steps] == [1.0, 0, 0, 0, 1.0, 0.1, 0, 0, -1.0]
    assert [seen.reshape(9, 3)[5, 0] for seen, *_ in (steps[1], steps[3])] == [0.0, 1.0]
    assert steps[2][0].reshape(9, 3)[4].tolist() == [0, 0, 0]


def test_food_that_grows_at_once_is_seen_where_it_was_eaten() -> None:
    """With `regrowth` 0, the walker stands on it again."""
    env, _ = _small_field(regrowth=0)
    assert env.step(2)[0].reshape(9, 3)[4].tolist() == [1, 0, 0]


def test_the_forager_never_ends_and_its_default_seasons_are_opposite() -> None:
    """No end in 500 steps; a is worth what b costs, most at a quarter of the period."""
    env = gym.make("lopgym/Forager-v0")
    env.reset(seed=0)
    assert not any(end for _ in range(500) for end in env.step(0)[2:4])
    for clock, worth in ((0, 0.0), (5_000, 1.0), (10_000, 0.0), (15_000, -1.0)):
        drift = env.reset(options={"clock": clock})[1]["drift"]
        assert drift == pytest.approx({"reward_a": worth, "reward_b": -worth}, abs=1e-9)


def test_fields_are_as_dense_as_they_should_be() -> None:
    """Of many cells, `density` have food, a third of it of each kind; without density there is none."""
    kinds = np.bincount(_inside("forager", size=100, density=0.3)[1]._fields.ravel(), minlength=4) / 100**2
    assert kinds == pytest.approx([0.7, 0.1, 0.1, 0.1], abs=0.015)
    assert not _inside("forager", density=0.0)[1]._fields.any()


@pytest.mark.parametrize("view", [4, 13])
def test_a_view_without_a_middle_or_wider_than_the_field_is_refused(view: int) -> None:
    """The message says what is allowed."""
    with pytest.raises(ValueError, match=f"view={view} must be odd.*at most size=12"):
        single("forager", view=view)


def _served(**physics: Any) -> tuple[Any, Any]:
    """A full wall, the ball below it in column 3 on its way to the right, the paddle in columns 4 and 5."""
    env, world = _inside("pixel_breakout")
    world.set_physics(**physics)
    env.reset()
    world._ball[:], world._way[:] = (4, 3), (1, 1)
    return env, world


def _balls(env: Any, world: Any, actions: list[int]) -> tuple[list[tuple[int, int]], list[float], list[bool]]:
    """Where the ball is, what is earned and whether it is over, after each step."""
    places, rewards, ends = [], [], []
    for action in actions:
        _, reward, over, _, _ = env.step(action)
        places.append(tuple(world._ball[0].tolist()))
        rewards.append(reward)
        ends.append(over)
    return places, rewards, ends


def test_a_rally_of_breakout() -> None:
    """Down to the paddle, up by the right side into the wall, down again past a paddle that has stayed."""
    env, world = _served()
    places, rewards, ends = _balls(env, world, [2] * 5 + [1] * 10)
    down, up = [(5, 4), (6, 5), (7, 6), (8, 7), (8, 8)], [(7, 9), (6, 8), (5, 7), (4, 6), (4, 5)]
    assert places == [*down, *up, (5, 4), (6, 3), (7, 2), (8, 1), (9, 0)]
    assert rewards == [0.0] * 9 + [1.0] + [0.0] * 5
    assert ends == [False] * 14 + [True]
    scene = world._scene()[0]
    assert np.argwhere(scene[0]).tolist() == [[9, 8], [9, 9]]
    assert np.argwhere(scene[1]).tolist() == [[9, 0]]
    assert np.argwhere(scene[2]).tolist() == [[8, 1]]
    gone = np.zeros((10, 10), dtype=bool)
    gone[1:4] = True
    assert np.argwhere(scene[3] != gone).tolist() == [[3, 5]]


def test_a_push_aims_the_ball_and_rests_slow_it_down() -> None:
    """Saved by a paddle that is pushed to the left, the ball goes there; with a rest of 1 it moves every other step."""
    env, world = _served(paddle_width=10)
    assert _balls(env, world, [1, 1, 1, 1, 0, 1])[0][4:] == [(8, 8), (7, 7)]
    env, world = _served(ball_rest=1)
    assert _balls(env, world, [1] * 4)[0] == [(4, 3), (5, 4), (5, 4), (6, 5)]


def test_breakout_shows_its_channels_in_the_order_of_the_number() -> None:
    """Every channel of the scene is there, as 0 and 255; another number may show them in another order."""
    env, world = _inside("pixel_breakout")
    env.step(1)  # until it has moved, the ball is where it was
    shown = set()
    for number in range(20):
        world.set_physics(channel_order=number)
        seen, scene = world._observe()[0], 255 * world._scene()[0].astype(int)
        order = [next(c for c in range(4) if (seen[place] == scene[c]).all()) for place in range(4)]
        shown.add(tuple(order))
        assert env.observation_space.contains(seen)
    assert len(shown) > 10


def test_half_walls_and_the_wall_that_comes_back() -> None:
    """Wall 0 has 30 bricks, wall 1 has 15 of them; after its last brick a wall is whole again."""
    env, world = _served()
    assert world._bricks.sum() == 30
    world.set_physics(wall=1)
    assert world._bricks.sum() == 30  # the wall that stands is not touched
    world._bricks[:], world._way[:] = False, (-1, 1)
    world._bricks[0, 3, 4] = True
    assert env.step(1)[1] == 1.0
    assert world._bricks.sum() == 15


def test_a_paddle_that_goes_where_the_ball_is_about_to_be_never_loses_it() -> None:
    """400 steps of 32 copies; random play loses within a few dozen steps."""
    batch = environments["pixel_breakout"].make(32)
    batch.reset(seed=0)
    earned = 0.0
    for _ in range(400):
        column = batch._ball[:, 1] + batch._way[:, 1]
        column = np.where((column < 0) | (column > 9), batch._ball[:, 1] - batch._way[:, 1], column)
        push = (column > batch._paddle + 1).astype(int) - (column < batch._paddle)
        _, reward, over, _, _ = batch.step(push + 1)
        earned += reward.sum() / 32
        assert not over.any()
    assert earned > 20


def test_dqn_trains_on_pixels_with_the_convolutional_stem() -> None:
    """A few hundred steps: uint8 images are kept as such, and the kernels of both convolutions move."""
    world = batched(2, world="pixel_breakout", autoreset_mode="SameStep")
    model = dqn(GymVecEnv(world, seed=0), stem="conv", hidden=(16,), learning_starts=20, buffer_size=500)
    before = {name: weight.clone() for name, weight in model.q_net.named_parameters() if weight.ndim == 4}
    model.learn(240)
    assert model.replay_buffer is not None
    assert model.replay_buffer.observations.dtype == np.uint8  # type: ignore[attr-defined]
    after = dict(model.q_net.named_parameters())
    assert len(before) == 2
    assert all((after[name] != weight).any() and after[name].isfinite().all() for name, weight in before.items())


def _contexts(correlation: float, number: int = 2000) -> np.ndarray:
    """Hidden parameters of many contexts as quantiles of their ranges, shape (number, 6)."""
    batch = environments["latent_context"].make(number)
    batch.set_physics(context=np.arange(number), correlation=correlation)
    ranges = {"thrust": (0.02, 0.1), "damping": (0.05, 0.5), "goal_x": (-0.8, 0.8), "goal_y": (-0.8, 0.8)}
    ranges |= {"wind_x": (-0.02, 0.02), "wind_y": (-0.02, 0.02)}
    return np.stack([(batch.hidden[name] - low) / (high - low) for name, (low, high) in ranges.items()], axis=1)


def test_hidden_parameters_are_as_correlated_as_they_should_be() -> None:
    """Quantiles are uniform at every correlation; Spearman's rho of two is 6 / pi arcsin(c / 2)."""
    for correlation in (0.0, 0.5, 0.9):
        quantiles = _contexts(correlation)
        assert quantiles.mean(axis=0) == pytest.approx([0.5] * 6, abs=0.03)
        assert quantiles.var(axis=0) == pytest.approx([1 / 12] * 6, abs=0.006)
        pairs = np.corrcoef(quantiles.T)[np.triu_indices(6, 1)]
        assert pairs == pytest.approx([6 / math.pi * math.asin(correlation / 2)] * 15, abs=0.07)
    together = _contexts(1.0)
    assert together == pytest.approx(np.repeat(together[:, :1], 6, axis=1), abs=1e-12)


def test_a_push_against_the_wall() -> None:
    """Worked out on paper: from 0.95, thrust 0.1, damping a half, no wind, the goal in the middle."""
    env, world = _inside("latent_context")
    world._thrust, world._damping = np.array([[0.1]]), np.array([[0.5]])
    world._wind = world._goal = np.zeros((1, 2))
    world._place[:], world._velocity[:] = (0.95, 0.0), 0.0
    distances = [(1 - env.step(action)[1]) * math.sqrt(8) for action in (1, 2, 2, 0)]
    assert distances == pytest.approx([1.0, 0.9, 0.75, 0.675])
    world._wind, world._place[:], world._velocity[:] = np.array([[0.0, 0.02]]), 0.0, 0.0
    assert [(1 - env.step(0)[1]) * math.sqrt(8) for _ in range(2)] == pytest.approx([0.02, 0.05])


def test_the_context_cannot_be_seen() -> None:
    """At rest in the same place, all contexts look alike; the truth is there for the experimenter."""
    seen, truths = [], []
    for context in range(5):
        env = single("latent_context", drifts={"context": context})
        seen.append(env.reset(seed=0)[0].tobytes())
        truths.append(env.unwrapped.batch.hidden["thrust"][0])  # type: ignore[attr-defined]
    assert (len(set(seen)), len(set(truths))) == (1, 5)


RANGES = {"gravity": (5.0, 20.0), "length": (1.0, 0.25)}


def test_a_context_sets_parameters_of_any_world() -> None:
    """Fully correlated, gravity rises as the pole gets shorter, in every context; the world has these values."""
    bare = single("cartpole", drifts={}).env
    env = NonStationary(
        SharedContext(bare, ranges=RANGES), drifts={"context": {"kind": "count", "period": 4}, "correlation": 1.0}
    )
    env.reset(seed=0)
    seen = set()
    for step in range(12):
        env.step(step % 2)
        gravity, length = env.unwrapped.gravity, env.unwrapped.length  # type: ignore[attr-defined]
        assert (gravity - 5.0) / 15.0 == pytest.approx((1.0 - length) / 0.75)
        seen.add(gravity)
    assert len(seen) == 3


def test_contexts_of_a_batch_are_those_of_its_copies() -> None:
    """Copies in different contexts have the values that a lone environment has in each, and go the same way."""
    batch = SharedContextVector(environments["cartpole"].make(3), ranges=RANGES, world_seed=5)
    batch.set_physics(context=np.array([4, 0, 9]), correlation=0.3)
    batch.reset(seed=7)
    seen = np.stack([batch.step(np.array([0, 1, 1]))[0] for _ in range(5)])
    for copy, (context, action) in enumerate(((4, 0), (0, 1), (9, 1))):
        env = SharedContext(single("cartpole", drifts={}).env, ranges=RANGES, world_seed=5)
        env.set_physics(context=context, correlation=0.3)
        assert env.hidden["gravity"][0] == batch.hidden["gravity"][copy]
        env.reset(seed=7 + copy)
        assert (np.stack([env.step(action)[0] for _ in range(5)]) == seen[:, copy]).all()


def test_ranges_that_mean_nothing_are_refused() -> None:
    """Unknown parameters with the nearest name, ends out of bounds by name, no range at all."""
    for ranges, message in (
        ({"gravty": (1.0, 2.0)}, "did you mean 'gravity'"),
        ({"gravity": (1.0, 1e9)}, "gravity=1000000000.0 is outside"),
        ({}, "ranges is empty"),
    ):
        with pytest.raises(ValueError, match=message):
            SharedContext(single("cartpole", drifts={}).env, ranges=ranges)


@pytest.mark.parametrize(("task", "id"), [(0, "CartPole-v1"), (1, "Acrobot-v1"), (2, "MountainCar-v0")])
def test_a_task_is_the_environment_that_it_is_named_after(task: int, id: str) -> None:
    """The same observations before the zeros, the same rewards and ends, episode after episode."""
    env, world = _inside("task_sequence")
    world.set_physics(task=task + 3)  # counted round
    theirs, rng = gym.make(id), np.random.default_rng(0)
    for _ in range(2):
        seed, over = int(world.integers(2**31)[0]), False
        said, expected = [env.reset()[0]], [theirs.reset(seed=seed)[0]]
        while not over:
            action = int(rng.integers(3))
            seen, reward, ended, cut, _ = env.step(action)
            other = theirs.step(action % theirs.action_space.n)  # type: ignore[attr-defined]
            assert (reward, ended, cut) == other[1:4]
            said.append(seen)
            expected.append(other[0])
            over = ended or cut
        size = len(expected[0])
        assert (np.stack(said)[:, :size] == np.stack(expected)).all()
        assert not np.stack(said)[:, size:].any()


def test_the_task_changes_at_a_reset_and_not_before() -> None:
    """Cut off at the change, an episode of the next task begins; left alone, the old one is played to its end."""
    options: dict[str, Any] = {"world": "task_sequence", "drifts": {"task": {"kind": "count", "period": 10}}}
    batch = batched(2, apply="truncate", autoreset_mode="SameStep", **options)
    batch.reset(seed=0)
    played = [(batch.step(np.array([0, 1]))[3], batch.unwrapped._task.tolist()) for _ in range(20)]  # type: ignore[attr-defined]
    assert [step for step, (cut, _) in enumerate(played) if cut.all()] == [4, 9, 14, 19]
    assert [tasks for _, tasks in played[4::5]] == [[1, 1], [2, 2], [0, 0], [1, 1]]
    env = single(**options)
    env.reset(seed=0, options={"clock": 8})
    told = [env.step(step % 2)[-1]["drift"]["task"] for step in range(4)]
    assert told == [0.0, 0.0, 1.0, 1.0]
    assert env.unwrapped.batch._task.tolist() == [0]  # type: ignore[attr-defined]
    env.reset()
    assert env.unwrapped.batch._task.tolist() == [1]  # type: ignore[attr-defined]


def test_continuous_tasks_are_scaled_to_their_own_bounds() -> None:
    """A full push of the common space is Pendulum's full torque of 2."""
    env, _ = _inside("task_sequence", ids=["Pendulum-v1", "MountainCarContinuous-v0"])
    assert env.action_space == spaces.Box(-1.0, 1.0, (1,), np.float32)
    pendulum, world = gym.make("Pendulum-v1"), env.unwrapped.batch  # type: ignore[attr-defined]
    seed = int(world.integers(2**31)[0])
    env.reset()
    pendulum.reset(seed=seed)
    for action in (-1.0, 0.25, 1.0):
        ours, theirs = env.step(np.float32([action])), pendulum.step(np.float32([2 * action]))
        assert ours[0].tobytes() == theirs[0].tobytes()
        assert ours[1] == theirs[1]


def test_our_own_worlds_can_be_tasks() -> None:
    """Flattened as Gymnasium does, images too."""
    ids = ["lopgym/Catch-v0", "lopgym/PixelBreakout-v0"]
    env, _ = _inside("task_sequence", ids=ids)
    assert env.observation_space.shape == (400,)
    assert env.reset(seed=0)[0][:30].sum() == 2


CATCHES = [
    ("lopgym/Catch-v0", {"rows": 4, "columns": 3, "drifts": {}}),
    "CartPole-v1",
    ["lopgym/Catch-v0", {"rows": 8}],
]


def test_tasks_have_arguments_of_their_own() -> None:
    """The same id twice, told different things: each is what it would be alone."""
    env, world = _inside("task_sequence", ids=CATCHES)
    assert env.observation_space.shape == (40,)
    for number, (id, options) in ((0, CATCHES[0]), (2, CATCHES[2])):
        world.set_physics(task=number)
        alone, seed = gym.make(str(id), **options), int(world.integers(2**31)[0])
        size = alone.observation_space.shape[0]  # type: ignore[index]
        assert env.reset()[0][:size].tolist() == alone.reset(seed=seed)[0].tolist()
        for action in (0, 2, 2):
            ours, theirs = env.step(action), alone.step(action)
            assert ours[0].tolist() == [*theirs[0].tolist(), *[0.0] * (40 - size)]
            assert ours[1:4] == theirs[1:4]


def test_the_spec_of_a_sequence_makes_it_again() -> None:
    """By way of JSON, in which a pair is a list."""
    env = gym.make("lopgym/TaskSequence-v0", ids=CATCHES, drifts={"task": {"kind": "count", "period": 5}})
    assert env.spec is not None
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    said: list[list[Any]] = [[one.reset(seed=3)[0].tolist()] for one in (env, again)]
    for step in range(40):
        for told, one in zip(said, (env, again), strict=True):
            seen, *rest = one.step(step % 3)
            told.append((seen.tolist(), *rest))
            if rest[1]:
                told.append(one.reset()[0].tolist())
    assert said[0] == said[1]


def test_pictures_of_all_tasks_are_of_one_size() -> None:
    """That of the largest: smaller ones are enlarged and stand in the middle."""
    env, world = _inside("task_sequence", ids=["CartPole-v1", "Acrobot-v1", CATCHES[2]], render_mode="rgb_array")
    frames = []
    for task in range(3):
        world.set_physics(task=task)
        env.reset(seed=0)
        frames.append(env.render())
        alone = world._played(0).render()
        assert {frame.shape for frame in frames} == {(500, 600, 3)}
    times = min(500 // alone.shape[0], 600 // alone.shape[1])
    scene = alone.repeat(times, axis=0).repeat(times, axis=1)
    top, left = ((whole - part) // 2 for whole, part in zip((500, 600), scene.shape[:2], strict=True))
    assert (frames[2][top:, left:][: scene.shape[0], : scene.shape[1]] == scene).all()
    assert len(np.unique(np.delete(frames[2], range(left, left + scene.shape[1]), axis=1).reshape(-1, 3), axis=0)) == 1


def test_a_task_behind_an_extra_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, with the command; the sequence can be made without the others having been stepped."""
    monkeypatch.setitem(sys.modules, "Box2D", None)
    for module in [name for name in sys.modules if name.startswith("gymnasium.envs.box2d")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(
        gym.error.DependencyNotInstalled, match=r"ids: LunarLander-v3 cannot be made: .*pip install"
    ) as error:
        single("task_sequence", ids=["CartPole-v1", "LunarLander-v3"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("extra", "ids"),
    [("mujoco", ("Pendulum-v1", "InvertedPendulum-v5")), ("Box2D", ("CartPole-v1", "LunarLander-v3"))],
)
def test_a_copy_that_would_begin_anew_is_refused(extra: str, ids: tuple[str, str]) -> None:
    """Gymnasium makes a copy from its arguments, and says nothing; we refuse, once such a task has been met."""
    pytest.importorskip(extra)
    env, world = _inside("task_sequence", ids=ids)
    deepcopy(env)  # the first is played
    world.set_physics(task=1)
    env.reset()
    for copied in (deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=rf"^{ids[1]} cannot be copied or pickled once met: a copy would .* anew$"):
            copied(env)


def test_a_body_of_ours_goes_on_in_a_copy_of_a_sequence() -> None:
    """Though Gymnasium's is inside it."""
    pytest.importorskip("mujoco")
    env, _ = _inside("task_sequence", ids=[("lopgym/InvertedPendulum-v0", {"drifts": {}})])
    action = np.full(env.action_space.shape, 0.3, np.float32)
    for _ in range(5):
        env.step(action)
    twins = [deepcopy(env), pickle.loads(pickle.dumps(env)), env]
    for _ in range(5):
        one, other, original = [twin.step(action) for twin in twins]
        assert same(one, original)
        assert same(other, original)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "at least one registered environment"),
        ("CartPole-v1", "must be a list"),
        (["CartPole-v1", "Acrobat-v1"], "no environment 'Acrobat-v1' is registered; did you mean 'Acrobot-v1'"),
        (["CartPole-v1", "Pendulum-v1"], r"actions must be all Discrete or all in bounded Boxes.*Pendulum-v1"),
        ([("CartPole-v1",)], r"\('CartPole-v1',\) must be an id, or a pair of an id and its keyword arguments"),
        ([3], "3 must be an id, or a pair"),
        (
            [("lopgym/Catch-v0", {"rows": "8"})],
            "Catch-v0 with rows='8' cannot be made: .* rows='8' must be a whole number",
        ),
        ([("lopgym/Catch-v0", {"row": 8})], "Catch-v0 with row=8 cannot be made: .* did you mean 'rows'"),
        ([("lopgym/Catch-v0", {"drifts": {"a": object()}})], "the options of lopgym/Catch-v0 must be plain data"),
        (["lost_module:Lost-v0"], "lost_module:Lost-v0 cannot be made: No module named 'lost_module'"),
    ],
)
def test_tasks_that_do_not_fit_are_refused_in_one_line(ids: Any, message: str) -> None:
    """The message names the task."""
    with pytest.raises(ValueError, match=message) as error:
        single("task_sequence", ids=ids)
    assert "\n" not in str(error.value)


def _broken(**options: Any) -> Any:
    raise RuntimeError("the first line\nand the second")


def test_what_a_task_complains_of_is_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever others write into their errors."""
    monkeypatch.setitem(gym.registry, "Broken-v0", gym.envs.registration.EnvSpec("Broken-v0", entry_point=_broken))
    with pytest.raises(ValueError, match=r"^ids: Broken-v0 cannot be made: the first line and the second$"):
        single("task_sequence", ids=["Broken-v0"])


def test_spaces_that_cannot_be_padded_are_refused() -> None:
    """A sequence has no length, an unbounded action no scale."""
    with pytest.raises(ValueError, match=r"the observations of x, Sequence.*have no fixed length"):
        common_observation({"x": spaces.Sequence(spaces.Discrete(2))})
    with pytest.raises(ValueError, match="actions must be all Discrete or all in bounded Boxes"):
        common_action({"x": spaces.Box(-np.inf, np.inf, (1,))})
    with pytest.raises(ValueError, match="actions must be all Discrete or all in bounded Boxes") as error:
        common_action({"x": spaces.Discrete(2), "y": spaces.Box(np.arange(99.0) - 100, np.ones(99), dtype=np.float64)})
    assert "\n" not in str(error.value)


def test_common_bounds_are_the_widest() -> None:
    """By hand: three numbers in [1, 2], then one of a choice of two; padding makes room for 0."""
    common = common_observation({"x": spaces.Box(1.0, 2.0, (3,)), "y": spaces.Discrete(2)})
    assert common.low.tolist() == [0, 0, 0]
    assert common.high.tolist() == [2, 2, 2]
    alone = common_observation({"x": spaces.Box(1.0, 2.0, (3,))})
    assert alone.low.tolist() == [1, 1, 1]


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0.0, 1e6)), min_size=1, max_size=4), st.integers(0, 2**32))
def test_every_action_of_the_common_space_is_one_of_the_tasks(bounds: list[tuple[float, float]], seed: int) -> None:
    """Ends go to ends, and nothing leaves the task's own space."""
    low = np.array([low for low, _ in bounds], dtype=np.float32)
    own = spaces.Box(low, low + np.array([width for _, width in bounds], dtype=np.float32))
    drawn = np.random.default_rng(seed).uniform(-1, 1, size=5).astype(np.float32)
    assert own.contains(own_action(own, drawn))
    assert own_action(own, -np.ones(5)).tolist() == own.low.tolist()
    assert own_action(own, np.ones(5)) == pytest.approx(own.high, rel=1e-6)
