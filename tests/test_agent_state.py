"""A training that is rebuilt in the middle from what was kept goes on bit for bit, and each piece kept is needed."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, reduce
from operator import getitem
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize

from lopgym import store
from lopgym.agents import agents
from lopgym.agents.agent_state import load_optimizer, optimizer_state, restore, state_of
from lopgym.agents.attach import Plasticity
from lopgym.agents.checking import checked
from lopgym.agents.fork import ForkProbe
from lopgym.agents.luck import restore_luck, state_of_luck
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.null_calibration import NullCalibration
from lopgym.agents.plain import live, plain
from lopgym.agents.spectra import SpectraProbe
from lopgym.agents.task_change import TaskChange
from lopgym.agents.vec_env import GymVecEnv
from lopgym.envs.build import make_vec
from lopgym.probes import probes
from lopgym.probes.weight_norm import weight_norm
from tests.lively import LIVELY
from tests.training import ALGORITHMS, OPTIONS

Change = Callable[[Any, Any], Any]  # what was kept, and what a rebuilt run has by itself, to what is taken back

TASK, STEPS, ABOUT_HALF = 60, 180, 82  # half: in the second task, before DQN's warm-up of it is over
DRIFTS: dict[str, tuple[str, ...]] = {
    "Catch-v0": ("observation_order", "action_order"),
    "LabelBandit-v0": ("labelling",),
}
AGENTS: dict[str, dict[str, Any]] = {
    "dqn": OPTIONS["dqn"] | {"learning_starts": 31, "exploration_fraction": 0.9},
    "ppo": OPTIONS["ppo"] | {"n_steps": 21, "n_epochs": 4, "batch_size": 21},
}
SOME = ("dormant_fraction", "distance_from_init", "gradient_norm", "policy_churn", "value_churn", "weight_norm")
RESTART = TaskChange(exploration="restart", optimizer="clear")


@dataclass(frozen=True)
class Case:
    """What is trained; `when` is a kind of trigger, `told` whether the number of steps says the task, or the world."""

    algorithm: str
    world: str = "Catch-v0"
    copies: int = 1
    normalised: bool = False
    methods: tuple[str, ...] = ()
    when: str = ""
    probes: tuple[str, ...] = SOME
    looks: bool = False
    checked: bool = False
    told: bool = True
    stem: str = "mlp"
    change: TaskChange = field(default_factory=TaskChange)

    @property
    def middle(self) -> int:
        """A step at which a rollout begins and, of Catch, no episode of 5 steps."""
        rollout = self.copies * AGENTS[self.algorithm].get("n_steps", 1)
        return math.ceil(ABOUT_HALF / rollout) * rollout

    def build_methods(self) -> dict[str, Mitigation]:
        """Build the methods, each at settings at which it does a lot."""
        when = {"when": {"kind": self.when}} if self.when else {}
        built = {name: mitigations.build(name, **LIVELY.get(name, {}) | when) for name in self.methods}
        return {**checked(built)} if self.checked else built


class Training:
    """One model with its callbacks, and all that they wrote."""

    def __init__(self, case: Case, seed: int = 0) -> None:
        """Build it."""
        self.case = case
        self.records: list[tuple[int, dict[str, Any]]] = []
        self.world = _world(case, seed)
        methods = case.build_methods()
        shown = VecNormalize(self.world) if case.normalised else self.world
        options = AGENTS[case.algorithm] | {"hidden": (16, 16), "stem": case.stem}
        self.model: Any = agents.build(case.algorithm, shown, [*methods.values()], seed, "cpu", **options)
        told: dict[str, Any] = {"write": lambda step, values: self.records.append((step, dict(values)))}
        measured = {name: probes[name].make for name in case.probes}
        task = TASK if case.told else None
        options = {"mitigations": methods, "task_change": case.change, "steps_per_task": task, "probe_every": 30}
        self.parts: list[Any] = [Plasticity(probes=measured, **options, **told)]
        if case.looks:
            few = {"weight_norm": weight_norm}
            self.parts += [
                ForkProbe(steps_per_task=TASK, updates=2, repeats=2, samples=4, **told),
                NullCalibration(probes=few, every=70, networks=2, samples=32, **told),
                SpectraProbe(every=70, samples=32, keep=lambda step, spectra: told["write"](step, spectra), **told),
            ]

    def state(self) -> dict[str, Any]:
        """Return everything, as plain data and arrays."""
        everything = {
            "world": self.world.state_dict(),
            "agent": state_of(self.model),
            "parts": {type(part).__name__: part.state_dict() for part in self.parts},
            "luck": state_of_luck(self.model),
        }
        tree: dict[str, Any] = plain(everything)
        return tree

    def load(self, tree: Mapping[str, Any]) -> None:
        """Take everything back."""
        state = live(tree)
        self.world.load_state_dict(state["world"])
        restore(self.model, state["agent"])
        for part in self.parts:
            part.load_state_dict(state["parts"][type(part).__name__])
        restore_luck(self.model, state["luck"])

    def said(self) -> list[tuple[int, dict[str, Any]]]:
        """Return what was written, without measured times."""
        untimed = [(step, {k: v for k, v in one.items() if not k.startswith("time/")}) for step, one in self.records]
        return [(step, one) for step, one in untimed if one]

    def learn(self, steps: int, keeper: BaseCallback | None = None, **options: Any) -> None:
        """Train."""
        self.model.learn(steps, callback=[*self.parts, *([keeper] if keeper else [])], log_interval=None, **options)


def _world(case: Case, seed: int) -> GymVecEnv:
    drifts = {name: {"kind": "count", "period": TASK} for name in DRIFTS.get(case.world, ())}
    options: dict[str, Any] = {"drifts": drifts, "autoreset_mode": AutoresetMode.SAME_STEP, "apply": "truncate"}
    return GymVecEnv(make_vec(f"lopgym/{case.world}", case.copies, **options), seed=seed)


class Keeper(BaseCallback):
    """The last of the callbacks: keeps everything at the start of one rollout, or takes it back before the first."""

    def __init__(self, training: Training, given: Kept | None = None, change: Change = lambda kept, own: kept) -> None:
        """Keep, unless something is given."""
        super().__init__()
        self.training, self.given, self.change = training, given, change
        self.kept: Kept | None = None

    def _on_training_start(self) -> None:
        if self.given is not None:
            _scramble(self.model)
            tree = self.change(copy.deepcopy(self.given.tree), self.training.state())
            self.training.load(tree)

    def _on_rollout_start(self) -> None:
        if self.given is None and self.num_timesteps == self.training.case.middle:
            with TemporaryDirectory() as folder:
                path = store.save(Path(folder), self.num_timesteps, self.training.state(), about={})
                tree = store.load(path).tree
            self.kept = Kept(tree, len(self.training.said()))

    def _on_step(self) -> bool:
        return True


@dataclass(frozen=True)
class Kept:
    """What a resumed run begins with; of the records, how many there were."""

    tree: Any
    records: int


def _scramble(model: Any) -> None:
    """Put every global stream where no run has been: who forgets one must not be lucky."""
    random.seed(99)
    np.random.seed(99)
    torch.manual_seed(99)
    model.action_space.seed(99)


@cache
def _straight(case: Case) -> tuple[Training, Kept]:
    """Train without a break; what it says is copied, since nobody trains it again."""
    training = Training(case)
    keeper = Keeper(training)
    training.learn(STEPS, keeper)
    assert keeper.kept is not None
    return training, keeper.kept


def _resumed(case: Case, kept: Kept, change: Change = lambda kept, own: kept) -> Training:
    """Rebuild with other luck, so that whatever is not in `kept` is different, and go on."""
    training = Training(case, seed=1)
    training.model.num_timesteps = case.middle
    training.learn(STEPS - case.middle, Keeper(training, kept, change), reset_num_timesteps=False)
    return training


def _differences(one: Any, other: Any, where: str = "") -> Iterator[str]:
    """Yield the paths at which two trees are not the same bits."""
    if type(one) is not type(other):
        yield f"{where}: {type(one)} and {type(other)}"
    elif isinstance(one, dict):
        for key in one.keys() | other.keys():
            if key not in ("time", "t"):  # measured
                yield from _differences(one.get(key), other.get(key), f"{where}/{key}")
    elif isinstance(one, list | tuple):
        if len(one) != len(other):
            yield f"{where}: {len(one)} and {len(other)} of them"
        for index, (left, right) in enumerate(zip(one, other, strict=False)):
            yield from _differences(left, right, f"{where}/{index}")
    elif isinstance(one, np.ndarray):
        if (one.dtype, one.shape, one.tobytes()) != (other.dtype, other.shape, other.tobytes()):
            yield where
    elif one != other and not (one != one and other != other):
        yield f"{where}: {one} and {other}"


def _fate(training: Training, since: int = 0) -> dict[str, Any]:
    """Return what a training comes to: what it learned, what it said, and what its latest episodes brought."""
    episodes = [[one["r"], one["l"]] for one in training.model.ep_info_buffer]
    return {"policy": training.state()["agent"]["policy"], "said": training.said()[since:], "episodes": episodes}


def _unlike(case: Case) -> list[str]:
    """Return where a run that was resumed ends unlike the one that was not, and what it said otherwise."""
    straight, kept = _straight(case)
    resumed = _resumed(case, kept)
    assert len(straight.said()) > kept.records > 0, "something has to be said before and after"
    fates = _differences(_fate(straight, kept.records), _fate(resumed), "fate")
    return [*_differences(straight.state(), resumed.state(), "state"), *fates]


FAST = {
    "dqn": Case("dqn", methods=("redo", "cbp", "shrink_perturb"), change=RESTART),
    "ppo": Case("ppo", methods=("redo", "cbp", "shrink_perturb")),
    "dqn of three on the bandit": Case("dqn", "LabelBandit-v0", 3, True, methods=("snr",)),
    "ppo of three on the bandit": Case("ppo", "LabelBandit-v0", 3, True, methods=("snr",), told=False),
    "ppo injected": Case("ppo", methods=("plasticity_injection",), checked=True),
    "ppo with trac": Case("ppo", methods=("trac",), normalised=True, change=TaskChange(normaliser="clear")),
    "ppo with muon": Case("ppo", methods=("muon",), normalised=True),
    "ppo that hears": Case("ppo", methods=("redo",), when="detected"),
}
LOOKED_AT = Case("ppo", methods=("redo", "cbp"), looks=True)


@pytest.mark.parametrize("name", FAST)
def test_a_resumed_training_equals_the_straight_one(name: str) -> None:
    """Everything is equal in the end, and all that was said on the way there."""
    assert _unlike(FAST[name]) == []


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("method", [entry.name for entry in mitigations])
def test_every_method_resumes(method: str, algorithm: str) -> None:
    """The same of every method that there is; a copy of it is held to its promises, too."""
    for case in (Case(algorithm, methods=(method,)), Case(algorithm, methods=(method,), checked=True, copies=3)):
        assert _unlike(case) == []


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("world", DRIFTS)
def test_every_probe_resumes(world: str, normalised: bool, algorithm: str) -> None:
    """The same with every probe that there is."""
    everything = tuple(entry.name for entry in probes)
    case = Case(algorithm, world, 3, normalised, ("cbp",), probes=everything, looks=True)
    assert _unlike(case) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        Case("dqn", "PixelBreakout-v0", stem="conv", methods=("redo", "cbp"), looks=True),
        Case("ppo", "PixelBreakout-v0", stem="conv", methods=("redo", "cbp"), looks=True),
        Case("ppo", "Pendulum-v0", 3, True, methods=("cbp",), probes=("dormant_fraction", "distance_from_init")),
        Case("dqn", methods=("redo",), change=TaskChange(replay_buffer="clear", exploration="restart")),
        Case("dqn", methods=("redo",), when="detected", change=TaskChange(normaliser="clear"), normalised=True),
        LOOKED_AT,
        replace(LOOKED_AT, algorithm="dqn"),
    ],
    ids=[
        "dqn of images",
        "ppo of images",
        "ppo of continuous actions",
        "dqn that clears its replay",
        "dqn that hears",
        "ppo looked at",
        "dqn looked at",
    ],
)
def test_other_agents_resume(case: Case) -> None:
    """Layers of convolutions, a Gaussian policy, an empty replay."""
    assert _unlike(case) == []


def test_keeping_is_not_noticed() -> None:
    """The run that is kept in its middle is the run that is not."""
    case = FAST["ppo that hears"]
    alone = Training(case)
    alone.learn(STEPS)
    assert [*_differences(alone.state(), _straight(case)[0].state())] == []


PLASTICITY = ("parts", "Plasticity")
COMMON: tuple[tuple[str, ...], ...] = (
    ("world",),
    ("agent", "policy"),
    ("agent", "optimizer"),
    ("luck", "numpy"),
    (*PLASTICITY, "mitigations", "cbp"),
    (*PLASTICITY, "counted", "updates"),
    (*PLASTICITY, "counted", "task"),
    (*PLASTICITY, "streams", "rng"),
    (*PLASTICITY, "streams", "rows"),
    (*PLASTICITY, "remembered", "_probe_at"),
    (*PLASTICITY, "measuring", "initial"),
    (*PLASTICITY, "measuring", "previous"),
    (*PLASTICITY, "measuring", "rows"),
)
OWN: dict[str, tuple[tuple[str, ...], ...]] = {
    "dqn": (
        ("agent", "replay"),
        ("agent", "counters", "_n_calls"),
        ("luck", "actions"),
        (*PLASTICITY, "remembered", "_counts"),
        (*PLASTICITY, "remembered", "_flush_at"),
        ("agent", "last", "_last_original_obs"),  # what its normaliser was given is stored in the replay
    ),
    "ppo": (("agent", "last", "_last_obs"), ("agent", "episodes"), ("luck", "torch")),
}
NEEDED = [
    *(pytest.param("ppo", path, id=f"ppo: {'/'.join(path)}") for path in (*COMMON, *OWN["ppo"])),
    *(pytest.param("dqn", path, id=f"dqn: {'/'.join(path)}") for path in OWN["dqn"]),
    *(pytest.param("dqn", path, id=f"dqn: {'/'.join(path)}", marks=pytest.mark.slow) for path in COMMON),
]


def _necessity(algorithm: str, normalised: bool = True) -> Case:
    return Case(algorithm, normalised=normalised, methods=("cbp", "redo", "shrink_perturb"))


def _fates_differ(case: Case, change: Change) -> bool:
    straight, kept = _straight(case)
    return any(_differences(_fate(straight, kept.records), _fate(_resumed(case, kept, change))))


def _left_out(path: Sequence[str]) -> Change:
    """Leave a piece as a rebuilt run has it."""

    def change(kept: Any, own: Any) -> Any:
        *above, last = path
        reduce(getitem, above, kept)[last] = reduce(getitem, above, own)[last]
        return kept

    return change


@pytest.mark.parametrize(("algorithm", "path"), NEEDED)
def test_each_piece_is_needed(algorithm: str, path: tuple[str, ...]) -> None:
    """A run that is resumed without it comes to something else."""
    assert _fates_differ(_necessity(algorithm), _left_out(path))


@pytest.mark.slow
def test_what_dqn_sees_at_first_is_needed() -> None:
    """It is stored in the replay; with a normaliser only the first action hangs on it."""
    assert _fates_differ(_necessity("dqn", normalised=False), _left_out(("agent", "last", "_last_obs")))


@pytest.mark.parametrize("algorithm", ["ppo", pytest.param("dqn", marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", [("moments", "observations"), ("moments", "rewards"), ("returns",)])
def test_all_of_the_normaliser_is_needed(what: tuple[str, ...], algorithm: str) -> None:
    """In a world with a reward at every step."""
    case = Case(algorithm, "CartPole-v0", normalised=True, probes=())
    assert _fates_differ(case, _left_out(("agent", "normaliser", *what)))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_nothing_else_tells_fates_apart(algorithm: str) -> None:
    """The counterpart: with all pieces they are the same."""
    assert not _fates_differ(_necessity(algorithm), lambda kept, own: kept)


def test_the_target_is_needed() -> None:
    """Between two of its updates it is not the network."""

    def forget(kept: Any, own: Any) -> Any:
        policy = kept["agent"]["policy"]
        for name in [name for name in policy if name.startswith("q_net.")]:
            policy[name.replace("q_net.", "q_net_target.", 1)] = policy[name]
        return kept

    assert _fates_differ(_necessity("dqn"), forget)


def test_the_warm_up_of_a_task_is_needed() -> None:
    """A restart moved its end, and the middle lies before that."""
    case = FAST["dqn"]
    assert _fates_differ(case, _left_out((*PLASTICITY, "learning_starts")))


@pytest.mark.slow
def test_a_fork_needs_its_start() -> None:
    """The network that entered the task is not the one at the checkpoint."""
    assert _fates_differ(LOOKED_AT, _left_out(("parts", "ForkProbe", "entered")))


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [("NullCalibration", "at"), ("SpectraProbe", "at"), ("SpectraProbe", "measuring", "rows")]
)
def test_looks_need_theirs(path: tuple[str, ...]) -> None:
    """When they are due, and where their batches come from."""
    assert _fates_differ(LOOKED_AT, _left_out(("parts", *path)))


def test_the_task_that_the_world_told_is_needed() -> None:
    """Without it, a new life seems to be in task 0 until the first step."""
    case = replace(_necessity("ppo"), told=False)
    assert _fates_differ(case, _left_out((*PLASTICITY, "remembered", "_told")))


def test_what_was_kept_and_taken_back_is_a_copy() -> None:
    """Training goes on, and neither the state that it gave nor the one that it was given moves."""
    case = replace(_necessity("dqn"), normalised=True)
    training, other = Training(case), Training(case, seed=1)
    training.learn(60)
    given = {"agent": state_of(training.model), "parts": training.parts[0].state_dict()}
    before = plain(given)
    training.learn(30, reset_num_timesteps=False)
    assert [*_differences(plain(given), before)] == []
    other.learn(40)
    other.parts[0].load_state_dict(given["parts"])
    restore(other.model, given["agent"])
    other.learn(30, reset_num_timesteps=False)
    assert [*_differences(plain(given), before)] == []


def test_an_optimizer_takes_a_state_back_exactly() -> None:
    """Copied, and of the type that it had: PyTorch's way would keep the tensors and make them float32."""
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([parameter], lr=0.1)
    parameter.grad = torch.ones(3)
    optimizer.step()
    optimizer.state[parameter]["long"] = torch.tensor([1 / 3], dtype=torch.float64)
    state = optimizer_state(optimizer)
    kept = copy.deepcopy(state)
    optimizer.state.clear()
    load_optimizer(optimizer, state)
    optimizer.step()
    assert optimizer.state[parameter]["long"].tolist() == [1 / 3]
    assert [*_differences(plain(state), plain(kept))] == []
    assert optimizer.state[parameter]["step"] == 2


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (Case("ppo"), "the state is of a DQN, and this is a PPO"),
        (
            Case("dqn", "LabelBandit-v0"),
            r"policy\.\S+ is \(16, \d+\) of float32 here, and \(16, \d+\) of float32 there",
        ),
        (Case("dqn", normalised=True), r"normaliser\.rewards is \(\) of float64 here, and nowhere there"),
    ],
)
def test_the_state_of_another_is_refused(case: Case, said: str) -> None:
    """In one line, and before anything has changed."""
    state, other = state_of(Training(Case("dqn")).model), Training(case, seed=1)
    other.model._last_obs = np.zeros(1)
    before = plain(state_of(other.model))
    with pytest.raises(ValueError, match=f"^[^\n]*{said}[^\n]*$"):
        restore(other.model, state)
    assert [*_differences(plain(state_of(other.model)), before)] == []


def test_the_replay_of_another_length_is_refused() -> None:
    """It is a ring: its rows belong to its length."""
    state = state_of(Training(Case("dqn")).model)
    state["replay"]["length"] = 7
    with pytest.raises(ValueError, match=r"the replay's length is 500 here, and 7 there"):
        restore(Training(Case("dqn")).model, state)


def test_states_of_other_methods_are_refused() -> None:
    """By name, of both sides."""
    one, other = Training(Case("dqn", methods=("cbp",))), Training(Case("dqn"))
    for training in (one, other):
        training.learn(10)
    with pytest.raises(ValueError, match="the state is of the mitigations cbp, and here there are none"):
        other.parts[0].load_state_dict(one.parts[0].state_dict())


def test_an_unknown_algorithm_is_refused() -> None:
    """It may remember what nobody knows of."""
    with pytest.raises(TypeError, match="nobody knows what A2C has to remember; known: DQN, PPO"):
        state_of(A2C("MlpPolicy", _world(Case("ppo"), 0)))


def test_trees_come_back_as_they_were() -> None:
    """Types, bits, shapes, and the order of numbers in memory."""
    numbers = torch.tensor([float("nan"), -0.0, 1e-45])
    tensors = {str(kind): numbers.to(kind) for kind in (torch.float16, torch.float32, torch.float64, torch.complex64)}
    whole = {str(kind): torch.tensor([[1, 0]]).to(kind) for kind in (torch.bool, torch.uint8, torch.int64)}
    turned = torch.arange(6.0).reshape(2, 3).T
    tree = {"tensors": tensors | whole, 3: [turned, torch.tensor(0.5)], "none": None, "pair": (1, "two", 2**80)}
    back = live(plain(tree))
    assert [*_differences(plain(tree), plain(back))] == []
    assert [back[3][0].stride(), back[3][1].shape] == [turned.stride(), ()]
    assert all(back["tensors"][name].dtype == tensor.dtype for name, tensor in (tensors | whole).items())
    assert (back["none"], back["pair"]) == (None, (1, "two", 2**80))
    turned[0] = 9.0
    assert back[3][0][0].tolist() == [0.0, 3.0]


def test_the_store_keeps_trees() -> None:
    """What `plain` returns goes to disk and comes back."""
    tree = plain({"weight": torch.randn(3, 2).T, "rng": torch.Generator().get_state(), "many": {0: [True, 1.5]}})
    with TemporaryDirectory() as folder:
        path = store.save(Path(folder), 1, tree, about={})
        assert [*_differences(tree, store.load(path).tree)] == []


@pytest.mark.parametrize(
    ("leaf", "said"),
    [
        (torch.ones(2, dtype=torch.bfloat16), r"state/a/0: a tensor of torch\.bfloat16 .* cannot be kept"),
        (torch.ones(2).to_sparse(), r"state/a/0: a tensor of torch\.float32 in the layout torch\.sparse_coo"),
        (np.array([None]), "state/a/0: an array of objects cannot be kept"),
        ({1, 2}, "state/a/0: a set cannot be kept"),
        ({True: 1}, "state/a/0: the key True cannot be kept"),
        ({"tensor": 1, "device": 2}, "stand for a tensor"),
    ],
)
def test_what_cannot_be_kept_is_refused(leaf: Any, said: str) -> None:
    """With the path to it, in one line."""
    with pytest.raises(TypeError, match=f"^[^\n]*{said}[^\n]*$"):
        plain({"a": [leaf]})


def test_numbers_of_numpy_become_pythons() -> None:
    """The same values, of types that every store knows."""
    found = plain([np.int64(3), np.float32(0.1), np.bool_(True), np.float64(0.1)])
    assert found == [3, float(np.float32(0.1)), True, 0.1]
    assert [type(one) for one in found] == [int, float, bool, float]
