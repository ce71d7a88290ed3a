"""The numerical guard: whatever goes wrong with a number, training ends before it is learned from, and says where."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize, unwrap_vec_wrapper
from torch import Tensor
from typer.testing import CliRunner

from lopgym.agents.attach import Plasticity
from lopgym.agents.finite_guard import (
    FiniteGuard,
    GuardUpdates,
    NumericalError,
    check_parameters,
    newest_kept,
)
from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation
from lopgym.agents.vec_env import GymVecEnv
from lopgym.agents.weights import save_weights
from lopgym.envs.build import drifting
from lopgym.record import RunFolder, repeatable
from lopgym.store import newest
from lopgym.studies import run as running
from lopgym.studies.cli import app
from lopgym.studies.compose import from_keywords
from lopgym.studies.worlds import training_world

from .stored import same
from .training import build, catch, differing, everything

AT, COPIES, STEPS = 60, 2, 260  # step of each copy at which the worlds go wrong; env steps of a training
DRIFT = {"reward_scale": {"kind": "cycle", "values": [1.0, 0.5], "period": 80}}

# What becomes of an observation and a reward, so many steps after AT. Two more faults are of resets and of ends.
FAULTS: dict[str, Callable[[Any, float, int], tuple[Any, float]]] = {
    "observation nan": lambda seen, reward, since: (seen * (1.0 if since else np.nan), reward),
    "observation inf": lambda seen, reward, since: (seen - (0.0 if since else np.inf), reward),
    "observation 1e30": lambda seen, reward, since: (seen + (0.0 if since else 1e30), reward),
    "observation explodes": lambda seen, reward, since: (seen * 1.5**since, reward),
    "reward nan": lambda seen, reward, since: (seen, reward if since else np.nan),
    "reward inf": lambda seen, reward, since: (seen, reward if since else np.inf),
    "reward 1e30": lambda seen, reward, since: (seen, reward if since else -1e30),
}
KINDS = (*FAULTS, "first nan", "terminal nan")
AT_ONCE = [kind for kind in FAULTS if kind != "observation explodes"]
WORLDS = [("ppo", "CartPole-v1"), ("ppo", "Pendulum-v1"), ("dqn", "CartPole-v1")]


class Faulty(gym.Wrapper[Any, Any, Any, Any]):
    """A world that goes wrong in one way."""

    def __init__(self, id: str, fault: str) -> None:
        """Make the world `id`, to go wrong by `fault`."""
        super().__init__(gym.make(id, max_episode_steps=40))
        self.fault, self.taken = fault, 0

    def reset(self, **how: Any) -> Any:
        """Reset."""
        seen, info = self.env.reset(**how)
        return seen * np.nan if self.fault == "first nan" and self.taken >= AT else seen, info

    def step(self, action: Any) -> Any:
        """Step."""
        seen, reward, terminated, truncated, info = self.env.step(action)
        since, self.taken = self.taken - AT, self.taken + 1
        if since >= 0 and self.fault in FAULTS:
            seen, reward = FAULTS[self.fault](seen, float(reward), since)
        if since >= 0 and self.fault == "terminal nan" and (terminated or truncated):
            seen = seen * np.nan
        return seen, reward, terminated, truncated, info


def _worlds(id: str, fault: str) -> GymVecEnv:
    """Two copies side by side, of which the second goes wrong."""
    copies = [partial(_drifting, id, "none"), partial(_drifting, id, fault)]
    return GymVecEnv(SyncVectorEnv(copies, autoreset_mode=AutoresetMode.SAME_STEP), seed=0)


def _drifting(id: str, fault: str) -> gym.Env[Any, Any]:
    return drifting(Faulty(id, fault), drifts=DRIFT, stride=COPIES, world_seed=0, apply="step", clocks={}, trigger=None)


def _guarded(name: str, venv: Any, **options: Any) -> Any:
    return build(name, world=VecNormalize(FiniteGuard(venv, world="a world")), **_SMALL[name] | options)


_SMALL: dict[str, dict[str, Any]] = {
    "ppo": {"n_steps": 32, "n_epochs": 1, "batch_size": 64},
    "dqn": {"learning_starts": 40, "train_freq": 4},
}


def _assert_sound(model: Any) -> None:
    """Hold weights, the optimizer's memory and the running statistics to be finite."""
    normalizer = model.get_vec_normalize_env()
    assert all(torch.isfinite(part).all() for part in everything(model).values())
    for statistics in (normalizer.obs_rms, normalizer.ret_rms):
        assert np.isfinite(statistics.mean).all()
        assert np.isfinite(statistics.var).all()
        assert np.abs(statistics.mean).max() < 1e6


@pytest.mark.fault("F9")
@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.parametrize(("name", "id"), WORLDS)
@pytest.mark.parametrize("fault", KINDS)
def test_what_a_world_gets_wrong_is_not_learned_from(name: str, id: str, fault: str) -> None:
    """Each kind of fault, in either agent: the copy, the step and the drift are named, and nothing is poisoned."""
    model = _guarded(name, _worlds(id, fault))
    with pytest.raises(NumericalError) as caught:
        model.learn(STEPS, callback=GuardUpdates())
    said = str(caught.value)
    what = {"first nan": "first observation", "terminal nan": "terminal observation"}.get(fault, fault.split()[0])
    found = re.match(rf"step (\d+): {what}(\[\d\])? of copy 1 is ", said)
    assert found is not None, said
    step = int(found[1])
    assert step == COPIES * (AT + 1) if fault in AT_ONCE else step >= COPIES * AT
    task = (step if what == "first observation" else step - 1) // 80  # a reset tells of the step to come
    assert f"; in a world; task {task}; drift reward_scale={[1, 0.5][task % 2]:g}" in said
    assert "\n" not in said
    assert caught.value.exit_code == 5
    _assert_sound(model)


def _poison_once(parameter: Tensor, value: float, after: int = 3) -> None:
    """Let one number of the gradient of `parameter` be `value`, in one backward pass."""
    passes = iter(range(10**6))

    def poisoned(gradient: Tensor) -> Tensor:
        if next(passes) == after:
            gradient = gradient.clone()
            gradient.view(-1)[0] = value
        return gradient

    parameter.register_hook(poisoned)


@pytest.mark.fault("F9")
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["ppo", "dqn"])
def test_a_bad_gradient_is_never_stepped_with(name: str, value: float) -> None:
    """One bad number of a gradient: clipping would make all of them nan; the weights stay as the step found them."""
    model = _guarded(name, _worlds("CartPole-v1", "none"))
    parameter = dict(model.policy.named_parameters())["q_net.q_net.0.weight" if name == "dqn" else "value_net.weight"]
    _poison_once(parameter, value)
    before: list[Tensor] = []
    model.policy.optimizer.register_step_pre_hook(lambda *_: before.append(parameter.detach().clone()))
    with pytest.raises(NumericalError, match=r"^step \d+: gradient of [\w.]+ is nan, not finite; in a world; task \d"):
        model.learn(STEPS, callback=GuardUpdates())
    assert torch.equal(before[-1], parameter)
    assert len(before) == 4
    _assert_sound(model)


class Poison(Mitigation):
    """Puts a value into the gradient, or the weights, at the fifth update."""

    def __init__(self, seam: str, value: float = np.nan) -> None:
        """Act at `seam`."""
        self.seam, self.value = seam, value

    def on_gradient(self, learner: Learner) -> None:
        """Poison the gradient."""
        self._act("on_gradient", learner, [part.grad for part in learner.network.parameters()])

    def after_step(self, learner: Learner) -> None:
        """Poison the weights."""
        self._act("after_step", learner, [*learner.network.parameters()])

    def _act(self, seam: str, learner: Learner, tensors: list[Any]) -> None:
        if seam == self.seam and learner.updates == 5:
            with torch.no_grad():
                tensors[0].view(-1)[0] = self.value


@pytest.mark.parametrize("name", ["ppo", "dqn"])
@pytest.mark.parametrize("value", [np.nan, 1e12])
def test_what_a_mitigation_adds_to_a_gradient_is_looked_at(name: str, value: float) -> None:
    """The guard looks behind every mitigation, at what is stepped with."""
    model = _guarded(name, _worlds("CartPole-v1", "none"), max_grad_norm=1e30)
    methods = [Plasticity(mitigations={"poison": Poison("on_gradient", value)}, probe_every=0), GuardUpdates()]
    with pytest.raises(NumericalError, match=r"gradient of .* is (nan, not finite|1e.12, beyond)"):
        model.learn(STEPS, callback=methods)
    assert model.policy.optimizer.state[next(model.policy.parameters())]["step"] == 4
    _assert_sound(model)


@pytest.mark.parametrize(("value", "limit"), [(np.inf, 1e6), (2e6, 1e6), (-np.inf, 1e300)])
def test_bad_parameters_are_found_and_never_written(value: float, limit: float, tmp_path: Path) -> None:
    """By whoever asks, and by what would write them; a limit may be beyond what a parameter can be."""
    model = build("dqn", world=FiniteGuard(catch(), limit=limit))
    with torch.no_grad():
        model.q_net.q_net[-1].bias[0] = value
    with pytest.raises(NumericalError, match=r"parameter q_net\.q_net\.\w+\.bias is "):
        check_parameters(model)
    with pytest.raises(NumericalError, match="parameter"):
        save_weights(model, tmp_path / "task-0.npz")
    assert not list(tmp_path.iterdir())


def test_parameters_are_looked_at_every_so_many_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look is due whether or not anything is written; gradients through dead units would not show it."""
    monkeypatch.setattr("lopgym.agents.finite_guard.LOOK_EVERY", 10)
    model = _guarded("dqn", catch(), train_freq=1)
    callbacks = [Plasticity(mitigations={"poison": Poison("after_step", -2e6)}, probe_every=0), GuardUpdates()]
    with pytest.raises(NumericalError, match=r"^step 50: parameter q_net\.\S+ is -2e.06, beyond"):
        model.learn(STEPS, callback=callbacks)


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("name", ["ppo", "dqn"])
def test_training_is_bitwise_what_it_is_without_the_guard(name: str, normalised: bool) -> None:
    """Weights, the optimizer's memory, running statistics and random state."""

    def trained(around: Callable[[Any], Any], callback: list[Any]) -> Any:
        world = around(catch())
        model = build(name, world=VecNormalize(world) if normalised else world)
        model.learn(100, callback=[Plasticity(probe_every=0), *callback])
        return model

    plain, guarded = trained(lambda world: world, []), trained(FiniteGuard, [GuardUpdates()])
    assert not differing(everything(plain), everything(guarded))
    if normalised:
        assert plain.env.obs_rms.mean.tobytes() == guarded.env.obs_rms.mean.tobytes()


@pytest.fixture
def three() -> Iterator[Any]:
    """Yield three copies that nobody steps, and what they would say."""
    venv = DummyVecEnv([lambda: gym.make("Pendulum-v1")] * 3)
    venv.reset()
    yield venv
    venv.close()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_limit_is_let_through_and_the_next_number_is_not(three: Any, dtype: Any) -> None:
    """At the limit, of either sign, in every copy; and nothing warns of what overflows in the check."""
    guard = FiniteGuard(three, limit=1024.0)
    guard.step_async(np.array([[1024], [-1024], [0]], dtype))
    for value in (np.nextafter(dtype(1024), dtype(np.inf)), -np.finfo(dtype).max, dtype(np.nan), dtype(-np.inf)):
        with pytest.raises(NumericalError, match=r"^step \d+: action\[0\] of copy 1 is "):
            guard.step_async(np.array([[0], [value], [0]], dtype))


def test_a_limit_beyond_what_a_number_can_be_lets_all_through_that_are_finite(three: Any) -> None:
    """A number of half precision is below the limit of 1e6, and one of single precision below 1e300."""
    for dtype, limit in ((np.float16, 1e6), (np.float32, 1e300)):
        guard = FiniteGuard(three, limit=limit)
        guard.step_async(np.full((3, 1), np.finfo(dtype).max, dtype))
        with pytest.raises(NumericalError, match="copy 0 is -inf, not finite"):
            guard.step_async(np.full((3, 1), -np.inf, dtype))


def test_large_batches_of_large_numbers_are_let_through(three: Any) -> None:
    """Each within the limit, though not the sum of their squares."""
    FiniteGuard(three, limit=10.0).step_async(np.full((3, 1), 9.9, np.float32))


def test_integers_are_not_looked_at(three: Any) -> None:
    """Images and discrete actions are finite by their type; a mask of large numbers is nobody's fault."""
    guard = FiniteGuard(three, limit=1.0)
    guard._check("observation", np.full((3, 4), 3, np.uint8), guard.reset_infos)


def test_the_infos_of_resets_are_those_of_the_worlds() -> None:
    """A wrapper of Stable-Baselines3 has empty ones of its own, and who asks the outermost one gets those."""
    inner = catch(20)
    guard = FiniteGuard(inner)
    guard.reset()
    assert guard.reset_infos == inner.reset_infos
    inner.reset_infos = [{}]  # as a batch has others when it is brought to a state
    for _ in range(30):
        guard.step(np.zeros(1, np.int64))
    assert guard.reset_infos[0]["task"] == inner.reset_infos[0]["task"] == 1


def test_a_reset_is_looked_at_before_anything_is_normalised() -> None:
    """The first observation of a training; without infos that say more, what is known is told."""
    world = SyncVectorEnv([lambda: Faulty("CartPole-v1", "first nan")] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    world.envs[1].taken = AT  # type: ignore[attr-defined]  # ours
    with pytest.raises(NumericalError) as caught:
        build("ppo", world=FiniteGuard(GymVecEnv(world))).learn(100)
    assert str(caught.value) == "step 0: first observation[0] of copy 1 is nan, not finite"


def test_flat_observations_only(three: Any) -> None:
    """In one line."""
    three.observation_space = gym.spaces.Dict(a=gym.spaces.Discrete(2))
    with pytest.raises(ValueError, match="the guard takes observations that are arrays, not Dict"):
        FiniteGuard(three)


def test_training_that_ended_by_an_exception_leaves_one_guard() -> None:
    """The same callback, in the next training, is there once; at the end of a training it is gone."""
    model = _guarded("dqn", catch())
    hooks, callback = model.policy.optimizer._optimizer_step_pre_hooks, GuardUpdates()
    callback.init_callback(model)
    for _ in range(2):
        callback.on_training_start({}, {})
        assert len(hooks) == 1
    callback.on_training_end()
    assert not hooks


def test_the_newest_of_what_is_kept_is_named(tmp_path: Path) -> None:
    """Weights of a task or a whole checkpoint, by time; nothing half written, nothing foreign."""
    assert newest_kept(tmp_path / "none") == newest_kept(tmp_path) == ""
    for age, name in enumerate(["task-9.npz", "task-10.npz", "best.npz", "task-11.part"]):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, ns=(age, age))
    assert newest_kept(tmp_path) == str(tmp_path / "task-10.npz")
    for age, name in enumerate([".tmp-3", "ckpt-000000000300"], start=9):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, ns=(20 - age, 20 - age))
    assert newest_kept(tmp_path / "none", tmp_path) == str(tmp_path / "ckpt-000000000300")


def test_a_study_is_guarded_under_its_normaliser() -> None:
    """With the limit of the config, and the id of its world."""
    options: dict[str, Any] = {"normalize.observations": True, "guard.limit": 1e3}
    guard = unwrap_vec_wrapper(training_world(from_keywords("catch_dqn", **options)), FiniteGuard)
    assert guard is not None
    assert isinstance(guard.venv, GymVecEnv)
    assert (guard.whereabouts.limit, guard.whereabouts.world) == (1e3, "lopgym/Catch-v0")


def test_a_run_that_goes_wrong_is_one_line_and_exit_code_5(tmp_path: Path) -> None:
    """A reward beyond the limit of the run; the weights that it names are there, and sound."""
    drifts = "{reward_scale: {kind: cycle, values: [1.0, 10.0], period: 256}}"
    words = f"train --quiet study=custom env.id=lopgym/LabelBandit-v0 tasks=3 steps_per_task=256 runs_dir={tmp_path}"
    small = "env.n_envs=8 agent.n_steps=32 agent.hidden=[8] agent.n_epochs=1 guard.limit=9 probes=none"
    result = CliRunner().invoke(app, [*words.split(), *small.split(), f"env.drifts={drifts}"])
    assert (result.exit_code, len(result.stderr.splitlines())) == (5, 1), result.output
    (kept,) = tmp_path.glob("custom/*/seed-0/checkpoints/")
    where = "in lopgym/LabelBandit-v0; task 1; drift reward_scale=10"
    said = rf"error: step 2\d\d: reward of copy \d is 10, beyond the guard's limit of 9; {where}; kept last: (.*)"
    found = re.fullmatch(said, result.stderr.strip())
    assert found is not None, result.stderr
    assert found[1] == newest_kept(kept)
    assert (kept / "task-0.npz").is_file()


# Whole runs, which end by a fault and go on without it

EACH = "variant=none tasks=2 report_every=80 probes=none evaluation.every=0 agent.hidden=[8] guard.limit=1000"
PPO = "steps_per_task=160 env.n_envs=2 agent.n_steps=20 agent.batch_size=40 agent.n_epochs=2"
WORLD = "study=custom normalize.observations=true env.kwargs={max_episode_steps:30}"
RUNS = {
    "dqn-Catch": "study=catch_dqn steps_per_task=160 agent.learning_starts=20 normalize.rewards=true",
    "ppo-CartPole": f"{WORLD} {PPO} env.id=CartPole-v1",
    "ppo-Pendulum": f"{WORLD} {PPO} env.id=Pendulum-v1 normalize.rewards=true",
}
# Env steps: between checkpoints, the first that is wrong, what is kept then.
EVERY, WRONG_FROM, LAST_GOOD = 80, 170, 160
PASSES = {"dqn-Catch": 150, "ppo-CartPole": 9, "ppo-Pendulum": 9}  # of gradients, before the one that is poisoned


class Spoiled:
    """Lets the copies of every world go wrong in one way, from an env step on."""

    def __init__(self, fault: str) -> None:
        """Go wrong by `fault`."""
        self.fault, self.steps, self.step_wait = fault, 0, GymVecEnv.step_wait

    def __call__(self, venv: GymVecEnv) -> Any:
        """Step every copy."""
        seen, rewards, dones, infos = self.step_wait(venv)
        self.steps += venv.num_envs
        since = (self.steps - WRONG_FROM) // venv.num_envs
        if since >= 0 and self.fault in FAULTS:
            seen, rewards[-1] = FAULTS[self.fault](seen.astype(np.float32), float(rewards[-1]), since)
        for i in dones.nonzero()[0] if since >= 0 else ():
            if self.fault == "first nan":
                seen[i] = np.nan
            if self.fault == "terminal nan":
                infos[i]["terminal_observation"] = infos[i]["terminal_observation"] * np.nan
        return seen, rewards, dones, infos


def _spoil(patch: pytest.MonkeyPatch, name: str, fault: str) -> None:
    """Let a run meet a fault behind its second checkpoint."""
    if fault in KINDS:
        spoiled = Spoiled(fault)
        patch.setattr(GymVecEnv, "step_wait", lambda venv: spoiled(venv))
        return

    def poisoned(*given: Any) -> Any:
        model = building(*given)
        _poison_once(
            next(iter(model.policy.optimizer.param_groups[0]["params"])), float(fault.split()[1]), PASSES[name]
        )
        return model

    building = running.build_model
    patch.setattr(running, "build_model", poisoned)


def _command(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def _train(name: str, runs: Path) -> tuple[Any, RunFolder]:
    """Train by the command line; return what came of it, and the folder."""
    words = f"train --quiet {EACH} {RUNS[name]} checkpoint.every={EVERY} checkpoint.keep=9".split()
    result = _command(*words, f"runs_dir={runs}")
    (config,) = runs.glob("*/*/*/config.yaml")
    return result, RunFolder(config.parent)


def _kept(folder: RunFolder) -> Any:
    """Return the step of the newest checkpoint, and what it has of the agent."""
    saved, skipped = newest(folder.checkpoints)
    assert saved is not None
    assert skipped == []
    return saved.step, {part: saved.tree["parts"]["agent"][part] for part in ("policy", "optimizer", "normaliser")}


def _all_finite(tree: Any) -> bool:
    if isinstance(tree, dict | list | tuple):
        return all(map(_all_finite, tree.values() if isinstance(tree, dict) else tree))
    return not isinstance(tree, float | np.ndarray | np.floating) or bool(np.isfinite(tree).all())


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], RunFolder]:
    """Return what makes each run without a fault, once."""

    @cache
    def trained(name: str) -> RunFolder:
        result, folder = _train(name, tmp_path_factory.mktemp("straight"))
        assert result.exit_code == 0, result.output
        return folder

    return trained


SAMPLE = {("dqn-Catch", "reward nan")}
SLOW = {("ppo-CartPole", "terminal nan"), ("ppo-Pendulum", "gradient nan"), ("dqn-Catch", "observation explodes")}
PLANTED = [
    pytest.param(name, fault, marks=() if (name, fault) in SAMPLE else tier, id=f"{name}-{fault}")
    for name in RUNS
    for fault in (*KINDS, "gradient nan", "gradient inf")
    for tier in [pytest.mark.slow if (name, fault) in SLOW else pytest.mark.matrix]
]


@pytest.mark.fault("F9")
@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.parametrize(("name", "fault"), PLANTED)
def test_a_run_goes_on_from_what_it_kept_last_when_the_fault_is_gone(
    name: str, fault: str, tmp_path: Path, straight: Callable[[str], RunFolder]
) -> None:
    """It ends with code 5 and one line, what it kept is sound, and it becomes the run that never met the fault."""
    with pytest.MonkeyPatch.context() as patch:
        _spoil(patch, name, fault)
        result, folder = _train(name, tmp_path)
    assert (result.exit_code, result.stderr.count("error: ")) == (5, 1), result.output
    step, kept = _kept(folder)
    assert step == LAST_GOOD
    assert _all_finite(kept)
    assert result.stderr.rstrip().endswith(f"; kept last: {folder.checkpoints}/ckpt-{step:012d}")
    resumed = _command("resume", "--quiet", folder.path)
    assert resumed.exit_code == 0, resumed.output
    assert repeatable(folder.metrics) == repeatable(straight(name).metrics)
    assert same(_kept(folder), _kept(straight(name)))


@pytest.mark.slow
def test_without_the_guard_the_fault_would_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same fault, and nobody who looks: what the last checkpoint holds is not sound."""
    monkeypatch.setattr(FiniteGuard, "_check", lambda *_: None)
    monkeypatch.setattr("lopgym.studies.checkpointing.check_parameters", lambda model: None)
    monkeypatch.setattr("lopgym.agents.weights.check_parameters", lambda model: None)
    monkeypatch.setattr(GuardUpdates, "_before_step", lambda guard: None)
    _spoil(monkeypatch, "dqn-Catch", "observation nan")
    result, folder = _train("dqn-Catch", tmp_path)
    assert result.exit_code == 0, result.output
    assert not _all_finite(_kept(folder))
