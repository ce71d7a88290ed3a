"""Classic control: Gymnasium's bit for bit, single and batched, moved or not; what is ours is checked by hand."""

from __future__ import annotations

import copy
import math
import pickle
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control.acrobot import wrap
from hypothesis import given
from hypothesis import strategies as st

from lopgym.envs import environments
from lopgym.envs.acrobot import slope, wrapped
from lopgym.envs.build import batched, single
from lopgym.envs.cartpole import CartPole
from lopgym.envs.classic import BatchedClassic
from tests.play import random_actions

THEIRS = {
    "acrobot": "Acrobot-v1",
    "cartpole": "CartPole-v1",
    "mountain_car": "MountainCar-v0",
    "mountain_car_continuous": "MountainCarContinuous-v0",
    "pendulum": "Pendulum-v1",
}
CLASSIC = [entry.name for entry in environments if issubclass(entry.make, BatchedClassic)]
SAME_STEP = {"autoreset_mode": "SameStep"}

every_original = pytest.mark.parametrize("world", THEIRS)
every_classic = pytest.mark.parametrize("world", CLASSIC)


def _ours(world: str) -> str:
    return f"lopgym/{environments[world].facts['id']}"


def _theirs(world: str, copies: int, **options: Any) -> Any:
    return gym.make_vec(THEIRS[world], copies, vectorization_mode="sync", vector_kwargs=SAME_STEP, **options)


def _both(world: str, copies: int, **options: Any) -> list[Any]:
    """Our separate copies and our native batch."""
    separate = {"vectorization_mode": "sync", "vector_kwargs": SAME_STEP}
    return [gym.make_vec(_ours(world), copies, **kind, **options) for kind in (separate, SAME_STEP)]


def _actions(space: Any, seen: Any, rng: Any) -> Any:
    """Push the way things move, to reach the goals; at random now and then, and beyond a Box's bounds, too."""
    drawn = random_actions(space, rng, len(seen))
    forward = (seen[:, -1] > 0).astype(np.float32)
    if isinstance(space, gym.spaces.Box):
        return np.where(rng.random((len(seen), 1)) < 0.3, 1.5 * drawn, (2 * forward - 1)[:, None]).astype(np.float32)
    return np.where(rng.random(len(seen)) < 0.3, drawn, forward.astype(int) * (space.n - 1))


def _assert_same_play(theirs: Any, others: list[Any], steps: int) -> int:
    """Play all alike and compare all bits; return how many episodes terminated."""
    rng, ends = np.random.default_rng(0), 0
    seen = theirs.reset(seed=40)[0]
    assert all(env.reset(seed=40)[0].tobytes() == seen.tobytes() for env in others)
    for _ in range(steps):
        actions = _actions(theirs.single_action_space, seen, rng)
        expected = theirs.step(actions)
        ended = expected[2] | expected[3]
        for said in [env.step(actions) for env in others]:
            for one, other in zip(expected[:4], said[:4], strict=True):
                assert one.dtype == other.dtype
                assert one.tobytes() == other.tobytes()
            if ended.any():
                finals = [np.stack(info["final_obs"][ended]) for info in (expected[4], said[4])]
                assert finals[0].tobytes() == finals[1].tobytes()
        seen, ends = expected[0], ends + int(expected[2].sum())
    return ends


@every_original
def test_without_drift_it_is_gymnasiums(world: str) -> None:
    """Step for step and bit for bit over many seeds and episodes: separate copies and native batch, time limits too."""
    ends = _assert_same_play(_theirs(world, 12), _both(world, 12, drifts={}), 450)
    assert ends > 5 or world == "pendulum"


MOVED: dict[str, dict[str, float]] = {
    "acrobot": {"LINK_LENGTH_1": 1.3, "LINK_MASS_1": 0.7, "LINK_MASS_2": 1.7, "LINK_COM_POS_1": 0.6, "LINK_MOI": 0.8}
    | {"LINK_COM_POS_2": 0.4, "MAX_VEL_1": 7.0, "MAX_VEL_2": 11.0, "torque_noise_max": 0.3, "dt": 0.17},
    "cartpole": {"gravity": 20.0, "force_mag": 7.0, "tau": 0.03, "x_threshold": 1.1},
    "mountain_car": {"gravity": 0.003, "force": 0.0013, "max_speed": 0.06, "min_position": -1.1}
    | {"max_position": 0.58, "goal_position": 0.4},
    "mountain_car_continuous": {"power": 0.0023, "max_speed": 0.06, "min_position": -1.1}
    | {"max_position": 0.58, "goal_position": 0.4},
    "pendulum": {"max_speed": 6.0, "max_torque": 1.7, "dt": 0.07},
}


@pytest.mark.parametrize("tilt", [-0.2, 0.05])
@pytest.mark.parametrize(
    "world", [world for world in CLASSIC if "gravity_angle" in environments[world].make.physics_type.names()]
)
def test_a_batch_tilts_as_its_copies(world: str, tilt: float) -> None:
    """To either side and by little, all copies alike: bit for bit what separate copies do."""
    separate, batch = _both(world, 5, drifts={"gravity_angle": tilt})
    _assert_same_play(separate, [batch], 120)


@every_original
def test_moved_it_is_gymnasiums_with_the_same_attributes(world: str) -> None:
    """A parameter under a name of Gymnasium's is what that attribute is there."""
    theirs = _theirs(world, 6)
    for env in theirs.envs:
        for name, value in MOVED[world].items():
            assert hasattr(env.unwrapped, name)
            setattr(env.unwrapped, name, value)
    _assert_same_play(theirs, _both(world, 6, drifts=MOVED[world]), 300)


def test_pendulum_and_acrobot_under_other_names_are_gymnasiums() -> None:
    """`gravity`, `mass`, `length` are g, m, l; `torque` is the size of Gymnasium's torques."""
    pendulum, acrobot = _theirs("pendulum", 4), _theirs("acrobot", 4)
    for env in pendulum.envs:
        env.unwrapped.g, env.unwrapped.m, env.unwrapped.l = 13.0, 0.7, 1.37
    for env in acrobot.envs:
        env.unwrapped.AVAIL_TORQUE = [-1.7, 0.0, 1.7]
    _assert_same_play(pendulum, _both("pendulum", 4, drifts={"gravity": 13.0, "mass": 0.7, "length": 1.37}), 250)
    _assert_same_play(acrobot, _both("acrobot", 4, drifts={"torque": 1.7}), 150)


@pytest.mark.parametrize("world", ["mountain_car", "mountain_car_continuous"])
def test_the_goal_velocity_is_what_gymnasiums_argument_is(world: str) -> None:
    """A car that has to be fast at the goal, single and batched."""
    ends = [
        _assert_same_play(_theirs(world, 6, **fast), _both(world, 6, drifts=fast), 200)
        for fast in ({}, {"goal_velocity": 0.06})
    ]
    assert ends[0] > ends[1]


def _anywhere(world: str, rng: np.random.Generator) -> dict[str, float]:
    """Every parameter anywhere between its bounds, often on them."""
    fields = environments[world].make.physics_type.__dataclass_fields__
    bounds = {name: (field.metadata["low"], field.metadata["high"]) for name, field in fields.items()}
    return {name: float(rng.choice([*ends, rng.uniform(*ends)])) for name, ends in bounds.items()}


@every_classic
def test_copies_with_physics_of_their_own_are_single_environments(world: str) -> None:
    """Bit for bit, with all parameters anywhere at once; all stays finite, the start is where it should be, too."""
    rng, copies = np.random.default_rng(1), 24
    places = [_anywhere(world, rng) for _ in range(copies)]
    batch = environments[world].make(copies)
    batch.set_physics(**{name: np.array([place[name] for place in places]) for name in places[0]})
    alone = [environments[world].facts["single"]() for _ in range(copies)]
    for env, place in zip(alone, places, strict=True):
        env.set_physics(**place)
    seen = batch.reset(seed=3)[0]
    assert seen.tobytes() == np.stack([env.reset(seed=3 + i)[0] for i, env in enumerate(alone)]).tobytes()
    for _ in range(150):
        actions = _actions(batch.single_action_space, seen, rng)
        seen, reward, terminated, _, _ = batch.step(actions)
        for i, env in enumerate(alone):
            one = env.step(actions[i])
            assert one[0].tobytes() == seen[i].tobytes()
            assert (float(one[1]), one[2]) == (reward[i], terminated[i])
        assert np.isfinite(seen).all()
        if terminated.any():
            seen = batch.reset(options={"reset_mask": terminated})[0]
            for i in terminated.nonzero()[0]:
                assert alone[i].reset()[0].tobytes() == seen[i].tobytes()


@every_classic
@pytest.mark.filterwarnings("ignore:.*already returned terminated")
def test_starts_that_move_are_those_of_single_environments(world: str) -> None:
    """Bit for bit, though other bounds, options, seeds and, for Acrobot, noise come between the starts of a copy."""
    rng, copies = np.random.default_rng(2), 5
    batch, make = environments[world].make(copies), environments[world].facts["single"]
    names = [name for name in ("start_range", "start_angle", "torque_noise_max") if name in batch.physics.names()]
    options: dict[str, Any] = {"x_init": 0.5} if world == "pendulum" else {"low": -0.53, "high": -0.4}
    alone = [make() for _ in range(copies)]
    batch.reset(seed=3)
    for i, env in enumerate(alone):
        env.reset(seed=3 + i)
    for number in range(60):
        if number % 7 == 3:
            moved = {name: rng.choice([0.0, 0.1, 0.2], size=copies) for name in names}
            batch.set_physics(**{name: values[0] if number % 2 else values for name, values in moved.items()})
            for i, env in enumerate(alone):
                env.set_physics(**{name: values[0 if number % 2 else i] for name, values in moved.items()})
        mask = rng.random(copies) < 0.6
        mask[number % copies] = True
        seeds = [int(rng.integers(99)) if rng.random() < 0.1 else None for _ in range(copies)]
        given = options if number % 5 == 2 else {}
        seen = batch.reset(seed=seeds, options={**given, "reset_mask": mask})[0]
        for i in mask.nonzero()[0]:
            assert alone[i].reset(seed=seeds[i], options=given or None)[0].tobytes() == seen[i].tobytes()
        actions = random_actions(batch.single_action_space, rng, copies)
        seen = batch.step(actions)[0]
        assert all(env.step(actions[i])[0].tobytes() == seen[i].tobytes() for i, env in enumerate(alone))


@every_original
def test_the_start_takes_gymnasiums_options(world: str) -> None:
    """They win over the parameters of the start, of which those not given are the defaults."""
    options: dict[str, Any] = {"x_init": 0.5} if world == "pendulum" else {"low": -0.55}
    theirs = gym.make(THEIRS[world])
    expected = np.stack([theirs.reset(seed=seed, options=options)[0] for seed in (8, 9)])
    for env in _both(world, 2, drifts={}):
        assert env.reset(seed=8, options=options)[0].tobytes() == expected.tobytes()
    for env in (single(world), batched(world=world)):
        for wrong in ("x_init", "y_init") if world == "pendulum" else ("low", "high"):
            with pytest.raises(ValueError, match="could not be converted"):
                env.reset(options={wrong: "far"})


@pytest.mark.parametrize("world", ["acrobot", "cartpole", "mountain_car", "mountain_car_continuous", "moving_target"])
def test_a_start_from_nowhere_is_refused(world: str) -> None:
    """The lower end of the start has to be below the upper one, however often it is asked for."""
    lone, batch = single(world), batched(world=world)
    for env in (lone, batch, lone, batch):
        with pytest.raises(ValueError, match=r"0\.2.*0\.1"):
            env.reset(options={"low": 0.2, "high": 0.1})


@pytest.mark.parametrize("world", ["mountain_car_continuous", "pendulum"])
def test_continuous_actions_of_another_shape_are_refused(world: str) -> None:
    """One line says which shape is allowed, rather than one copy's action for all."""
    batch = environments[world].make(3)
    batch.reset(seed=0)
    for wrong in (np.zeros(3, np.float32), np.zeros((1, 1), np.float32), np.zeros((3, 2), np.float32)):
        with pytest.raises(ValueError, match=r"allowed is \(3, 1\)"):
            batch.step(wrong)


@every_classic
def test_a_copy_made_after_drawing_goes_on_and_draws_alike(world: str) -> None:
    """Pygame's surfaces are left behind by deepcopy and pickle."""
    for env in (single(world, render_mode="rgb_array"), batched(2, world=world, render_mode="rgb_array")):
        env.reset(seed=0)
        env.render()
        twins = [env, copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
        action = env.action_space.sample()
        told = [(twin.step(action)[0].tobytes(), np.asarray(twin.render()).tobytes()) for twin in twins]
        assert told[0] == told[1] == told[2]


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(-3, 3), st.floats(-math.pi, math.pi), st.floats(0.1, 50))
def test_tilted_cartpole_obeys_lagrange(x_dot: float, theta: float, theta_dot: float, tilt: float, g: float) -> None:
    """The accelerations solve the equations of motion with the vector of gravity, written down anew."""
    env = environments["cartpole"].facts["single"]()
    env.set_physics(gravity=g, gravity_angle=tilt, masspole=0.3, length=0.8)
    env.reset(seed=0)
    env.state = np.array([0.1, x_dot, theta, theta_dot])
    env.step(1)
    mass, pole, length, push = 1.3, 0.3, 0.8, 10.0
    sideways, down = g * math.sin(tilt), g * math.cos(tilt)
    inertia = [[mass, pole * length * math.cos(theta)], [pole * length * math.cos(theta), 4 / 3 * pole * length**2]]
    pulls = [push + mass * sideways + pole * length * theta_dot**2 * math.sin(theta)]
    pulls += [pole * length * (down * math.sin(theta) + sideways * math.cos(theta))]
    expected = np.array([x_dot, theta_dot]) + 0.02 * np.linalg.solve(inertia, pulls)
    assert env.state[[1, 3]] == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(-6, 6), st.floats(-6, 6), st.floats(-3, 3), st.floats(0.1, 50))
def test_tilted_acrobot_obeys_lagrange(
    theta1: float, theta2: float, speed1: float, speed2: float, tilt: float, g: float
) -> None:
    """The accelerations solve H q'' + C + G = (0, u) of the double pendulum, written down anew from its energies."""
    m1, m2, l1, c1, c2, moi, torque = 0.7, 1.3, 1.1, 0.6, 0.4, 0.9, 0.5
    physics = {"LINK_MASS_1": m1, "LINK_MASS_2": m2, "LINK_LENGTH_1": l1, "LINK_COM_POS_1": c1, "LINK_COM_POS_2": c2}
    of = SimpleNamespace(**physics, LINK_MOI=moi, gravity=g, gravity_angle=tilt)
    found = slope(of, np.array([theta1, theta2, speed1, speed2]), torque)
    coupled = m2 * (c2 * c2 + l1 * c2 * math.cos(theta2)) + moi
    first = m1 * c1 * c1 + m2 * (l1 * l1 + c2 * c2 + 2 * l1 * c2 * math.cos(theta2)) + 2 * moi
    twist = m2 * l1 * c2 * math.sin(theta2)
    lower = m2 * c2 * g * math.sin(theta1 + theta2 - tilt)  # height is lowest where gravity points
    upper = (m1 * c1 + m2 * l1) * g * math.sin(theta1 - tilt) + lower
    pulls = [twist * (speed2**2 + 2 * speed1 * speed2) - upper, torque - twist * speed1**2 - lower]
    expected = np.linalg.solve([[first, coupled], [coupled, m2 * c2 * c2 + moi]], pulls)
    assert found[:2].tolist() == [speed1, speed2]
    assert found[2:] == pytest.approx(expected, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("tilt", [-2.0, 0.4, 3.0])
def test_a_pendulum_turned_with_gravity_swings_alike(tilt: float) -> None:
    """Turning gravity and rod by one angle turns the whole swing; gravity to the right pulls to the right."""
    level, tilted = (environments["pendulum"].facts["single"]() for _ in range(2))
    tilted.set_physics(gravity_angle=tilt)
    for env, angle in ((level, 0.3), (tilted, 0.3 + tilt)):
        env.reset(seed=0)
        env.state = np.array([angle, 0.1])
    rng = np.random.default_rng(0)
    for _ in range(30):
        torque = rng.uniform(-2, 2, size=1).astype(np.float32)
        level.step(torque)
        tilted.step(torque)
        assert tilted.state - [tilt, 0] == pytest.approx(level.state, abs=1e-6)
    tilted.set_physics(gravity_angle=math.pi / 2)
    tilted.state = np.array([0.0, 0.0])
    assert tilted.step(np.zeros(1, np.float32))[0][1] < 0  # Gymnasium counts, and draws, angles to the left


@pytest.mark.parametrize(("world", "coasting"), [("mountain_car", 1), ("mountain_car_continuous", np.zeros(1, "f"))])
@given(st.floats(-1.1, 0.3), st.floats(-math.pi, math.pi), st.floats(0.0005, 0.01))
def test_tilted_gravity_pulls_a_car_down_its_potential(
    world: str, coasting: Any, position: float, tilt: float, g: float
) -> None:
    """The track is sin(3 x) / 3 high: a car that coasts gets faster by minus the slope of its potential there."""
    env = environments[world].facts["single"]()
    env.set_physics(gravity=g, gravity_angle=tilt)
    env.reset(seed=0)
    env.state = np.array([position, 0.0])
    env.step(coasting)

    def potential(x: float) -> float:
        return g * math.cos(tilt) * math.sin(3 * x) / 3 - g * math.sin(tilt) * x

    downhill = (potential(position - 1e-4) - potential(position + 1e-4)) / 2e-4
    assert env.state[1] == pytest.approx(downhill, abs=1e-9)


def test_continuous_car_by_hand() -> None:
    """One step, on paper: v = a power - g cos(3 x), reward -0.1 a^2, and 100 at the goal."""
    env = single("mountain_car_continuous", drifts={"gravity": 0.005, "power": 0.002, "start_range": 0.0})
    env.reset(seed=0)
    seen, reward, terminated, _, _ = env.step(np.array([0.5], np.float32))
    speed = 0.5 * 0.002 - 0.005 * math.cos(-1.5)
    assert seen == pytest.approx([-0.5 + speed, speed], abs=1e-7)
    assert (reward, terminated) == (pytest.approx(-0.025), False)
    env.unwrapped.state = np.array([0.44, 0.05], np.float32)  # type: ignore[attr-defined]
    assert env.step(np.array([1.0], np.float32))[1:3] == (pytest.approx(99.9), True)


def test_wrapping_is_gymnasiums_and_ends() -> None:
    """The same bits for angles that occur there; far ones, that it would turn for ever, are turned at once."""
    angles = np.random.default_rng(0).uniform(-100, 100, size=2000)
    assert wrapped(angles).tolist() == [wrap(angle, -math.pi, math.pi) for angle in angles]
    far = np.array([1e6, -1e6, 1e22])
    assert (np.abs(wrapped(far)) <= math.pi).all()
    assert np.cos(wrapped(far[:2])) == pytest.approx(np.cos(far[:2]))


def test_moving_target_pays_where_it_should() -> None:
    """Worked out by hand: in the interval and in the cone, ends included or not by far; else it is CartPole."""
    drifts = {"target_position": 1.0, "target_range": 0.25, "cone_angle": 0.1, "cone_range": 0.05}
    env, cart = single("moving_target", drifts=drifts), gym.make("CartPole-v1")
    places = [(1.0, 0.1, 1.0), (1.2, 0.06, 1.0), (0.8, 0.14, 1.0)]
    places += [(1.3, 0.1, 0.0), (0.7, 0.1, 0.0), (1.0, 0.16, 0.0), (1.0, 0.04, 0.0), (-1.0, -0.1, 0.0)]
    for x, theta, pay in places:
        for one in (env, cart):
            one.reset(seed=0)
            one.unwrapped.state = np.array([x, 0.0, theta, 0.0])  # type: ignore[attr-defined]
        said, theirs = env.step(1), cart.step(1)
        assert said[1] == pay
        assert said[0].tobytes() == theirs[0].tobytes()
        assert said[2] == theirs[2]


def test_gravity_can_tilt_and_come_back_in_an_episode() -> None:
    """By either way of moving it, in copies too: each step is that of an environment that is always tilted so."""
    rng, angles = np.random.default_rng(5), (0.0, 0.2, 0.2, 0.0, 0.0, -0.1, 0.0)
    env = environments["cartpole"].facts["single"]()
    env.reset(seed=0)
    for number, angle in enumerate(angles):
        state, action = rng.uniform(-0.05, 0.05, 4), int(rng.integers(2))
        if number % 2:
            env.move("gravity_angle", angle)
        else:
            env.set_physics(gravity_angle=angle)
        always = single("cartpole", drifts={"gravity_angle": angle})
        always.reset(seed=0)
        always.unwrapped.state = state  # type: ignore[attr-defined]
        expected = always.step(action)[:4]
        for one in (copy.copy(env), copy.deepcopy(env), pickle.loads(pickle.dumps(env)), env):
            one.state = state
            told = one.step(action)[:4]
            assert (told[0].tobytes(), *told[1:]) == (expected[0].tobytes(), *expected[1:])


def test_a_cartpole_of_somebody_else_tilts_and_stays_theirs() -> None:
    """A subclass keeps its own step, around the tilted one."""

    class Paid(CartPole):
        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            observation, _, *rest = super().step(action)
            return observation, 7.0, *rest

    theirs, ours = Paid(), CartPole()
    for env in (theirs, ours):
        env.reset(seed=0)
        env.set_physics(gravity_angle=0.3)
    told, expected = theirs.step(1), ours.step(1)
    assert (type(theirs), told[1], told[0].tobytes()) == (Paid, 7.0, expected[0].tobytes())


@every_classic
def test_single_environments_keep_numbers_of_python(world: str) -> None:
    """NumPy's are turned into them, by either way of moving; one number for each of several copies is refused."""
    env = environments[world].facts["single"]()
    name = env.physics.names()[0]
    for move in (lambda value: env.set_physics(**{name: value}), lambda value: env.move(name, value)):
        low, high = (env.physics.__dataclass_fields__[name].metadata[end] for end in ("low", "high"))
        move(np.float64((low + high) / 2))
        assert type(getattr(env, name)) is type(getattr(env.physics, name)) is float
        with pytest.raises(TypeError):
            move(np.array([low, high]))


def test_moving_target_is_drawn() -> None:
    """A stripe lies below the interval, and nowhere else."""
    env = single("moving_target", drifts={"target_position": 1.2, "target_range": 0.6}, render_mode="rgb_array")
    env.reset(seed=0)
    frame: Any = env.render()
    green = (frame[-1] == [78, 154, 6]).all(axis=1).nonzero()[0]
    assert (green[0], green[-1], len(green)) == (375, 524, 150)  # 0.6 m and 1.8 m at 125 pixels a metre from 300
