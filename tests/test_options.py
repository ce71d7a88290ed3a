"""What an id is told: options, seeds and counts of the wrong type or out of bounds get one line, others get through."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import gymnasium as gym
import numpy as np
import pytest
from annotated_types import Ge, Interval

import lopgym
from lopgym.bounds import PositiveInt
from lopgym.declared import fitted
from lopgym.envs import environments
from lopgym.envs.build import drifting
from lopgym.envs.nonstationary import NonStationary
from lopgym.envs.nonstationary_vector import NonStationaryVector
from lopgym.envs.world import World
from tests.play import id_of

GRID = "lopgym/GridWorld-v0"
OPTIONS = [(entry.name, option) for entry in environments for option in entry.options if option != "world_seed"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "5"}, "environment 'grid_world': size='5' must be a whole number"),
        ({"size": 5.5}, "environment 'grid_world': size=5.5 must be a whole number"),
        ({"size": True}, "environment 'grid_world': size=True must be a whole number"),
        ({"size": None}, "environment 'grid_world': size=None must be a whole number"),
        ({"size": [5]}, r"environment 'grid_world': size=\[5\] must be a whole number"),
        ({"size": float("inf")}, "environment 'grid_world': size=inf must be a whole number"),
        ({"size": 2}, "environment 'grid_world': size=2 must be >= 3"),
        ({"pillars": "many"}, "environment 'grid_world': pillars='many' must be a number"),
        ({"pillars": float("nan")}, "environment 'grid_world': pillars=nan must be a number"),
        ({"pillars": 10**400}, "environment 'grid_world': pillars=10+ must be a number"),
        ({"pillars": 1.5}, "environment 'grid_world': pillars=1.5 must be <= 1"),
        ({"see_goal": 1}, "environment 'grid_world': see_goal=1 must be True or False"),
        ({"world_seed": 1.5}, "world_seed=1.5 must be a whole number"),
        ({"world_seed": None}, "world_seed=None must be a whole number"),
        ({"world_seed": "0"}, "world_seed='0' must be a whole number"),
        ({"world_seed": True}, "world_seed=True must be a whole number"),
        ({"world_seed": -1}, "world_seed=-1 must be >= 0"),
    ],
)
def test_wrong_values_are_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    """What came and what is allowed, from a single environment and from a batch."""
    for make in (gym.make, gym.make_vec):
        with pytest.raises(ValueError, match=f"^{message}$"):
            make(GRID, **options)


@pytest.mark.parametrize(("world", "option"), OPTIONS)
def test_every_option_of_every_world_has_a_type_that_is_checked(world: str, option: str) -> None:
    """An object of no type that anybody declares is refused, by the name of the option, whatever that is."""
    with pytest.raises(ValueError, match=f"^environment '{world}': {option}=<object"):
        gym.make(id_of(world), **{option: object()})


def test_what_means_a_whole_number_is_one() -> None:
    """5e0 and NumPy's 5 are 5: the world is the same, and its spec as it was asked for."""
    worlds = [
        gym.make(GRID, size=size, world_seed=seed) for size, seed in ((5, 3), (5e0, 3.0), (np.int64(5), np.int8(3)))
    ]
    first, *others = [world.reset(seed=0)[0].tolist() for world in worlds]
    assert others == [first] * 2


@pytest.mark.parametrize("seed", [1.5, None, "0", True, -1])
def test_world_seeds_are_checked_by_every_door(seed: Any) -> None:
    """The layer of one environment, that of a batch, and `drifting` around anybody's, which drifts or not."""
    message = f"world_seed={seed!r} must be"
    batch = environments["catch"].make
    for make in (
        lambda: NonStationary(World(batch(1)), drifts={}, world_seed=seed),
        lambda: NonStationaryVector(batch(2), drifts={}, world_seed=seed),
        lambda: drifting(gym.make("CartPole-v1"), drifts={}, world_seed=seed),
        lambda: drifting(gym.make("CartPole-v1"), drifts={"observation_order": 1}, world_seed=seed),
    ):
        with pytest.raises(ValueError, match=message):
            make()


@pytest.mark.parametrize("number", [2.5, "2", True, 0])
def test_numbers_of_copies_and_strides_are_checked(number: Any) -> None:
    """A batch of so many copies, a clock that goes on by so many."""
    with pytest.raises(ValueError, match=f"num_envs={number!r} must be"):
        gym.make_vec(GRID, number)
    with pytest.raises(ValueError, match=f"stride={number!r} must be"):
        gym.make(GRID, stride=number)


@pytest.mark.parametrize(
    ("hint", "came", "value"),
    [
        (int, 5e4, 50_000),
        (bool, np.bool_(True), True),
        (PositiveInt | None, None, None),
        (None | int, 3.0, 3),
        (tuple[PositiveInt, ...], [1.0, np.int64(2)], (1, 2)),
        (Annotated[float, Interval(ge=0, lt=1)], 0, 0),
        (Literal["a", "b"], "a", "a"),
        (int | str, "7", "7"),
        (dict[str, int], {"a": "b"}, {"a": "b"}),
        (tuple[int, str], ("x", 1), ("x", 1)),
        (None, 0.5, 0.5),
    ],
)
def test_values_become_what_their_hint_says(hint: Any, came: Any, value: Any) -> None:
    """Of the types that are known; under any other hint, what came stays as it is."""
    made = fitted("x", came, hint)
    assert (made, type(made)) == (value, type(value))


@pytest.mark.parametrize(
    ("hint", "came", "message"),
    [
        (PositiveInt | None, 0, "x=0 must be > 0"),
        (None | int, "3", "x='3' must be a whole number"),
        (tuple[Annotated[int, Ge(2)], ...], (3, 1), "x=1 must be >= 2"),
        (Annotated[float, Interval(ge=0, lt=1)], 1, "x=1 must be < 1"),
        (Literal["step", "reset"], "steps", "x='steps' is not allowed; did you mean 'step'"),
        (bool, "yes", "x='yes' must be True or False"),
    ],
)
def test_values_that_are_not_what_their_hint_says(hint: Any, came: Any, message: str) -> None:
    """Inside tuples and beside None, too."""
    with pytest.raises(ValueError, match=message):
        fitted("x", came, hint)


@pytest.mark.parametrize("drifts", [["gravity"], "gravity", 5, {"gravity"}])
@pytest.mark.parametrize(
    "make", [gym.make, gym.make_vec, lopgym.make_vec, lambda id, **given: lopgym.drifting(gym.make(id), **given)]
)
def test_drifts_are_by_parameter(make: Any, drifts: Any) -> None:
    """However a world is made, what is no mapping is refused in one line."""
    with pytest.raises(ValueError, match=r"^drifts=.* must be a mapping from parameters, such as {'gravity': \.\.\.}$"):
        make("lopgym/CartPole-v0", drifts=drifts)
