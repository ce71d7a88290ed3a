"""The state of a world, as plain data and arrays: another world that takes it goes on bit for bit, or refuses it."""

from __future__ import annotations

import io
import json
import multiprocessing
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from lopgym.agents.vec_env import GymVecEnv
from lopgym.envs import environments
from lopgym.envs.build import make_vec
from lopgym.envs.history import History
from lopgym.envs.journal import Journal, Journals, goes_on, resumable
from lopgym.envs.layers import stack
from lopgym.envs.luck import Luck
from lopgym.envs.nonstationary_vector import NonStationaryVector
from lopgym.envs.shared_context import SharedContextVector
from lopgym.envs.snapshot import StateError, Stateful
from lopgym.envs.tape import RecordTapeVector
from lopgym.envs.telling import ChangeFlag, TaskIdObservation, TellingVector
from tests.foreign import EXACT, REMEMBERING, THEIRS, drifted
from tests.play import BATCHED, LAYERED, WORLDS, has_batch, id_of, layered, random_actions, restless, same

fault = pytest.mark.fault("F13")  # a world that takes a state, or is refused

COPIES, EVERY, AFTER, NEXT = 3, 97, 150, 60
FAST = ("catch", "cartpole", "pendulum", "random_mdp", "task_sequence")
# Starts drawn in advance; what follows from physics, or will.
CACHES = ("_ahead", "_optimal", "_lent", "_changed", "_matrix")
NEW_PROCESS = ("catch", "bipedal_walker", "hopper")
SOME_OF_THEIRS = {"CartPole-v1", "Taxi-v4", "LunarLander-v3", "HalfCheetah-v5"} & {*EXACT}
WAYS = [*((world, "native") for world in BATCHED), *((world, "sync") for world in WORLDS)]
LONG = 20  # snapshots, each restored in a process of its own


def _some_fast(cases: list[Any], fast: Callable[[Any], bool]) -> list[Any]:
    return [pytest.param(case, marks=[] if fast(case) else pytest.mark.slow) for case in cases]


def _world(world: str, way: str, **options: Any) -> GymVecEnv:
    mode = {"native": "vector_entry_point", "sync": "sync"}[way]
    options = {"drifts": restless(world, 53)} | options
    batch = make_vec(id_of(world), COPIES, vectorization_mode=mode, autoreset_mode="SameStep", **options)
    return GymVecEnv(resumable(batch), seed=5)


def _copies(make: Callable[[], gym.Env[Any, Any]]) -> GymVecEnv:
    return GymVecEnv(Journals(SyncVectorEnv([make] * COPIES, autoreset_mode=AutoresetMode.SAME_STEP)), seed=5)


def _stored(state: Any) -> Any:
    """Take a state through JSON and npz, without pickle: as long as it is plain data and arrays, it comes back."""
    arrays: dict[str, Any] = {}
    text, file = json.dumps(_parted(state, arrays)), io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as back:
        return _joined(json.loads(text), {name: back[name] for name in back.files})


def _parted(state: Any, arrays: dict[str, Any]) -> Any:
    if isinstance(state, dict):
        assert all(isinstance(key, str) for key in state)
        return {"dict": {key: _parted(value, arrays) for key, value in state.items()}}
    if isinstance(state, list):
        return [_parted(value, arrays) for value in state]
    if isinstance(state, np.ndarray):
        name = f"a{len(arrays)}"
        arrays[name] = state
        return {"array": name}
    assert state is None or type(state) in (bool, int, float, str), type(state)
    return state


def _joined(state: Any, arrays: dict[str, Any]) -> Any:
    if isinstance(state, list):
        return [_joined(value, arrays) for value in state]
    if isinstance(state, dict) and "array" in state:
        return arrays[state["array"]]
    return {key: _joined(value, arrays) for key, value in state["dict"].items()} if isinstance(state, dict) else state


def _played(env: GymVecEnv, actions: Any) -> Iterator[Any]:
    """All that is said of every step, but measured time."""
    for one in actions:
        seen, reward, done, infos = env.step(one)
        for info in infos:
            info.get("episode", {}).pop("t", None)
        yield seen, reward, done, infos, [dict(info) for info in env.reset_infos]


def _actions(env: GymVecEnv, steps: int) -> list[Any]:
    rng = np.random.default_rng(7)
    return [random_actions(env.action_space, rng, env.num_envs) for _ in range(steps)]


def _goes_on(make: Callable[[], GymVecEnv], snapshots: int = 2, after: int = AFTER) -> int:
    """Hold worlds that took a state to the one that it is of; return how many episodes had ended by the last state."""
    world = make()
    actions = _actions(world, EVERY * snapshots + after)
    world.reset()
    told, states = [], {}
    for step, said in enumerate(_played(world, actions), start=1):
        told.append(said)
        if step % EVERY == 0 and step // EVERY <= snapshots:
            states[step] = _stored(world.state_dict())
    for step, state in states.items():
        other = make()
        other.load_state_dict(state)
        assert same(other.state_dict(), state), f"what was taken at step {step} is not what is there"
        for ahead, said in enumerate(_played(other, actions[step : step + after])):
            assert same(said, told[step + ahead]), f"{ahead + 1} steps after step {step}"
        other.close()
    world.close()
    return int(sum(said[2].sum() for said in told[: EVERY * snapshots]))


@fault
@pytest.mark.parametrize("case", _some_fast(WAYS, lambda case: case in (("cartpole", "native"), ("catch", "sync"))))
def test_goes_on_in_a_new_world(case: tuple[str, str]) -> None:
    """Every registered world, both ways where there are two, while parameters, orders and rewards drift."""
    world, way = case
    _goes_on(lambda: _world(world, way))


@fault
@pytest.mark.slow
@pytest.mark.parametrize("case", WAYS, ids="-".join)
def test_goes_on_again_and_again(case: tuple[str, str]) -> None:
    """Ten states in a life of many episodes: one can be right by luck."""
    world, way = case
    assert _goes_on(lambda: _world(world, way, apply="truncate"), snapshots=10, after=60) > COPIES


NEW = [
    *(pytest.param(*one, marks=pytest.mark.slow if one[0] in NEW_PROCESS else pytest.mark.matrix) for one in WAYS),
    *(pytest.param(id, "theirs", marks=pytest.mark.matrix) for id in EXACT),
]


@fault
@pytest.mark.parametrize(("world", "way"), NEW)
def test_goes_on_in_a_new_process(world: str, way: str, survived: Callable[[int], None]) -> None:
    """Which has nothing of the old one but the states, of twenty moments in a life of many episodes."""
    told, states, actions = _lived(lambda: _any(world, way), LONG)
    afresh = multiprocessing.get_context("forkserver")  # it has imported this, and lived in no world
    afresh.set_forkserver_preload([__name__])
    with afresh.Pool(1, maxtasksperchild=1) as elsewhere:
        for step, state in states.items():
            ahead = slice(step, step + NEXT)
            assert same(elsewhere.apply(_goes_on_from, (world, way, state, actions[ahead])), told[ahead]), step
    survived(len(states))


def _lived(make: Callable[[], GymVecEnv], snapshots: int) -> tuple[list[Any], dict[int, Any], list[Any]]:
    """Return what a world says, its states at so many moments, by step, and what was done in it."""
    world, states, told = make(), dict[int, Any](), list[Any]()
    actions = _actions(world, EVERY * snapshots + NEXT)
    world.reset()
    for step, said in enumerate(_played(world, actions), start=1):
        told.append(said)
        if step % EVERY == 0 and len(states) < snapshots:
            states[step] = _stored(world.state_dict())
    world.close()
    return told, states, actions


def _any(world: str, way: str) -> GymVecEnv:
    return _copies(partial(drifted, world, stride=COPIES)) if way == "theirs" else _world(world, way, apply="truncate")


def _goes_on_from(world: str, way: str, state: Any, actions: Any) -> list[Any]:
    other = _any(world, way)
    other.load_state_dict(state)
    said = list(_played(other, actions))
    other.close()
    return said


@fault
@pytest.mark.matrix
@pytest.mark.parametrize("id", [id for id in REMEMBERING if id in THEIRS])
def test_who_remembers_is_refused(id: str, survived: Callable[[int], None]) -> None:
    """A world of somebody's that goes on over resets, even where its running episode can be done again."""
    world = _any(id, "theirs")
    world.reset()
    actions = _actions(world, EVERY * LONG)
    for moment in range(LONG):
        list(_played(world, actions[moment * EVERY : (moment + 1) * EVERY]))
        with pytest.raises(StateError, match="its earlier episodes: no run in it can be resumed"):
            world.state_dict()
    survived(LONG)


class _InOneWorld(gym.Wrapper[Any, Any, Any, Any]):
    """Has a world of Box2D's, which every episode leaves to the next, or the first one finds."""

    def __init__(self, made: bool) -> None:
        super().__init__(_Own())
        self.world = _Box2DWorld() if made else None

    @property
    def unwrapped(self) -> Any:
        return self

    def reset(self, **how: Any) -> tuple[Any, dict[str, Any]]:
        self.world = self.world or _Box2DWorld()
        return self.env.reset(**how)


_Box2DWorld = type("b2World", (), {"__module__": "Box2D.Box2D"})


@pytest.mark.parametrize("made", [True, False])
def test_who_remembers_is_refused_before_anything_is_kept(made: bool) -> None:
    """As soon as an episode began in a world of before; until then, and where there is none, there is a state."""
    journal, plain = Journal(_InOneWorld(made)), Journal(_Own())
    for episode in range(3):
        for one in (journal, plain):
            one.reset(seed=0)
        plain.snapshot()
        if episode or made:
            with pytest.raises(StateError, match="goes on in the world of its earlier episodes"):
                journal.snapshot()
        else:
            journal.snapshot()
    assert goes_on(_InOneWorld(made=True))
    assert not goes_on(plain)


@fault
@pytest.mark.parametrize(
    "case", _some_fast([(w, way) for w in LAYERED for way in ("native", "sync")], lambda case: case[1] == "native")
)
def test_goes_on_in_layers(case: tuple[str, str]) -> None:
    """With every layer there is, each at work and at rest in turn."""
    world, way = case
    drifts = layered(world, 31, native=way == "native")
    assert _goes_on(lambda: _world(world, way, drifts=drifts), after=40) > 0


@fault
@pytest.mark.parametrize("way", ["native", "sync"])
@pytest.mark.parametrize("apply", ["step", "reset", "truncate"])
def test_goes_on_by_other_clocks(way: str, apply: str) -> None:
    """Parameters on every clock, with a trigger that the returns pull and one that time does."""
    drifts = {
        "gravity": {"kind": "cycle", "values": [9.8, 20.0], "period": 40},
        "length": {"kind": "cycle", "values": [0.5, 0.8], "period": 2},
        "force_mag": {"kind": "cycle", "values": [10.0, 12.0], "period": 3},
        "masspole": {"kind": "count", "period": 1} | {"kind": "cycle", "values": [0.1, 0.3]},
    }
    time = {
        "clocks": {"length": "episode", "force_mag": "step", "masspole": "trigger"},
        "trigger": {"threshold": 25.0, "window": 2, "cap": 130},
        "apply": apply,
    }
    assert _goes_on(lambda: _world("cartpole", way, drifts=drifts, **time), after=40) > 10


@fault
@pytest.mark.parametrize("way", ["native", "sync"])
def test_goes_on_before_the_first_reset(way: str) -> None:
    """A state from then keeps the seed that was given."""
    world, other = _world("catch", way), _world("catch", way)
    other.seed(11)
    other.load_state_dict(_stored(world.state_dict()))
    assert same(world.reset(), other.reset())


@fault
@pytest.mark.parametrize("way", ["native", "sync"])
def test_a_used_world_takes_a_state(way: str) -> None:
    """What it was before leaves nothing behind."""
    world, other = _world("cartpole", way), _world("cartpole", way)
    actions = _actions(world, 120)
    for env, steps in ((world, 70), (other, 45)):
        env.seed(steps)
        env.reset()
        list(_played(env, actions[:steps]))
    other.load_state_dict(world.state_dict())
    assert same(list(_played(world, actions[70:])), list(_played(other, actions[70:])))


@pytest.mark.parametrize("way", ["native", "sync"])
def test_a_state_is_a_copy(way: str) -> None:
    """The world goes on without changing it, and who took it does not change it either."""
    world, other = _world("catch", way), _world("catch", way)
    actions = _actions(world, 60)
    world.reset()
    list(_played(world, actions[:30]))
    state = world.state_dict()
    before = _stored(state)
    list(_played(world, actions[30:]))
    other.load_state_dict(state)
    list(_played(other, actions[30:]))
    assert same(_stored(state), before)


def test_saying_it_changes_nothing() -> None:
    """A world that is asked at every step is the one that never is; classic control draws ahead."""
    asked, left = _world("cartpole", "native"), _world("cartpole", "native")
    actions = _actions(asked, 150)
    asked.reset(), left.reset()
    for action in actions:
        asked.state_dict()
        assert same(list(_played(asked, [action])), list(_played(left, [action])))


@fault
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_native_batches_in_every_mode(mode: AutoresetMode) -> None:
    """Who waits for a reset still waits, and what its copy saw last is still seen."""
    one, other = (
        make_vec(id_of("cartpole"), COPIES, autoreset_mode=mode, drifts=restless("cartpole", 53)) for _ in range(2)
    )
    one.reset(seed=3)
    going, over = [one], np.zeros(COPIES, dtype=np.bool_)
    for step, action in enumerate(np.random.default_rng(0).integers(2, size=(200, COPIES))):
        if mode is AutoresetMode.DISABLED and over.any():
            told = [env.reset(options={"reset_mask": over.copy()}) for env in going]
            assert same(told[0], told[-1])
        said = [env.step(action) for env in going]
        assert same(said[0], said[-1])
        over = said[0][2] | said[0][3]
        if step >= 60 and over.any() and len(going) == 1:
            other.load_state_dict(_stored(one.state_dict()))
            going.append(other)
    assert len(going) == 2


@fault
@pytest.mark.parametrize("id", _some_fast(sorted(SOME_OF_THEIRS), lambda case: case == "CartPole-v1"))
def test_goes_on_in_anybodys(id: str) -> None:
    """Environments that are not ours, by their journals, while rewards drift."""
    _goes_on(lambda: _any(id, "theirs"), 1 if id == "CartPole-v1" else 6)


CHECKED = [*((id_of(world), world == "catch") for world in WORLDS), *((id, id == "CartPole-v1") for id in THEIRS)]


@pytest.mark.parametrize(
    "id", [pytest.param(id, marks=[] if fast else pytest.mark.slow, id=id) for id, fast in CHECKED]
)
def test_a_journal_breaks_no_contract(id: str) -> None:
    """Gymnasium's checker finds nothing wrong with a world in its journal, and warns of nothing that it has not."""
    assert _warnings(Journal(gym.make(id))) == _warnings(gym.make(id))


def _warnings(env: gym.Env[Any, Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        check_env(env, skip_render_check=True)
    env.close()
    return [str(one.message) for one in heard if "different from the unwrapped version" not in str(one.message)]


class _Own(gym.Env[Any, Any]):
    """An environment of somebody's; a subclass says what it shows of its steps."""

    observation_space, action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float64), gym.spaces.Discrete(2)
    steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self.shown(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return self.shown(), 0.0, False, self.steps == 40, {}

    def shown(self) -> Any:
        return self.np_random.uniform(-1, 1, 2)


class _Lucky(_Own):
    """Draws from where no seed reaches."""

    def shown(self) -> Any:
        return np.random.default_rng().uniform(-1, 1, 2)


class _Remembering(_Own):
    """Goes on over resets, as a world that is used again does."""

    age = 0

    def shown(self) -> Any:
        self.age += 1
        return np.full(2, 1 / self.age)


class _Secretive(_Own):
    """Draws from where no seed reaches, and has not shown it yet: its generator is elsewhere."""

    def shown(self) -> Any:
        self.np_random.random(np.random.default_rng().integers(1, 1000))
        return np.zeros(2)


@fault
@pytest.mark.parametrize("kind", [_Lucky, _Remembering, _Secretive])
def test_who_is_not_deterministic_is_refused(kind: type[_Own]) -> None:
    """In one line, and with the code of states that do not fit; its honest twin goes on."""
    _goes_on(lambda: _copies(_Own), after=20)
    world, other = _copies(kind), _copies(kind)
    world.reset()
    list(_played(world, _actions(world, 55)))
    with pytest.raises(StateError, match=r"15 steps of its episode.*no run in it can be resumed") as refusal:
        other.load_state_dict(_stored(world.state_dict()))
    assert "\n" not in str(refusal.value)
    assert refusal.value.exit_code == 3


class _InWords(_Own):
    """Takes texts for actions."""

    action_space = gym.spaces.Text(3)  # type: ignore[assignment]


def test_actions_that_are_no_numbers_are_refused() -> None:
    """A page of them would be an array of objects."""
    journal = Journal(_InWords())
    journal.reset(seed=0)
    journal.step({"left": 1})
    with pytest.raises(StateError, match="neither numbers nor arrays"):
        journal.snapshot()


@fault
def test_another_world_is_refused() -> None:
    """By what differs."""
    state = _world("catch", "native").state_dict()
    for other, words in (
        (_world("catch", "sync"), "another|copies"),
        (_world("cartpole", "native"), "BatchedCartPole"),
        (_world("catch", "native", drifts={}), "PermuteObservationVector"),
        (_world("catch", "native", drifts=restless("catch", 53) | {"reward_shift": 0.0}), "ShiftRewardVector"),
        (GymVecEnv(make_vec(id_of("catch"), 2, autoreset_mode="SameStep", drifts=restless("catch", 53))), "3 copies"),
    ):
        with pytest.raises(ValueError, match=words):
            other.load_state_dict(state)
    bigger = _world("recoded_grid", "native", size=7).state_dict()
    _world("recoded_grid", "native", size=7).load_state_dict(bigger)
    forager = _world("forager", "native", size=12).state_dict()
    with pytest.raises(StateError, match="_ripe has shape"):
        _world("forager", "native", size=15).load_state_dict(forager)


@fault
def test_who_cannot_say_its_state_is_refused() -> None:
    """By name: copies in other processes, copies without journals, a layer that writes files, and one of somebody's."""
    maker = lambda: gym.make(id_of("catch"))  # noqa: E731
    bare = SyncVectorEnv([maker], autoreset_mode=AutoresetMode.SAME_STEP)
    apart = AsyncVectorEnv([maker], autoreset_mode=AutoresetMode.SAME_STEP, context="fork")
    clipped = gym.wrappers.vector.ClipReward(make_vec(id_of("catch"), 1, autoreset_mode="SameStep"), 0.0, 1.0)
    for env, name in ((bare, "SyncVectorEnv"), (apart, "AsyncVectorEnv"), (clipped, "ClipReward")):
        with pytest.raises(ValueError, match=f"{name} cannot say its state"):
            GymVecEnv(env).state_dict()
        env.close()
    with pytest.raises(TypeError, match="SyncVectorEnv"):
        Journals(make_vec(id_of("catch"), 1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="SAME_STEP"):
        Journals(SyncVectorEnv([maker]))


@fault
def test_a_layer_that_cannot_say_its_state_is_refused(tmp_path: Any) -> None:
    """Within layers that can, too."""
    batch = make_vec(id_of("catch"), 1, autoreset_mode="SameStep")
    taped = RecordTapeVector(batch, path=str(tmp_path / "tape"))
    with pytest.raises(StateError, match="RecordTapeVector cannot say its state"):
        TellingVector(taped, ChangeFlag).state_dict()


@fault
def test_goes_on_where_the_agent_is_told() -> None:
    """A voice that is late and garbled says what it would have said; around a batch and around copies."""
    telling: dict[str, Any] = {"tasks": 3, "delay": 4, "noise": 0.3}

    def native() -> GymVecEnv:
        batch = make_vec(id_of("cartpole"), COPIES, autoreset_mode="SameStep", drifts=restless("cartpole", 53))
        return GymVecEnv(TellingVector(batch, TaskIdObservation, **telling), seed=5)

    def one() -> gym.Env[Any, Any]:
        return TaskIdObservation(gym.make(id_of("cartpole"), drifts=restless("cartpole", 53)), **telling)

    for make in (native, lambda: _copies(one)):
        _goes_on(make, snapshots=1, after=60)


@fault
def test_goes_on_in_a_shared_context() -> None:
    """The layer that drives parameters is driven by the drift layer, which comes first."""

    def make() -> GymVecEnv:
        ranges = {"gravity": (5.0, 15.0), "length": (0.3, 1.0)}
        driven = SharedContextVector(environments["cartpole"].make(COPIES), ranges=ranges)
        drifts = {"context": {"kind": "count", "period": 40}}
        return GymVecEnv(NonStationaryVector(driven, drifts=drifts, autoreset_mode="SameStep"), seed=5)

    _goes_on(make, after=60)


@pytest.mark.parametrize("part", ["count", "_row", "_ball", "_paddle", "seeds"])
def test_every_part_is_needed(part: str) -> None:
    """Without it, the world goes another way."""
    world, other = _world("catch", "native"), _world("catch", "native")
    actions = _actions(world, 160)
    world.reset()
    list(_played(world, actions[:98]))
    state = _stored(world.state_dict())
    other.seed(6)
    other.reset()
    state["world"]["layers"][-1]["state"][part] = other.state_dict()["world"]["layers"][-1]["state"][part]
    other.load_state_dict(state)
    assert not same(list(_played(world, actions[98:])), list(_played(other, actions[98:])))


@fault
@pytest.mark.parametrize("case", _some_fast(list(BATCHED), lambda case: case in FAST))
def test_nothing_that_steps_change_is_forgotten(case: str) -> None:
    """Whatever a layer has is the same where the state was taken from and where it was taken to."""
    _hold_to_its_twin(lambda: _world(case, "native"))


@fault
@pytest.mark.parametrize("case", LAYERED)
def test_nothing_that_layers_remember_is_forgotten(case: str) -> None:
    """As above, with every layer there is."""
    _hold_to_its_twin(lambda: _world(case, "native", drifts=layered(case, 31)))


def _hold_to_its_twin(make: Callable[[], GymVecEnv]) -> None:
    world, other = make(), make()
    world.reset()
    for steps in (EVERY, 1, 1, 1, 1):  # at some moments an episode has just begun, and nothing is remembered
        list(_played(world, _actions(world, steps)))
        other.load_state_dict(_stored(world.state_dict()))
        for one, two in zip(stack(world.venv), stack(other.venv), strict=True):
            for name, value in vars(one).items():
                if name not in CACHES and isinstance(value, bool | int | float | np.ndarray | Luck | History):
                    assert same(_plain(value), _plain(vars(two)[name])), name
    world.close()
    other.close()


def _plain(value: Any) -> Any:
    return value.snapshot() if isinstance(value, Stateful) else value


def test_native_worlds_are_both_ways() -> None:
    """The list above has each registered world that can be made here, twice where there is a batch."""
    assert len(WAYS) == len(WORLDS) + sum(map(has_batch, WORLDS))
