"""Every registered layer, whatever it is: single and batched alike, nothing at its defaults, sound in other worlds."""

from __future__ import annotations

import copy
import itertools
import pickle
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env, data_equivalence
from numpy.typing import NDArray
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from lopgym.envs import environments
from lopgym.envs.action_channel import ActionChannel
from lopgym.envs.build import drifting, make_vec
from lopgym.envs.channel import Channel
from lopgym.envs.layers import layers, stack
from lopgym.envs.nonstationary import NonStationary
from lopgym.envs.nonstationary_vector import NonStationaryVector
from lopgym.envs.world import BatchedWorld, Mask, World
from tests.play import random_actions

COPIES = 3
BUTTONS = gym.spaces.Discrete(3, start=2)
STICKS = gym.spaces.Box(np.array([-1.0, -2.0], dtype=np.float32), np.array([1.0, 3.0], dtype=np.float32))
SPACES = {"buttons": BUTTONS, "sticks": STICKS}


class Drone(BatchedWorld):
    """Something that moves, with episodes of different lengths, negative rewards and zeros of both signs."""

    def __init__(self, num_envs: int, actions: gym.Space[Any]) -> None:
        """Set up N of them."""
        super().__init__(num_envs, None, gym.spaces.Box(-20.0, 20.0, (2, 2), np.float32), actions)
        self._place = np.zeros((num_envs, 2, 2))
        self._left = np.zeros(num_envs, dtype=np.int64)

    def _begin(self, mask: Mask) -> None:
        start = np.stack([self.integers(7, draw) - 3.0 for draw in range(4)], axis=1).reshape(-1, 2, 2)
        self._place[mask] = start[mask]
        self._left[mask] = 4 + self.integers(5, 4)[mask]

    def _observe(self) -> NDArray[np.float32]:
        return (-self._place).astype(np.float32)

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], Mask]:
        push = actions.reshape(self.num_envs, -1).astype(np.float64)
        self._place = 0.9 * self._place + 0.1 * push.mean(axis=1)[:, None, None] * np.array([[1.0, -1.0], [0.5, 0.0]])
        self._left = np.maximum(self._left - 1, 0)
        return np.where(self._left % 2 == 0, -0.0, self._place[:, 0, 0] - 0.5), self._left == 0


def _maker(layer: str) -> Any:
    """The single wrapper of that name."""
    return layers[layer].make


def _fits(layer: Any, space: str) -> bool:
    try:
        layer.make(World(Drone(1, SPACES[space])))
    except TypeError:
        return False
    return True


FITTING = [(layer.name, space) for layer in layers for space in SPACES if _fits(layer, space)]
PAIRS = [(layer, space) for layer, space in FITTING if issubclass(_maker(layer), ActionChannel) or space == "sticks"]
every_pair = pytest.mark.parametrize(("layer", "space"), PAIRS)
SINGLE_ONLY = {layer.name for layer in layers if layer.facts.get("single_only")}  # a native batch refuses them
every_batched_pair = pytest.mark.parametrize(("layer", "space"), [pair for pair in PAIRS if pair[0] not in SINGLE_ONLY])
every_layer = pytest.mark.parametrize("layer", [layer.name for layer in layers])


def _single(layer: str, space: str, drifts: Any, **options: Any) -> NonStationary:
    return NonStationary(layers[layer].make(World(Drone(1, SPACES[space]))), drifts=drifts, **options)


def _batch(layer: str, space: str, drifts: Any, copies: int = COPIES, **options: Any) -> NonStationaryVector:
    return NonStationaryVector(layers[layer].facts["vector"](Drone(copies, SPACES[space])), drifts=drifts, **options)


def _forms(layer: str) -> tuple[Any, ...]:
    """How a layer can be made: single, and batched if it can be."""
    return (_single,) if layer in SINGLE_ONLY else (_single, _batch)


def _fields(layer: str) -> dict[str, Any]:
    """Name -> declared field of the parameters of a layer."""
    return dict(_maker(layer).physics_type.__dataclass_fields__)


def _values(field: Any) -> list[float]:
    """The default and two other values of a parameter; what they do can be told apart."""
    further = (1, 2, 3) if field.type in (int, "int") else (0.4, 0.8)
    return [field.default, *(field.default + step for step in further)]


def _restless(layer: str, period: int = 1) -> dict[str, Any]:
    """Every parameter of a layer moves, to its default again and again."""
    return {
        name: {"kind": "cycle", "values": _values(field)[::-1], "period": period}
        for name, field in _fields(layer).items()
    }


def _roll(env: Any, steps: int = 20, seed: int | None = 3) -> list[Any]:
    """Everything that an environment, single or batched, says while it is played at random."""
    rng = np.random.default_rng(0)
    batch = isinstance(env, gym.vector.VectorEnv)
    space = env.single_action_space if batch else env.action_space
    said: list[Any] = [env.reset(seed=seed)]
    for _ in range(steps):
        drawn = random_actions(space, rng, env.num_envs if batch else 1)
        said.append(env.step(drawn if batch else drawn[0]))
        if not batch and (said[-1][2] or said[-1][3]):
            said.append(env.reset())
    return copy.deepcopy(said)


def _bits(said: list[Any]) -> list[list[bytes]]:
    """What was said without the infos, each number as its bits."""
    return [[np.asarray(part).tobytes() for part in one[:-1]] for one in said]


def _same(one: Any, other: Any) -> bool:
    return data_equivalence(one, other, exact=True)


@every_batched_pair
@pytest.mark.parametrize("apply", ["step", "reset", "truncate"])
def test_a_batch_is_its_copies(layer: str, space: str, apply: Any) -> None:
    """Bit for bit, while everything moves; with `reset` the copies differ in their parameters."""
    drifts = _restless(layer, 8)
    batch = _batch(layer, space, drifts, apply=apply, autoreset_mode="SameStep")
    copies = [_single(layer, space, drifts, apply=apply, stride=COPIES) for _ in range(COPIES)]
    rng, ends = np.random.default_rng(1), 0
    seen = [env.reset(seed=5 + i)[0] for i, env in enumerate(copies)]
    assert batch.reset(seed=5)[0].tobytes() == np.stack(seen).tobytes()
    for _ in range(32):
        actions = random_actions(SPACES[space], rng, COPIES)
        observations, *ours, infos = batch.step(actions)
        for i, env in enumerate(copies):
            seen[i], *theirs, _ = env.step(actions[i])
            assert [np.asarray(part[i]).tobytes() for part in ours] == [np.asarray(part).tobytes() for part in theirs]
            if theirs[1] or theirs[2]:
                assert infos["final_obs"][i].tobytes() == seen[i].tobytes()
                seen[i], ends = env.reset()[0], ends + 1
            assert seen[i].dtype == observations.dtype
            assert seen[i].tobytes() == observations[i].tobytes()
    assert ends > 2 * COPIES


@every_pair
def test_at_its_defaults_a_layer_changes_no_bit(layer: str, space: str) -> None:
    """Not the sign of a zero; permutations, whose order 0 is as random as any, are the exception."""
    bare = (World(Drone(1, SPACES[space])), NonStationaryVector(Drone(COPIES, SPACES[space]), drifts={}))
    rests = _maker(layer).rests_at_default
    assert rests == (not layer.startswith("permute"))
    for env, make in zip(bare, _forms(layer), strict=False):
        assert (_bits(_roll(env)) == _bits(_roll(make(layer, space, {})))) == rests


@every_pair
def test_a_layer_that_rests_after_having_moved_changes_no_bit(layer: str, space: str) -> None:
    """Back at its defaults and in a new episode, nothing is left of it."""
    bare, moved = World(Drone(1, SPACES[space])), layers[layer].make(World(Drone(1, SPACES[space])))
    moved.set_physics(**{name: _values(field)[1] for name, field in _fields(layer).items()})
    _roll(moved, 10)
    moved.set_physics(**{name: field.default for name, field in _fields(layer).items()})
    assert (_bits(_roll(moved)) == _bits(_roll(bare))) == moved.rests_at_default


@every_pair
def test_every_parameter_matters(layer: str, space: str) -> None:
    """Each changes what is seen or earned, single and batched."""
    middle = {name: _values(field)[1] for name, field in _fields(layer).items()}
    for make, (name, field) in itertools.product(_forms(layer), _fields(layer).items()):
        default, *others = (_bits(_roll(make(layer, space, middle | {name: v}))) for v in _values(field))
        assert any(other != default for other in others)


@every_pair
def test_seeded_reset_after_any_history_is_a_fresh_environment(layer: str, space: str) -> None:
    """Nothing of an earlier life is left, in the environment or in the batch; another seed is other luck."""
    for make, steps in itertools.product(_forms(layer), (3, 5)):
        used = make(layer, space, _restless(layer))
        _roll(used, steps, seed=11)
        assert _same(_roll(used), _roll(make(layer, space, _restless(layer))))
        assert not _same(_roll(used), _roll(used, seed=4))


@pytest.mark.parametrize("layer", [layer.name for layer in layers if "world_seed" in layer.options])
def test_world_seeds_fix_the_variants(layer: str) -> None:
    """The same number is another variant in another world, the same in each copy of one."""
    space = next(space for name, space in PAIRS if name == layer)
    drifts = {name: _values(field)[-1] for name, field in _fields(layer).items()}
    said = []
    for world_seed in (0, 0, 1, 2, 3, 4):
        env = _maker(layer)(World(Drone(1, SPACES[space])), world_seed=world_seed)
        said.append(_bits(_roll(NonStationary(env, drifts=drifts))))
    assert said[0] == said[1]
    assert any(other != said[0] for other in said[2:])


@every_pair
def test_copies_and_pickles_go_on_alike(layer: str, space: str) -> None:
    """A copy in the middle of an episode goes on as the original does."""
    for make in _forms(layer):
        env = make(layer, space, _restless(layer, 5))
        _roll(env, 7)
        twins = [copy.deepcopy(env), pickle.loads(pickle.dumps(env)), env]
        said = [_bits(_roll(twin, seed=None)) for twin in twins]
        assert said[0] == said[1] == said[2]


@every_pair
def test_the_space_holds_every_observation(layer: str, space: str) -> None:
    """At both ends of the parameters, and in dtype and shape."""
    for end in ("low", "high"):
        env = _single(layer, space, {name: field.metadata[end] for name, field in _fields(layer).items()})
        assert all(said[0] in env.observation_space for said in _roll(env, 30))
    if layer not in SINGLE_ONLY:
        batch = _batch(layer, space, {})
        assert batch.single_observation_space == env.observation_space
        assert batch.observation_space.shape == (COPIES, *env.observation_space.shape)


@every_pair
def test_wrong_values_are_refused_and_change_nothing(layer: str, space: str) -> None:
    """The error names the parameter, or the nearest."""
    env = layers[layer].make(World(Drone(1, SPACES[space])))
    for name, field in _fields(layer).items():
        low, high = field.metadata["low"], field.metadata["high"]
        for value in (low - 1, high * 2 + 1, float("nan")):
            with pytest.raises(ValueError, match=name):
                env.set_physics(**{name: value})
        with pytest.raises(TypeError, match=f"did you mean '{name}'"):
            env.set_physics(**{name + "s": field.default})
        assert getattr(env.physics, name) == field.default


@every_layer
def test_facts(layer: str) -> None:
    """The twins have the same parameters and arguments; whether the optimum survives is said."""
    entry = layers[layer]
    vector = entry.facts["vector"]
    assert isinstance(entry.facts["preserves_optimum"], bool)
    assert issubclass(_maker(layer), Channel)
    assert issubclass(vector, Channel)
    assert vector.physics_type is _maker(layer).physics_type
    assert any(layer == name for name, _ in PAIRS)
    batch = Drone(2, SPACES[next(space for name, space in PAIRS if name == layer)])
    batch.metadata = {**batch.metadata, "autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}
    with pytest.raises(ValueError, match=f"{vector.__name__} needs autoreset mode Disabled"):
        vector(batch)


@every_pair
def test_a_native_batch_takes_a_layer_or_says_why_not(layer: str, space: str) -> None:
    """In one line, which says what to do instead; so does the id."""
    if layer not in SINGLE_ONLY:
        _batch(layer, space, {})
        return
    id, drifts = "lopgym/CartPole-v0", _restless(layer)
    for make in (lambda: _batch(layer, space, {}), lambda: gym.make_vec(id, 2, drifts=drifts)):
        with pytest.raises(TypeError, match=r"steps all its copies at once: make separate copies, .*'sync'") as error:
            make()
        assert "\n" not in str(error.value)
    make_vec(id, 2, drifts=drifts, vectorization_mode="sync").reset(seed=0)


def test_the_docs_tell_which_layers_preserve_the_optimum() -> None:
    """In the last column of their table; both kinds exist."""
    page = (Path(__file__).parents[1] / "docs" / "worlds.md").read_text()
    told = dict(re.findall(r"^\| `(\w+)` \| .* \| (yes|no) \|$", page, re.MULTILINE))
    assert told == {layer.name: "yes" if layer.facts["preserves_optimum"] else "no" for layer in layers}
    assert {*told.values()} == {"yes", "no"}


def test_names_are_unique() -> None:
    """No two layers, nor a layer and a world, have a parameter of one name."""
    count = Counter(name for layer in layers for name in _fields(layer.name))
    count.update({name for world in environments for name in world.make.physics_type.names()})
    assert [name for name, times in count.items() if times > 1] == []


BASES: dict[str, dict[str, Any]] = {
    "CartPole-v1": {},
    "Pendulum-v1": {},
    "lopgym/CartPole-v0": {"drifts": {}},
    "lopgym/Pendulum-v0": {"drifts": {}},
}
OURS = {f"lopgym/{world.facts['id']}" for world in environments}


def _bases(layer: str) -> list[str]:
    """Gymnasium's environments and ours that a layer goes around: with its kind of spaces, if it cares."""
    spaces = {"buttons": "CartPole", "sticks": "Pendulum"}
    kinds = [spaces[space] for name, space in FITTING if name == layer]
    return [id for id in BASES if any(kind in id for kind in kinds) and (id in OURS or "/" not in id)] + _tables(layer)


def _tables(layer: str) -> list[str]:
    """Tables of states that a layer goes around."""
    try:
        layers[layer].make(gym.make("FrozenLake-v1"))
    except TypeError:
        return []
    return ["FrozenLake-v1"]


def _around(id: str, layer: str) -> gym.Env[Any, Any]:
    """An environment without its own drift layer, with a layer that moves at every step."""
    env = gym.make(id, **BASES.get(id, {}))
    while isinstance(env, gym.Wrapper) and "/" in id:
        env = env.env
    return drifting(env, drifts=_restless(layer))


@pytest.mark.parametrize(("layer", "id"), [(layer.name, id) for layer in layers for id in _bases(layer.name)])
def test_checkers_pass_around_other_worlds(layer: str, id: str) -> None:
    """Gymnasium's and Stable-Baselines3's, with a change at every step; the layer came because its parameter drifts."""
    env = _around(id, layer)
    assert [type(one) for one in stack(env)][1] is layers[layer].make
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        check_env(env, skip_render_check=True)
        check_env_sb3(env, skip_render_check=True)
    allowed = ("is different from the unwrapped version", "infinity", "symmetric and normalized", "spec")
    assert [str(w.message) for w in heard if not any(part in str(w.message) for part in allowed)] == []
    assert all(np.isfinite(said[0]).all() for said in _roll(env))


@pytest.mark.parametrize("id", sorted(OURS & BASES.keys()))
def test_all_layers_at_once_around_a_registered_world(id: str) -> None:
    """The id builds every layer that a drift names, single and as a native batch; separate copies are the batch."""
    kind = "buttons" if "CartPole" in id else "sticks"
    fitting = [layer for layer, space in FITTING if space == kind and layer not in SINGLE_ONLY]
    drifts = {name: drift for layer in fitting for name, drift in _restless(layer, 9).items()}
    options: dict[str, Any] = {"drifts": drifts, "autoreset_mode": "SameStep"}
    batch, copies = (make_vec(id, 3, vectorization_mode=mode, **options) for mode in (None, "sync"))
    assert sum(isinstance(layer, Channel) for layer in stack(batch)) == len(fitting)
    assert _bits(_roll(batch, 60)) == _bits(_roll(copies, 60))


@every_layer
def test_spec_round_trip(layer: str) -> None:
    """A layer with its arguments is made again from JSON."""
    entry, id = layers[layer], _bases(layer)[0]
    arguments = {"world_seed": 5} if "world_seed" in entry.options else {}
    env = NonStationary(entry.make(gym.make(id), **arguments), drifts=_restless(layer, 3))
    assert env.spec is not None
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.spec == env.spec
    assert _same(_roll(env), _roll(again))
