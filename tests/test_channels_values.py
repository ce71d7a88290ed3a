"""What each layer does to numbers, worked out by hand or from the laws that it names."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lopgym.envs.action_channel import ActionLayer
from lopgym.envs.advance_start import AdvanceStart
from lopgym.envs.delay_action import DelayAction
from lopgym.envs.delay_observation import DelayObservation
from lopgym.envs.delay_reward import DelayReward
from lopgym.envs.disable_action import DisableAction
from lopgym.envs.flip_action import FlipAction
from lopgym.envs.flip_observation import FlipObservation
from lopgym.envs.flip_reward import FlipReward
from lopgym.envs.gather_reward import GatherReward
from lopgym.envs.layers import layers
from lopgym.envs.limit_episode import LimitEpisode
from lopgym.envs.luck import Luck
from lopgym.envs.mask_observation import MaskObservation
from lopgym.envs.noise_action import NoiseAction
from lopgym.envs.noise_observation import NoiseObservation
from lopgym.envs.noise_reward import NoiseReward
from lopgym.envs.observation_channel import ObservationLayer
from lopgym.envs.offset_observation import OffsetObservation
from lopgym.envs.permute_observation import PermuteObservation, orders, renamed
from lopgym.envs.rotate_observation import RotateObservation
from lopgym.envs.scale_action import ScaleAction
from lopgym.envs.scale_observation import ScaleObservation
from lopgym.envs.shift_reward import ShiftReward
from lopgym.envs.slip_action import SlipAction
from lopgym.envs.stick_action import StickAction

STICKS = gym.spaces.Box(np.array([-1.0, 0.0]), np.array([1.0, 4.0]), dtype=np.float64)


class Script(gym.Env[Any, Any]):
    """Says rows of a table one after the other, pays what is written, and remembers what it was told to do."""

    def __init__(self, rows: Any = (), rewards: Any = (), actions: gym.Space[Any] = STICKS) -> None:
        """Set up an episode of as many steps as there are `rewards`; row 0 is what `reset` says."""
        self._rewards = list(rewards) or [0.0] * (len(rows) - 1)
        self._rows = np.asarray(rows if len(rows) else np.zeros((len(self._rewards) + 1, 1)), dtype=np.float64)
        size = self._rows[0].shape
        self.observation_space, self.action_space = gym.spaces.Box(-9.0, 9.0, size, np.float64), actions
        self.told: list[Any] = []
        self._at = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Say the first row."""
        self._at, self.told = 0, []
        return self._rows[0], {}

    def step(self, action: Any) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """Say the next row."""
        self.told.append(np.asarray(action).tolist())
        self._at += 1
        return self._rows[self._at], self._rewards[self._at - 1], self._at == len(self._rewards), False, {}


def _seen(layer: type[ObservationLayer], rows: Any, **physics: Any) -> NDArray[np.float64]:
    """All observations of an episode of zeros as actions, shape (rows, D)."""
    env = layer(Script(rows))
    env.set_physics(**physics)
    first = env.reset(seed=0)[0]
    return np.stack([first, *(env.step(np.zeros(2))[0] for _ in range(len(rows) - 1))])


def _told(layer: Any, actions: Any, space: gym.Space[Any] = STICKS, seed: int = 0, **physics: Any) -> list[Any]:
    """What an environment is told to do when an agent wants `actions`."""
    script = Script(rewards=[0.0] * len(actions), actions=space)
    env = layer(script)
    env.set_physics(**physics)
    env.reset(seed=seed)
    for action in actions:
        env.step(action if isinstance(space, gym.spaces.Discrete) else np.asarray(action, dtype=np.float64))
    return script.told


def _paid(layer: Any, rewards: Any, moves: dict[int, dict[str, Any]] | None = None, **physics: Any) -> list[float]:
    """What is paid in an episode; `moves` says what changes before which step."""
    env = layer(Script(rewards=rewards))
    env.set_physics(**physics)
    env.reset(seed=0)
    paid = []
    for at in range(len(rewards)):
        env.set_physics(**(moves or {}).get(at, {}))
        paid.append(env.step(np.zeros(2))[1])
    return paid


def _named(kind: type) -> list[str]:
    """Names of the registered layers of a kind."""
    makers: list[tuple[str, Any]] = [(layer.name, layer.make) for layer in layers]
    return [name for name, make in makers if issubclass(make, kind)]


ROWS = np.random.default_rng(0).uniform(-2.0, 2.0, (80, 5))


@pytest.mark.parametrize("name", _named(ObservationLayer))
def test_whether_the_optimum_survives_an_observation_layer(name: str) -> None:
    """Where it is said to, the true observation follows from the seen one: all such layers are affine."""
    make: Any = layers[name].make
    changed = {"observation_offset": 0.7, "observation_scale": 0.3, "observation_noise": 0.5, "observation_mask": 0.5}
    physics = {field: changed.get(field, 3) for field in make.physics_type.names()}
    seen = np.column_stack([_seen(make, ROWS, **physics), np.ones(len(ROWS))])
    rebuilt = seen @ np.linalg.lstsq(seen, ROWS)[0]
    assert (np.abs(rebuilt - ROWS).max() < 1e-9) == layers[name].facts["preserves_optimum"]
    assert np.abs(seen[:, :-1] - ROWS).max() > 0.1


@pytest.mark.parametrize("name", _named(ActionLayer))
def test_whether_the_optimum_survives_an_action_layer(name: str) -> None:
    """Where it is said to, everything can still be done, each thing by one action."""
    make: Any = layers[name].make
    changed = {"action_scale": 0.5, "action_noise": 0.5, "action_stickiness": 0.9, "action_slip": 0.9}
    physics: dict[str, Any] = {field: changed.get(field, 3) for field in make.physics_type.names()}
    sticks, buttons = itertools.product([-1.0, 0.0, 1.0], [0.0, 2.0, 4.0]), gym.spaces.Discrete(6)
    actions, space = (
        (range(6), buttons) if name in ("permute_action", "slip_action") else ([*map(list, sticks)], STICKS)
    )
    told = _told(make, actions, space, **physics)
    assert (sorted(told) == sorted(actions)) == layers[name].facts["preserves_optimum"]
    assert told != list(actions)


def test_signs_are_turned_round() -> None:
    """Absolute values stay, the same elements turn at every step, and 20 numbers give many patterns."""
    patterns = set()
    for number in range(1, 21):
        signs = _seen(FlipObservation, ROWS, observation_signs=number) / ROWS
        assert (np.abs(signs) == 1.0).all()
        assert (signs == signs[0]).all()
        patterns.add(tuple(signs[0]))
    assert len(patterns) > 10
    assert set(np.array(list(patterns)).ravel()) == {-1.0, 1.0}


def test_an_offset_is_as_long_as_it_says() -> None:
    """Its root mean square is the parameter; the direction goes by its number; minus is the other way."""
    shift = _seen(OffsetObservation, ROWS, observation_offset=0.5) - ROWS
    assert np.allclose(shift, shift[0])
    assert np.sqrt(np.square(shift[0]).mean()) == pytest.approx(0.5)
    assert np.allclose(_seen(OffsetObservation, ROWS, observation_offset=-0.5) - ROWS, -shift)
    other = _seen(OffsetObservation, ROWS, observation_offset=0.5, observation_offset_direction=1) - ROWS
    assert not np.allclose(other, shift)


def test_scale_and_rotation() -> None:
    """One multiplies; the other keeps all lengths and angles, and is no permutation."""
    assert (_seen(ScaleObservation, ROWS, observation_scale=0.25) == ROWS * 0.25).all()
    turned = _seen(RotateObservation, ROWS, observation_rotation=2)
    assert np.allclose(turned @ turned.T, ROWS @ ROWS.T)
    assert not np.allclose(np.sort(np.abs(turned[0])), np.sort(np.abs(ROWS[0])))


def test_rotations_are_uniform() -> None:
    """Over 400 numbers the image of a unit vector has mean 0 and covariance I / D, up to four standard errors."""
    images = [_seen(RotateObservation, [[1.0, 0.0, 0.0]], observation_rotation=k)[0] for k in range(1, 401)]
    assert np.abs(np.mean(images, axis=0)).max() < 4 / np.sqrt(3 * 400)
    assert np.abs(np.cov(np.transpose(images)) - np.eye(3) / 3).max() < 0.06


def test_a_mask_hides_its_fraction_and_the_same_elements() -> None:
    """A larger fraction hides more of the same order; fractions are rounded; the number of the order matters."""
    rows = np.full((3, 10), 5.0)
    hidden = {f: _seen(MaskObservation, rows, observation_mask=f) == 0.0 for f in (0.04, 0.3, 0.66, 1.0)}
    assert [mask.sum(axis=1).tolist() for mask in hidden.values()] == [[0] * 3, [3] * 3, [7] * 3, [10] * 3]
    assert (hidden[0.66] >= hidden[0.3]).all()
    orders = {tuple(_seen(MaskObservation, rows, observation_mask=0.5, observation_mask_order=k)[0]) for k in range(10)}
    assert len(orders) > 5


def test_observations_come_late() -> None:
    """Two steps late, the first one standing in; a delay that changes shows what there was then."""
    rows = [[float(t)] for t in range(7)]
    assert _seen(DelayObservation, rows, observation_delay=2)[:, 0].tolist() == [0, 0, 0, 1, 2, 3, 4]
    env = DelayObservation(Script(rows))
    seen = [env.reset(seed=0)[0][0]]
    for delay in (0, 3, 1, 0, 50):
        env.set_physics(observation_delay=delay)
        seen.append(env.step(np.zeros(2))[0][0])
    assert seen == [0, 1, 0, 2, 4, 0]
    assert env.reset()[0][0] == 0


def test_states_that_are_numbers_are_renamed() -> None:
    """In a table of states, single and batched: one to one, as the order says, another one for another number."""
    lake = gym.make("FrozenLake-v1", is_slippery=False, map_name="8x8")
    env = PermuteObservation(lake)
    names = {}
    for number in (0, 1, 0):
        env.set_physics(observation_order=number)
        seen = [env.reset(seed=0)[0], *(env.step(action)[0] for action in [2] * 7 + [1] * 6)]
        names.setdefault(number, seen)
        assert seen == names[number]
        order = orders(0, "observation_order", 64, number)
        assert seen == [order[state] for state in [*range(8), *range(15, 63, 8)]]
        assert all(state in env.observation_space for state in seen)
    assert names[0] != names[1]
    told = renamed(np.array([5, 6, 7]), np.array([[2, 0, 1], [2, 0, 1], [0, 1, 2]]), 5)
    assert told.tolist() == [7, 5, 7]


def test_states_that_are_numbers_come_late() -> None:
    """As arrays do."""
    env = DelayObservation(gym.make("FrozenLake-v1", is_slippery=False, map_name="8x8"))
    env.set_physics(observation_delay=2)
    assert [env.reset(seed=0)[0], *(env.step(2)[0] for _ in range(5))] == [0, 0, 0, 1, 2, 3]


def test_noise_is_normal_and_independent() -> None:
    """Moments of 80 000 numbers to four standard errors; no correlation between steps, elements or copies."""
    luck = Luck("test", copies=2, size=4)
    luck.begin(np.ones(2, dtype=np.bool_), [0, 1])
    drawn = []
    for _ in range(10_000):
        luck.step()
        drawn.append(luck.normal())
    numbers = np.array(drawn).reshape(10_000, 8)
    size = numbers.size
    moments = [(numbers**k).mean() for k in (1, 2, 3, 4)]
    errors = np.sqrt(np.array([1, 2, 15, 96]) / size)  # of the variance of x^k under the normal law
    assert (np.abs(np.array(moments) - [0, 1, 0, 3]) < 4 * errors).all()
    lagged = np.corrcoef(np.column_stack([numbers[1:], numbers[:-1]]).T) - np.eye(16)
    assert np.abs(lagged).max() < 5 / np.sqrt(10_000)


def test_noise_has_its_deviation_and_follows_from_the_seed() -> None:
    """On observations, actions and rewards; the noise of one is not that of another."""
    rows = np.zeros((3000, 2))
    seen = _seen(NoiseObservation, rows, observation_noise=0.5)
    assert seen.std() == pytest.approx(0.5, rel=0.05)
    assert (seen == _seen(NoiseObservation, rows, observation_noise=0.5)).all()
    wide = gym.spaces.Box(-99.0, 99.0, (2,), np.float64)
    told = np.array(_told(NoiseAction, rows, wide, action_noise=2.0))
    assert told.std() == pytest.approx(2.0, rel=0.05)
    assert not np.allclose(told[0], _told(NoiseAction, rows[:1], wide, seed=1, action_noise=2.0))
    paid = np.array(_paid(NoiseReward, [1.0] * 3000, reward_noise=3.0))
    assert paid.std() == pytest.approx(3.0, rel=0.06)
    assert paid.mean() == pytest.approx(1.0, abs=0.2)
    assert abs(np.corrcoef(seen[1:, 0], told[:-1, 0])[0, 1]) < 0.1


def test_actions_are_scaled_turned_and_lost() -> None:
    """In the Box [-1, 1] x [0, 4], by hand."""
    assert _told(ScaleAction, [[0.5, 1.0], [-0.8, 3.0]], action_scale=2.0) == [[1.0, 2.0], [-1.0, 4.0]]
    assert _told(ScaleAction, [[0.5, 1.0]], action_scale=0.0) == [[0.0, 0.0]]
    patterns = {tuple(_told(FlipAction, [[0.25, 1.0]], action_signs=k)[0]) for k in range(20)}
    assert patterns == {(0.25, 1.0), (-0.25, 1.0), (0.25, 3.0), (-0.25, 3.0)}
    dead = [_told(DisableAction, [[0.25, 1.0]], dead_actuator=k)[0] for k in range(4)]
    assert dead == [[0.25, 1.0], [0.0, 1.0], [0.25, 0.0], [0.0, 1.0]]
    above = gym.spaces.Box(1.0, 4.0, (1,), np.float64)
    assert _told(DisableAction, [[3.0]], above, dead_actuator=1) == [[1.0]]
    noisy = np.array(_told(NoiseAction, [[0.9, 0.1]] * 200, action_noise=1.0))
    assert (noisy.min(axis=0) == STICKS.low).all()
    assert (noisy.max(axis=0) <= STICKS.high).all()


def test_actions_are_done_late() -> None:
    """Three steps late, the first one standing in, whatever the kind of action."""
    assert _told(DelayAction, [4, 1, 2, 3, 0], gym.spaces.Discrete(5), action_delay=3) == [4, 4, 4, 4, 1]
    sticks = [[0.1 * t, 1.0 * t] for t in range(4)]
    assert _told(DelayAction, sticks, action_delay=1) == [sticks[0], *sticks[:3]]
    script = Script(rewards=[0.0] * 4, actions=gym.spaces.Discrete(5))
    env = DelayAction(script)
    env.set_physics(action_delay=2)
    for want in ([1, 2], [3, 4]):  # nothing of one episode is done in the next
        env.reset()
        for action in want:
            env.step(action)
        assert script.told == [want[0]] * 2


def test_actions_stick_as_often_as_they_should() -> None:
    """What is repeated is what was done, not what was wanted; 0.25 of 4000 to four standard errors."""
    buttons = gym.spaces.Discrete(5000)
    told = _told(StickAction, range(4000), buttons, action_stickiness=0.25)
    fresh = [t for t in range(4000) if told[t] == t]
    assert all(told[t] in (t, told[t - 1]) for t in range(1, 4000))
    assert abs(1 - len(fresh) / 4000 - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 4000)
    script = Script(rewards=[0.0] * 4, actions=buttons)
    env = StickAction(script)
    env.set_physics(action_stickiness=1.0)
    for want in ([7, 8, 9], [1, 2, 3]):  # an episode has a first action of its own
        env.reset()
        for action in want:
            env.step(action)
        assert script.told == [want[0]] * 3


def test_actions_slip_as_often_as_they_should() -> None:
    """At 0.4 of 6000, with five actions: 0.08 go to each, the chosen one included, to four standard errors."""
    buttons = gym.spaces.Discrete(5, start=3)
    told = np.array(_told(SlipAction, [4] * 6000, buttons, action_slip=0.4))
    shares = np.bincount(told - 3, minlength=5) / 6000
    assert np.abs(shares - [0.08, 0.68, 0.08, 0.08, 0.08]).max() < 4 * np.sqrt(0.68 * 0.32 / 6000)
    assert set(_told(SlipAction, [4] * 200, buttons, action_slip=1.0)) == set(range(3, 8))
    slips = (told != 4).astype(float)
    assert abs(np.corrcoef(slips[1:], slips[:-1])[0, 1]) < 4 / np.sqrt(6000)


def test_rewards_are_flipped_and_shifted() -> None:
    """An odd number of flips is one."""
    assert [_paid(FlipReward, [1.0, -2.0], reward_flips=k) for k in (1, 2, 3)] == [
        [-1.0, 2.0],
        [1.0, -2.0],
        [-1.0, 2.0],
    ]
    assert _paid(ShiftReward, [1.0, -2.0], reward_shift=-0.5) == [0.5, -2.5]


def test_rewards_are_paid_late() -> None:
    """Two steps late and the rest at the end; a reward keeps its pay day when the delay shrinks."""
    assert _paid(DelayReward, [1, 2, 4, 8, 16], reward_delay=2) == [0, 0, 1, 2, 28]
    assert _paid(DelayReward, [1, 2, 4, 8, 16], {1: {"reward_delay": 0}}, reward_delay=2) == [0, 2, 5, 8, 16]
    assert _paid(DelayReward, [1, 2, 4], reward_delay=100) == [0, 0, 7]


def test_rewards_are_paid_together() -> None:
    """Every second step and at the end; when the interval moves, what was gathered is paid on the next pay day."""
    assert _paid(GatherReward, [1, 2, 4, 8, 16], reward_interval=2) == [0, 3, 0, 12, 16]
    assert _paid(GatherReward, [1, 2, 4, 8, 16], {2: {"reward_interval": 4}}, reward_interval=3) == [0, 0, 0, 15, 16]
    assert _paid(GatherReward, [1, 2, 4], {2: {"reward_interval": 1}}, reward_interval=9) == [0, 0, 7]


@given(
    st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 100)), min_size=1, max_size=150),
    st.sampled_from([(DelayReward, "reward_delay", 0), (GatherReward, "reward_interval", 1)]),
)
@settings(derandomize=True, max_examples=40, deadline=None)
def test_no_reward_is_lost(steps: list[tuple[int, int]], kind: tuple[Any, str, int]) -> None:
    """The sum over an episode is what was earned, however the parameter moves; whole numbers, so exactly."""
    layer, name, least = kind
    moves = {at: {name: max(least, value)} for at, (_, value) in enumerate(steps)}
    assert sum(_paid(layer, [float(reward) for reward, _ in steps], moves)) == sum(reward for reward, _ in steps)


def test_episodes_begin_with_random_steps() -> None:
    """0 to 4 of them, as often each; the actions are uniform; nobody is paid for them; they follow from the seed."""
    script = Script(rewards=[5.0] * 9, actions=gym.spaces.Discrete(3, start=-1))
    env = AdvanceStart(script)
    env.set_physics(start_steps=4)
    env.reset(seed=0)
    begun = []
    for _ in range(1000):
        env.reset()
        begun.append(tuple(script.told))
    counts = [sum(len(one) == n for one in begun) for n in range(5)]
    told = [action for one in begun for action in one]
    errors = 4 * np.sqrt(np.array([0.2 * 0.8 / 1000, 2 / 9 / len(told)]))
    assert sum(counts) == 1000
    assert np.abs(np.array(counts) / 1000 - 0.2).max() < errors[0]
    assert np.abs(np.bincount(np.array(told) + 1) / len(told) - 1 / 3).max() < errors[1]
    assert len({env.reset(seed=7)[0].tobytes(), *(env.reset(seed=7)[0].tobytes() for _ in range(3))}) == 1
    assert env.step(0)[1] == 5.0


def test_random_steps_that_end_an_episode_go_on_in_the_next() -> None:
    """With episodes of two steps: what is seen is row 0, 1 or 0 again, by how many steps there were; never the last."""
    script = Script([[0.0], [1.0], [2.0]])
    env, seen = AdvanceStart(script), []
    env.set_physics(start_steps=3)
    for seed in range(60):
        seen.append((env.reset(seed=seed)[0][0], len(script.told)))
        assert env.step(np.zeros(2))[0][0] == seen[-1][0] + 1
    assert set(seen) == {(0.0, 0), (1.0, 1)}


@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.Discrete(3, start=2),
        gym.spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[0, 1], [2, 3]]),
        gym.spaces.MultiBinary(4),
        gym.spaces.Box(np.array([[-1.0, 2.0]], dtype=np.float32), np.array([[1.0, 5.0]], dtype=np.float32)),
    ],
    ids=lambda space: type(space).__name__,
)
def test_random_steps_are_actions(space: gym.Space[Any]) -> None:
    """Of the space, all over it, of its shape and type."""
    script = Script(rewards=[0.0] * 50, actions=space)
    drawn: list[Any] = []
    script.step = lambda action: (drawn.append(action), Script.step(script, action))[1]  # type: ignore[method-assign]
    env = AdvanceStart(script)
    env.set_physics(start_steps=40)
    for seed in range(20):
        env.reset(seed=seed)
    assert all(action in space for action in drawn)
    flat = np.array(drawn, dtype=np.float64).reshape(len(drawn), -1)
    sampled = np.array([space.sample() for _ in range(2000)], dtype=np.float64).reshape(2000, -1)
    assert np.abs(flat.mean(axis=0) - sampled.mean(axis=0)).max() < 0.3
    assert flat.std(axis=0) == pytest.approx(sampled.std(axis=0), rel=0.15)


def test_episodes_are_cut() -> None:
    """At the limit; at once when it falls below the running episode; never without one."""
    env = LimitEpisode(Script(rewards=[0.0] * 9))
    for limits, expected in (([3, 3, 3], [0, 0, 1]), ([0, 0, 0, 2], [0, 0, 0, 1]), ([0] * 8, [0] * 8)):
        env.reset()
        cut = []
        for limit in limits:
            env.set_physics(max_steps=limit)
            cut.append(env.step(np.zeros(2))[3])
        assert cut == expected


def test_spaces_without_meaning_are_refused_in_one_line() -> None:
    """The error says which space and what is allowed."""
    lake = gym.make("FrozenLake-v1")
    pixels, endless = Script([[0.0]]), Script([[0.0]], actions=gym.spaces.Box(-np.inf, np.inf, (1,)))
    pixels.observation_space = gym.spaces.Box(0, 255, (8, 8), np.uint8)
    large = Script([[0.0]])
    large.observation_space = gym.spaces.Box(-1.0, 1.0, (1025,))
    taken = Script([[0.0]], actions=gym.spaces.Text(3))
    refused: list[tuple[Any, Any, str]] = [
        (FlipObservation, lake, r"observations of Discrete\(16\) .* Box of floats"),
        (NoiseObservation, pixels, r"uint8\) .* Box of floats"),
        (MaskObservation, lake, r"Discrete\(16\) cannot fail in part: only those of a Box can"),
        (RotateObservation, large, "1025 elements is too large to rotate: at most 1024"),
        (ScaleAction, lake, r"actions of Discrete\(4\) .* Box of floats"),
        (FlipAction, endless, "have no middle to be turned round: only a bounded Box"),
        (StickAction, taken, "only Box, Discrete, MultiDiscrete and MultiBinary can"),
        (DelayAction, taken, "only Box, Discrete, MultiDiscrete and MultiBinary can"),
        (AdvanceStart, taken, "no action of Text.* can be drawn: only of a bounded Box"),
        (AdvanceStart, endless, "can be drawn: only of a bounded Box"),
    ]
    for layer, env, message in refused:
        with pytest.raises(TypeError, match=message):
            layer(env)
    masked = MaskObservation(pixels)
    assert masked.observation_space == pixels.observation_space
