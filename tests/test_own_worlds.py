"""Point mass, puddles, grids, bits and random tables, played by hand and against second implementations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lopgym.envs import environments
from lopgym.envs.bellman import optimum
from lopgym.envs.bit_flip import BatchedBitFlip
from lopgym.envs.bit_flip_bandit import BatchedBitFlipBandit
from lopgym.envs.build import batched, single
from lopgym.envs.gaussian import gaussian
from lopgym.envs.grid_world import BatchedGridWorld
from lopgym.envs.nine_rooms import BatchedNineRooms
from lopgym.envs.plane import Canvas, of_copy, points
from lopgym.envs.point_mass import BatchedPointMass
from lopgym.envs.puddle_world import BatchedPuddleWorld
from lopgym.envs.random_mdp import BatchedRandomMDP
from lopgym.seeding import CounterStream
from tests.play import random_actions

DOWN, UP, RIGHT, LEFT = range(4)


def _begun(world: Any, **physics: Any) -> Any:
    world.set_physics(**physics)
    world.reset(seed=0)
    return world


# --- noise and pictures


def test_gaussian_is_box_and_muller_and_normal() -> None:
    """Two numbers from two uniforms by the textbook's formula; in bulk they are normal and do not know each other."""
    counters, stream = np.arange(20_000), CounterStream([0] * 20_000, "test")
    one, other = gaussian(stream, counters, draw=4)
    u, v = 1.0 - stream.uniform(counters, 4), stream.uniform(counters, 5)
    np.testing.assert_allclose(one + 1j * other, np.sqrt(-2 * np.log(u)) * np.exp(2j * np.pi * v), rtol=1e-9)
    assert stats.kstest(one, "norm").pvalue > 0.01
    assert stats.kstest(other, "norm").pvalue > 0.01
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.02


def test_points_are_one_for_all_or_one_a_copy() -> None:
    """A coordinate a copy makes a point a copy."""
    assert points(1.0, 2.0).tolist() == [[1.0], [2.0]]
    assert points(np.array([1.0, 3.0]), 2.0).tolist() == [[1.0, 3.0], [2.0, 2.0]]
    assert of_copy(points(np.array([1.0, 3.0]), 2.0), 1).tolist() == [3.0, 2.0]
    assert of_copy(points(1.0, 2.0), 1).tolist() == [1.0, 2.0]
    assert of_copy(7.0, 1) == 7.0


def test_canvas_has_y_upwards() -> None:
    """A disc in the upper right corner is in the first rows and the last columns."""
    canvas = Canvas(0.0, 1.0, side=4)
    canvas.disc(np.array([1.0, 1.0]), 0.2, np.array([1, 2, 3], dtype=np.uint8))
    assert np.argwhere((canvas.image == [1, 2, 3]).all(axis=2)).tolist() == [[0, 3]]


# --- point mass


def test_point_mass_moves_by_the_equation() -> None:
    """Worked out on paper: m = 2, F = 3 (0.5, -1), c = 4, h = 0.1, from (0, 0.5) at speed (1, -1)."""
    world = _begun(BatchedPointMass(1), mass=2.0, thrust=3.0, friction=4.0, noise=0.0, goal_x=0.5, goal_y=0.0)
    world._place, world._velocity = np.array([[0.0], [0.5]]), np.array([[1.0], [-1.0]])
    (seen,), (earned,), (over,), _, _ = world.step(np.array([[0.5, -1.0]], dtype=np.float32))
    speed = [(1 + 0.075) / 1.2, (-1 - 0.15) / 1.2]
    place = [0.1 * speed[0], 0.5 + 0.1 * speed[1]]
    np.testing.assert_allclose(seen, [*place, *speed], rtol=1e-6)
    assert earned == pytest.approx(-np.hypot(place[0] - 0.5, place[1]))
    assert not over


def test_the_edge_stops_the_puck_along_one_axis_only() -> None:
    """It slides along the edge."""
    world = _begun(BatchedPointMass(1), friction=0.0, noise=0.0)
    world._place, world._velocity = np.array([[0.95], [0.0]]), np.array([[1.0], [0.5]])
    (seen,), *_ = world.step(np.zeros((1, 2), dtype=np.float32))
    np.testing.assert_allclose(seen, [1.0, 0.05, 0.0, 0.5], rtol=1e-6)


def test_forces_beyond_a_full_action_are_clipped_and_refused_alone() -> None:
    """A batch takes 5 for 1; the single environment says what is wrong."""
    one, other = (_begun(BatchedPointMass(2)) for _ in range(2))
    assert one.step(np.full((2, 2), 5.0))[0].tolist() == other.step(np.ones((2, 2)))[0].tolist()
    env = single("point_mass")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="is not in"):
        env.step(np.full(2, 5.0, dtype=np.float32))


def test_gusts_have_the_deviation_that_is_declared() -> None:
    """A step from rest changes the speed of 4000 copies by h noise / m, along both axes."""
    world = _begun(BatchedPointMass(4000), noise=2.0, mass=0.5, friction=0.0, thrust=0.0)
    world._place[:] = 0.0
    seen = world.step(np.zeros((4000, 2)))[0]
    assert seen[:, 2:].std(axis=0) == pytest.approx([0.4, 0.4], rel=0.05)


def test_every_table_has_its_own_goal_and_mass() -> None:
    """Parameters of shape (N,) act copy by copy."""
    world = BatchedPointMass(2)
    world.set_physics(goal_x=np.array([0.0, 1.0]), goal_y=0.0, mass=np.array([1.0, 2.0]), noise=0.0, friction=0.0)
    world.reset(seed=[3, 3])
    world._place[:] = 0.0
    seen, earned, *_ = world.step(np.array([[1.0, 0.0], [1.0, 0.0]]))
    assert seen[:, 2] == pytest.approx([0.1, 0.05])
    assert earned == pytest.approx([-0.01, -0.995])


# --- puddles


@pytest.mark.parametrize(
    ("x", "y", "reward"),
    [
        (0.25, 0.75, -41.0),  # on the middle line of the lying puddle: depth 0.1
        (0.25, 0.80, -21.0),  # half way to its edge
        (0.05, 0.75, -21.0),  # beyond its end, which is round
        (0.45, 0.75, -41.0),  # where both cross: once, not twice
        (0.50, 0.60, -21.0),  # beside the standing one
        (0.45, 0.35, -21.0),  # below its end
        (0.55 + 1e-9, 0.60, -1.0),
        (0.80, 0.20, -1.0),
    ],
)
def test_puddles_cost_their_depth(x: float, y: float, reward: float) -> None:
    """Distances by hand; a walker that cannot move pays for where it stands, and shifted puddles shift the price."""
    world = _begun(BatchedPuddleWorld(1), thrust=0.0, noise=0.0)
    world._place[:] = [[x], [y]]
    assert world.step(np.array([0]))[1][0] == pytest.approx(reward)
    world.set_physics(puddle_x=0.2, puddle_y=-0.1)
    world._place[:] = [[x + 0.2], [y - 0.1]]
    assert world.step(np.array([0]))[1][0] == pytest.approx(reward)
    world.set_physics(puddle_cost=40.0)
    assert world.step(np.array([0]))[1][0] == pytest.approx((reward + 1) / 10 - 1)


def test_puddle_walker_moves_and_arrives() -> None:
    """0.05 a move, edges stop it; x + y >= 1.9 is the goal of the undrifted world."""
    world = _begun(BatchedPuddleWorld(1), noise=0.0)
    for action, place in enumerate([(0.7, 0.25), (0.7, 0.15), (0.75, 0.2), (0.65, 0.2)]):
        world._place[:] = [[0.7], [0.2]]
        assert world.step(np.array([action]))[0][0] == pytest.approx(place)
    world._place[:] = [[0.98], [0.2]]
    assert world.step(np.array([2]))[0][0] == pytest.approx((1.0, 0.2))
    for x, y, arrived in [(0.95, 0.90, True), (0.95, 0.89, False), (1.0, 0.85, True)]:
        world._place[:] = [[x], [y]]
        assert world.step(np.array([0]))[2][0] == arrived  # one move up: 1.9, 1.89 and 1.9 in sum
    world.set_physics(goal_x=0.0, goal_y=0.5)
    world._place[:] = [[0.05], [0.4]]
    assert world.step(np.array([0]))[2][0]


# --- grids


def _reachable(walls: Any) -> bool:
    """Whether every open cell can be reached from the first, by flooding."""
    open_cells = {tuple(cell) for cell in np.argwhere(~walls).tolist()}
    edge, seen = [min(open_cells)], set()
    while edge:
        row, column = edge.pop()
        seen.add((row, column))
        around = {(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)}
        edge += around & open_cells - seen
    return seen == open_cells


@settings(max_examples=30)
@given(size=st.integers(3, 12), walls=st.integers(0, 2**53), pillars=st.floats(0, 1))
def test_pillars_never_cut_the_board(size: int, walls: int, pillars: float) -> None:
    """Whatever the number of the walls, and however many are asked for."""
    board = BatchedGridWorld(size=size, pillars=pillars)._draw_walls(walls)
    assert _reachable(board)
    assert board.sum() <= round(pillars * size**2)
    assert pillars * size**2 < 0.5 or board.any()


@settings(max_examples=30)
@given(rooms=st.integers(2, 4), room=st.integers(1, 4), walls=st.integers(0, 2**53))
def test_every_room_has_a_door_to_every_neighbour(rooms: int, room: int, walls: int) -> None:
    """2 r (r - 1) doors, one between any two neighbours, so all cells can be reached."""
    house = BatchedNineRooms(rooms=rooms, room=room)._draw_walls(walls)
    assert house.shape == (rooms * (room + 1) - 1,) * 2
    assert _reachable(house)
    assert (~house).sum() == (rooms * room) ** 2 + 2 * rooms * (rooms - 1)
    for across in range(1, rooms):
        for along in range(rooms):
            wall = slice(along * (room + 1), along * (room + 1) + room)
            assert (~house[across * (room + 1) - 1, wall]).sum() == 1
            assert (~house[wall, across * (room + 1) - 1]).sum() == 1


def _empty_grid(**physics: Any) -> Any:
    """A 4 by 4 board without pillars, flags in the corners below left (first) and above right (second)."""
    world = BatchedGridWorld(size=4, pillars=0.0, see_goal=True)
    world._draw_order = lambda goal: np.array([12, 3, *[c for c in range(16) if c not in (12, 3)]])  # type: ignore[method-assign]
    return _begun(world, **{"slip": 0.0, "goal": 0, **physics})


@pytest.mark.parametrize(
    ("start", "action", "end", "reward"),
    [
        ((1, 1), DOWN, (2, 1), 0.0),
        ((1, 1), UP, (0, 1), 0.0),
        ((1, 1), RIGHT, (1, 2), 0.0),
        ((1, 1), LEFT, (1, 0), 0.0),
        ((0, 0), UP, (0, 0), 0.0),
        ((3, 3), RIGHT, (3, 3), 0.0),
        ((2, 0), DOWN, (3, 0), 0.5),
        ((0, 2), RIGHT, (0, 3), -0.5),
    ],
)
def test_grid_moves_and_flags(start: Any, action: int, end: Any, reward: float) -> None:
    """One cell a move, the edge stops, flags pay their sign and end the episode; all planes are as drawn."""
    world = _empty_grid(reward_sign=0.5)
    world._place[:] = start
    seen, (earned,), (over,), _, _ = world.step(np.array([action]))
    planes = seen.reshape(4, 4, 4)
    assert [np.argwhere(plane).tolist() for plane in planes] == [[list(end)], [], [[3, 0]], [[0, 3]]]
    assert (earned, over) == (reward, reward != 0)


def test_pillars_stop_the_walker_and_can_be_left() -> None:
    """Nobody can go onto a pillar; who finds himself on one walks off."""
    world = _begun(BatchedGridWorld(), slip=0.0)
    walls = world._draw_walls(0)
    row, column = next(cell for cell in np.argwhere(walls) if cell[0] > 0)
    world._place[:] = row - 1, column
    world.step(np.array([DOWN]))
    assert world._place.tolist() == [[row - 1, column]]
    world._place[:] = row, column
    world.step(np.array([UP]))
    assert world._place.tolist() == [[row - 1, column]]


@pytest.mark.parametrize("make", [BatchedGridWorld, BatchedNineRooms])
def test_grid_starts_are_uniform_over_what_is_free(make: Any) -> None:
    """Neither on walls nor on flags, elsewhere equally often (chi-square), whatever walls and flags each copy has."""
    copies = 6000
    world = make(copies)
    world.set_physics(walls=np.arange(copies) % 2, goal=np.arange(copies) % 3)
    world.reset(seed=0)
    for kind in range(6):
        cells = (world._place[kind::6] @ (world._size, 1)).tolist()
        closed = {*np.flatnonzero(world._draw_walls(kind % 2)).tolist(), *world._flags[kind].tolist()}
        assert not closed & set(cells)
        counts = np.delete(np.bincount(cells, minlength=world._size**2), list(closed))
        assert stats.chisquare(counts).pvalue > 0.001


def test_flags_stand_on_the_first_free_cells_of_their_order() -> None:
    """A second implementation in a loop, for copies that differ in both."""
    world = BatchedGridWorld(12)
    world.set_physics(goal=np.arange(12) % 4, walls=np.arange(12) % 3)
    for copy in range(12):
        walls, order = world._draw_walls(copy % 3).ravel(), world._draw_order(copy % 4)
        assert world._flags[copy].tolist() == [cell for cell in order.tolist() if not walls[cell]][:2]


def test_slip_drifts_without_a_new_board() -> None:
    """What is smooth moves at every step, so it must not cost a board or a table; an error changes nothing."""
    for world, smooth, drawn in [
        (BatchedGridWorld(), "slip", "_map"),
        (BatchedRandomMDP(), "reward_deviation", "_tables"),
    ]:
        before = getattr(world, drawn)
        world.set_physics(**{smooth: 0.7})
        assert getattr(world, drawn) is before
        index = world.physics.names()[0]
        with pytest.raises(ValueError, match=smooth):
            world.set_physics(**{index: 5, smooth: -1.0})
        assert getattr(world, drawn) is before
        world.set_physics(**{index: 5})
        assert getattr(world, drawn) is not before


def test_slipping_goes_anywhere() -> None:
    """At slip 1 all four directions come equally often; at 0.4, three quarters of that go astray."""
    for slip, share in [(1.0, 0.25), (0.4, 0.7)]:
        world = BatchedGridWorld(8000, size=5, pillars=0.0)
        _begun(world, slip=slip)
        world._place[:] = 2, 2
        world.step(np.full(8000, RIGHT))
        assert (world._place == [2, 3]).all(axis=1).mean() == pytest.approx(share, abs=0.02)
        assert (world._place == [1, 2]).all(axis=1).mean() == pytest.approx((1 - share) / 3, abs=0.02)


def test_the_window_shows_what_is_around_the_walker() -> None:
    """It is a cut of the whole board, all pillars outside."""
    world = _begun(BatchedGridWorld(3, size=6, window=2, see_goal=True))
    world._place[:] = [[0, 0], [3, 2], [5, 5]]
    walls = np.pad(world._draw_walls(0), 2, constant_values=True)
    flags = [np.pad((np.arange(36) == flag).reshape(6, 6), 2) for flag in world._flags[0]]
    seen = world._observe().reshape(3, 3, 5, 5)
    for copy, (row, column) in enumerate(world._place):
        for plane, whole in enumerate([walls, *flags]):
            assert seen[copy, plane].tolist() == whole[row : row + 5, column : column + 5].tolist()


# --- bits


def _wanted(world: Any, bits: Any, target: int) -> list[float]:
    """The outputs of the target network, unit by unit and bit by bit."""
    network = world._draw_network(target).tolist()
    inputs = [*bits.tolist(), 1.0]
    outputs = [0.0] * (len(network[0]) - len(inputs))
    for unit in network:
        wants = [(weight + 1) / 2 for weight in unit[: len(inputs)]]
        if sum(want == bit for want, bit in zip(wants, inputs, strict=True)) > world._beta * len(inputs):
            outputs = [y + w for y, w in zip(outputs, unit[len(inputs) :], strict=True)]
    return outputs


@pytest.mark.parametrize("make", [BatchedBitFlip, BatchedBitFlipBandit])
def test_the_target_is_the_network_of_the_paper(make: Any) -> None:
    """Outputs equal those of a second implementation that counts agreeing inputs, for copies with other targets."""
    world = make(40)
    world.set_physics(target=np.arange(40) % 3, flips=np.arange(40))
    seen, _ = world.reset(seed=0)
    expected = [_wanted(world, seen[copy], copy % 3) for copy in range(40)]
    assert world._outputs().tolist() == expected
    assert np.std(expected) > 0


def test_the_right_prediction_costs_nothing_and_others_their_square() -> None:
    """Ten units of the target are one of the action; an answer is judged by the input that was seen."""
    world = BatchedBitFlip(30, beta=0.6)
    seen, _ = world.reset(seed=0)
    for flips in range(1, 6):
        wanted = np.clip([_wanted(world, bits, 0)[0] for bits in seen], -10, 10)
        world.set_physics(flips=flips * 7)  # after what was seen, so only the next input shows it
        off = np.linspace(-1, 1, 30)
        predicted = np.clip(wanted / 10 + off, -1, 1)
        seen, earned, over, _, _ = world.step(predicted[:, None])
        assert earned == pytest.approx(-((10 * predicted - wanted) ** 2))
        assert over.all()


def test_one_slow_bit_flips_at_a_time() -> None:
    """Across blocks, in any order of asking, each bit about equally often; fast bits are fair coins."""
    world = BatchedBitFlip()
    states = [world._walk.state(flips) for flips in range(4000, 4200)]
    changes = np.abs(np.diff(states, axis=0))
    assert (changes.sum(axis=1) == 1).all()
    assert set(changes.argmax(axis=1)) == set(range(15))
    assert not np.array_equal(world._walk._chosen(0), world._walk._chosen(1))
    again = BatchedBitFlip()
    assert [again._walk.state(flips).tolist() for flips in range(4199, 3999, -1)] == [s.tolist() for s in states[::-1]]
    other = BatchedBitFlip(world_seed=1)
    assert [other._walk.state(flips).tolist() for flips in range(4000, 4200)] != [s.tolist() for s in states]
    many = np.stack([BatchedBitFlip(500).reset(seed=500 * i)[0] for i in range(4)]).reshape(-1, 20)
    assert (many[:, :15] == world._walk.state(0)).all()
    assert many[:, 15:].mean(axis=0) == pytest.approx([0.5] * 5, abs=0.05)
    assert np.abs(np.corrcoef(many[:, 15:].T) - np.eye(5)).max() < 0.1


def test_flips_follow_the_clock() -> None:
    """With a flip every 4 steps, the slow bits seen change by one bit every 4 steps, and only then."""
    env = single("bit_flip", drifts={"flips": {"kind": "count", "period": 4}})
    seen = [env.reset(seed=0)[0]] + [env.step(np.zeros(1, dtype=np.float32))[0] for _ in range(24)]
    changed = np.abs(np.diff(seen, axis=0))[:, :15].sum(axis=1)
    assert changed.tolist() == ([0, 0, 0, 0] + [1, 0, 0, 0] * 5)


def test_the_bandit_pays_the_greatest_output() -> None:
    """The best arm of the second implementation earns 1, the worst 0; with no unit firing all earn 1."""
    world = BatchedBitFlipBandit(60, beta=0.6)
    seen, _ = world.reset(seed=0)
    outputs = np.array([_wanted(world, bits, 0) for bits in seen])
    assert world.step(outputs.argmax(axis=1))[1].tolist() == [1.0] * 60
    world.reset(seed=0)
    assert world.step(outputs.argmin(axis=1))[1].tolist() == [0.0] * 60
    silent = BatchedBitFlipBandit(5, beta=1.0)
    silent.reset(seed=0)
    assert silent.step(np.arange(5) % 4)[1].tolist() == [1.0] * 5


@pytest.mark.parametrize(
    ("world", "options", "message"),
    [
        ("bit_flip", {"bits": 4, "slow_bits": 5}, "slow_bits=5 must be at most bits=4"),
        ("bit_flip", {"bits": 65}, "bits=65 must be"),
        ("bit_flip_bandit", {"arms": 1}, "arms=1 must be >= 2"),
        ("random_mdp", {"states": 2, "branching": 3}, "branching=3 must be at most states=2"),
        ("random_mdp", {"discount": 1.0}, "discount=1.0 must be"),
        ("grid_world", {"size": 2}, "size=2 must be >= 3"),
        ("nine_rooms", {"rooms": 1}, "rooms=1 must be >= 2"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(world: str, options: dict[str, Any], message: str) -> None:
    """In one line that says what is allowed."""
    with pytest.raises(ValueError, match=message):
        single(world, **options)


# --- random tables


def test_optimum_of_two_states_by_hand() -> None:
    """State 1 pays 3 for staying, state 0 pays 1; going over pays nothing; at discount 0.5, V* is (3, 6)."""
    transitions = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
    rewards = np.array([[1.0, 0.0], [3.0, 0.0]])
    np.testing.assert_allclose(optimum(transitions, rewards, 0.5), [[2.5, 3.0], [6.0, 1.5]])


@settings(max_examples=20)
@given(states=st.integers(1, 8), actions=st.integers(1, 4), index=st.integers(0, 2**53), discount=st.floats(0, 0.97))
def test_optimum_is_that_of_value_iteration(states: int, actions: int, index: int, discount: float) -> None:
    """Policy iteration agrees with the fixed point of Bellman's optimality operator."""
    world = BatchedRandomMDP(states=states, actions=actions, branching=min(3, states), discount=discount)
    world.set_physics(transitions=index, rewards=index)
    (transitions, rewards), found = world._tables[0], np.zeros((states, actions))
    for _ in range(900):
        found = rewards + discount * transitions @ found.max(axis=1)
    np.testing.assert_allclose(world.optimal_values()[0], found, atol=1e-8)


def test_optimum_is_found_where_rounding_is_coarse() -> None:
    """At a discount next to 1, values are in the millions; the search still ends, and Bellman's equation holds."""
    for index in range(20):
        world = BatchedRandomMDP(discount=1 - 1e-7)
        world.set_physics(transitions=index, rewards=index)
        (transitions, rewards), found = world._tables[0], world.optimal_values()[0]
        np.testing.assert_allclose(rewards + (1 - 1e-7) * transitions @ found.max(axis=1), found, rtol=1e-9)


def test_regrets_of_a_policy_add_up_to_what_it_loses() -> None:
    """Performance difference: V* - V of a policy is the discounted sum of its expected regrets, solved for here."""
    world = _begun(BatchedRandomMDP(5), transitions=np.arange(5), rewards=3)
    policy = np.random.default_rng(0).dirichlet(np.ones(4), size=10)
    best = world.optimal_values()
    for copy, values in enumerate(world.policy_values(policy)):
        transitions, _ = world._tables[world._which[copy]]
        regret = (policy * (best[copy].max(axis=1, keepdims=True) - best[copy])).sum(axis=1)
        move = np.einsum("sa,sat->st", policy, transitions)
        loss = np.linalg.inv(np.eye(10) - 0.95 * move) @ regret
        np.testing.assert_allclose(best[copy].max(axis=1) - values, loss, atol=1e-9)
    greedy = np.eye(4)[best.argmax(axis=2)]
    np.testing.assert_allclose(world.policy_values(greedy), best.max(axis=2), atol=1e-9)


def test_regret_of_the_best_action_is_nothing() -> None:
    """And of every other the gap, copy by copy; it follows the table when that is drawn again."""
    world = BatchedRandomMDP(6)
    for index in range(3):
        _begun(world, transitions=index, rewards=np.arange(6) + index)
        best, state = world.optimal_values(), world._state
        assert world.regret(best[np.arange(6), state].argmax(axis=1)).tolist() == [0.0] * 6
        expected = [best[i, state[i]].max() - best[i, state[i], 2] for i in range(6)]
        assert world.regret(np.full(6, 2)).tolist() == expected
        assert max(expected) > 0


def test_random_mdp_goes_and_pays_as_its_tables_say() -> None:
    """Of 20 000 copies in one state, the shares that go elsewhere and the mean reward are those of the table."""
    copies = 20_000
    world = _begun(BatchedRandomMDP(copies), transitions=4, rewards=5, reward_deviation=0.5)
    transitions, rewards = world._tables[0]
    assert ((transitions > 0).sum(axis=-1) == 3).all()
    np.testing.assert_allclose(transitions.sum(axis=-1), 1.0)
    world._state[:] = 7
    seen, earned, over, _, _ = world.step(np.full(copies, 2))
    assert seen.mean(axis=0) == pytest.approx(transitions[7, 2], abs=0.015)
    assert earned.mean() == pytest.approx(rewards[7, 2], abs=0.015)
    assert earned.std() == pytest.approx(0.5, rel=0.03)
    assert not over.any()


def test_the_optimal_player_beats_random_play() -> None:
    """The greedy player of the optimum, on the drifting world, earns clearly more than random play does."""
    batch, totals = batched(32, world="random_mdp", autoreset_mode="SameStep"), {"best": 0.0, "random": 0.0}
    world, rng = batch.unwrapped, np.random.default_rng(0)
    assert isinstance(world, BatchedRandomMDP)
    for player in totals:
        batch.reset(seed=1)
        for _ in range(800):  # three tables
            best = world.optimal_values()[np.arange(32), world._state].argmax(axis=1)
            totals[player] += batch.step(best if player == "best" else rng.integers(4, size=32))[1].mean() / 800
    assert totals["best"] > totals["random"] + 0.5


# --- all of them


@pytest.mark.parametrize(
    ("world", "parameter", "values"),
    [
        ("point_mass", "goal_x", [0.5, -1.0]),
        ("puddle_world", "puddle_y", [0.0, -0.4]),
        ("grid_world", "walls", [0.0, 1.0]),
        ("nine_rooms", "goal", [0.0, 1.0]),
        ("bit_flip", "flips", [0.0, 300.0]),
        ("bit_flip_bandit", "target", [0.0, 1.0]),
        ("random_mdp", "rewards", [0.0, 1.0]),
    ],
)
def test_copies_in_different_tasks_are_each_in_their_own(world: str, parameter: str, values: list[float]) -> None:
    """A batch with one value a copy is, copy by copy, the batches with that value for all; and so are the pictures."""
    mixed, *uniform = (environments[world].make(4, "rgb_array") for _ in range(3))
    mixed.set_physics(**{parameter: np.array(values * 2)})
    for one, value in zip(uniform, values, strict=True):
        one.set_physics(**{parameter: value})
    rng = np.random.default_rng(0)
    said = [[one.reset(seed=5)[0], one.render()] for one in (mixed, *uniform)]
    for _ in range(30):
        actions = random_actions(mixed.single_action_space, rng, 4)
        for told, one in zip(said, (mixed, *uniform), strict=True):
            told += one.step(actions)[:3]
    for together, *alone in zip(*said, strict=True):
        for copy in range(4):
            assert np.array_equal(together[copy], alone[copy % 2][copy])
    assert not all(np.array_equal(one, other) for one, other in zip(said[1], said[2], strict=True))
