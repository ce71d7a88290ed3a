"""The fork probe: its parts are told apart on networks whose fault is built in, and the real run never notices it."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3 import A2C, PPO
from torch import Tensor, nn

from lopgym.agents import fork as fork_module
from lopgym.agents.attach import Plasticity
from lopgym.agents.fork import ForkProbe, Race
from lopgym.agents.mitigations import mitigations
from lopgym.agents.problems import RandomProblem, Source, random_problem
from lopgym.agents.task_change import TaskChange
from lopgym.probes.fitting import Budget, Problem, Trainee, fit
from lopgym.probes.fork import PARTS, Trial, compare, restarted, trial
from lopgym.probes.trainability import random_target_fit
from lopgym.record import Recorder
from lopgym.seeding import derive
from lopgym.studies.compose import from_keywords
from lopgym.studies.reporting import logger_into
from lopgym.studies.run import build_mitigations, build_model
from lopgym.studies.worlds import training_world
from tests.training import ALGORITHMS, build, catch, differing, everything

HEADS = frozenset({"4.weight", "4.bias"})
BUDGET = Budget(updates=60, batch_size=16)
LOSSES = st.floats(0, 100)
TASK = 100

LIGHT: dict[str, dict[str, int]] = {"dqn": {"train_freq": 4}, "ppo": {"n_epochs": 2}}  # few updates a task

Written = dict[int, Mapping[str, float]]
CONTENDERS = ("carried", "cleared", "fresh_head", "fresh")
PROBLEMS = {"dqn": {"live", "random"}, "ppo": {"live_policy", "live_value", "random"}}


def _network(seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 2))


def _trainee(network: nn.Module) -> Trainee:
    return Trainee(network, torch.optim.Adam(network.parameters(), lr=1e-2))


def _teacher(seed: int) -> Problem:
    """Regress on a smooth function."""
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(seed))
    y = torch.stack([x[:, 0] * x[:, 1], x.sum(dim=1).sin()], dim=1)
    return Problem(64, lambda network, rows: (network(x[rows]) - y[rows]).square().mean())


def _parts(trainee: Trainee, repeats: int = 4) -> dict[str, float]:
    """Fork with a fresh network and a problem of its own in every repeat."""
    trials = [
        trial(trainee, HEADS, _network(100 + repeat).state_dict(), _teacher(repeat), BUDGET, seed=repeat)
        for repeat in range(repeats)
    ]
    return compare(trials)


def _experienced() -> Trainee:
    """Return a trainee that has learned something else."""
    trainee = _trainee(_network(0))
    fit(trainee, _teacher(99), Budget(updates=30), seed=0)
    return trainee


def test_gap_and_parts_by_hand() -> None:
    """The fresh network comes from 10 to 2 and from 6 to 2: 6 on average is the unit of every difference."""
    trials = [
        Trial(10.0, {"carried": 8.0, "cleared": 6.5, "fresh_head": 5.0, "fresh": 2.0}),
        Trial(6.0, {"carried": 8.0, "cleared": 6.5, "fresh_head": 5.0, "fresh": 2.0}),
    ]
    found = compare(trials)
    assert {part: found[part] for part in PARTS} == {"gap": 1.0, "optimizer": 0.25, "head": 0.25, "trunk": 0.5}
    assert found["gap_low"] == found["gap_high"] == 1.0
    assert found["loss/start"] == 8.0
    assert found["loss/carried"] == 8.0
    assert found["loss/fresh"] == 2.0


def test_the_interval_is_that_of_the_differences() -> None:
    """By hand: losses that differ by 90 between repeats, gaps of 1 and 3: 2 +- 12.706, whatever the losses are."""
    losses = [(11.0, 11.0, 10.0), (101.0, 103.0, 100.0)]  # of start, carried and fresh
    trials = [Trial(a, {"carried": b, "cleared": 0.0, "fresh_head": 0.0, "fresh": c}) for a, b, c in losses]
    found = compare(trials)
    assert (found["gap_low"], found["gap_high"]) == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-4)


@settings(derandomize=True, max_examples=50)
@given(st.lists(st.tuples(LOSSES, LOSSES, LOSSES, LOSSES), min_size=2, max_size=6))
def test_parts_sum_to_the_gap_and_lie_in_their_intervals(losses: list[tuple[float, ...]]) -> None:
    """Nothing of the gap is left over."""
    names = ("carried", "cleared", "fresh_head", "fresh")
    found = compare([Trial(200.0, dict(zip(names, one, strict=True))) for one in losses])
    assert found["optimizer"] + found["head"] + found["trunk"] == pytest.approx(found["gap"], abs=1e-9)
    assert all(found[f"{part}_low"] <= found[part] <= found[f"{part}_high"] for part in PARTS)


@pytest.mark.parametrize("start", [1.0, 0.5, float("nan")])
def test_without_progress_there_is_no_unit(start: float) -> None:
    """A problem that a fresh network does not learn in this time says nothing; its losses are still told."""
    found = compare([Trial(start, dict.fromkeys(("carried", "cleared", "fresh_head", "fresh"), 1.0))] * 2)
    assert PARTS.keys().isdisjoint(found)
    assert found["loss/fresh"] == 1.0


def test_a_fresh_network_has_no_gap() -> None:
    """The null: all intervals hold 0, and a network that never trained has no optimizer state to lose."""
    found = _parts(_trainee(_network(7)))
    assert found["gap_low"] < 0 < found["gap_high"]
    assert found["head_low"] < 0 < found["head_high"]
    assert found["trunk_low"] < 0 < found["trunk_high"]
    assert found["optimizer"] == found["optimizer_low"] == found["optimizer_high"] == 0.0


@pytest.mark.parametrize("layer", [0, 2])
def test_dead_units_are_the_trunk_s_part(layer: int) -> None:
    """No unit of a layer ever fires: a new head cannot learn either."""
    trainee = _trainee(_network(7))
    with torch.no_grad():
        trainee.network.get_submodule(str(layer)).bias.fill_(-100.0)  # type: ignore[union-attr, operator]
    found = _parts(trainee)
    assert found["trunk_low"] > 0.3
    assert found["gap_low"] > 0.3
    assert abs(found["head"]) < 0.2
    assert found["optimizer"] == 0.0


def test_a_spoilt_head_is_the_head_s_part() -> None:
    """Outputs off by a hundred, which 60 steps of a hundredth cannot undo; the trunk below is as good as new."""
    trainee = _trainee(_network(7))
    with torch.no_grad():
        trainee.network.get_submodule("4").bias.fill_(100.0)  # type: ignore[union-attr, operator]
    found = _parts(trainee)
    assert found["head_low"] > 10
    assert found["trunk_low"] < 0 < found["trunk_high"]
    assert found["optimizer"] == 0.0


def test_a_stuck_optimizer_is_the_optimizer_s_part() -> None:
    """Adam that remembers gradients of a thousand takes no steps; the network itself is as good as new."""
    trainee = _trainee(_network(7))
    fit(trainee, _teacher(0), Budget(updates=1), seed=0)
    for state in trainee.optimizer.state.values():
        state["exp_avg"].zero_()
        state["exp_avg_sq"].fill_(1e6)
        state["step"].fill_(1e6)
    found = _parts(trainee)
    assert found["optimizer_low"] > 0.5
    assert found["head_low"] < 0 < found["head_high"]
    assert found["trunk_low"] < 0 < found["trunk_high"]


def test_contenders_start_from_what_they_are_called_after() -> None:
    """With no update, each loss is that of the network that was put together by hand."""
    trainee, fresh, problem = _experienced(), _network(3), _teacher(1)
    mixed = _network(0)
    mixed.load_state_dict(trainee.network.state_dict() | {k: v for k, v in fresh.state_dict().items() if k in HEADS})
    rows = torch.arange(64)
    old, new_head, new = (problem.loss(net, rows).item() for net in (trainee.network, mixed, fresh))
    found = trial(trainee, HEADS, fresh.state_dict(), problem, Budget(updates=0), seed=0)
    assert found == Trial(new, {"carried": old, "cleared": old, "fresh_head": new_head, "fresh": new})


def test_only_the_carried_optimizer_has_a_past() -> None:
    """Clearing forgets moments and step counts, and keeps the learning rate."""
    trainee = _experienced()
    trainee.optimizer.param_groups[0]["lr"] = 0.123
    other = restarted(trainee, {})
    assert trainee.optimizer.state
    assert not other.optimizer.state
    assert other.optimizer.param_groups[0]["lr"] == 0.123


def test_a_trial_leaves_its_trainee_and_the_random_streams_alone() -> None:
    """Bit for bit, and twice the same."""
    trainee = _experienced()
    fresh, state = _network(3).state_dict(), torch.get_rng_state()
    before = {name: value.clone() for name, value in trainee.network.state_dict().items()}
    moments = [value.clone() for one in trainee.optimizer.state.values() for value in one.values()]
    results = [trial(trainee, HEADS, fresh, _teacher(1), BUDGET, seed=5) for _ in range(2)]
    assert results[0] == results[1]
    assert differing(before, trainee.network.state_dict()) == []
    after = [value for one in trainee.optimizer.state.values() for value in one.values()]
    assert all(map(torch.equal, moments, after))
    assert torch.equal(torch.get_rng_state(), state)


def _trained(name: str, fork: ForkProbe | None, *, tasks: int = 2, **options: Any) -> tuple[Any, dict[str, Tensor]]:
    """Train under Plasticity with a mitigation and, behind it, the fork probe; return the model and all its state."""
    np.random.seed(0)
    methods = {"shrink_perturb": mitigations.build("shrink_perturb")}
    model = build(name, methods, catch(TASK), **LIGHT[name] | options)
    plasticity = Plasticity(mitigations=methods, steps_per_task=TASK)
    model.learn(tasks * TASK, callback=[plasticity, *([fork] if fork else [])])
    drawn = {"numpy": torch.from_numpy(np.random.random(3)), "actions": torch.tensor(model.action_space.sample())}
    return model, everything(model) | drawn


def _fork(written: Written | None = None, **options: Any) -> ForkProbe:
    options = {"steps_per_task": TASK, "updates": 4, "repeats": 2, "samples": 32} | options
    kept: Written = {} if written is None else written
    return ForkProbe(**options, write=lambda step, values: kept.update({step: values}))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_real_run_is_bitwise_untouched(name: str) -> None:
    """Weights, targets, optimizer state, torch's, NumPy's and the action space's generators; and the clipping."""
    written: Written = {}
    (model, forked), (plain, alone) = (_trained(name, fork) for fork in (_fork(written), None))
    assert differing(forked, alone) == []
    assert model.max_grad_norm == plain.max_grad_norm
    assert [*written] == [TASK, 2 * TASK]
    assert len(model.policy.optimizer._optimizer_step_pre_hooks) == 0


@pytest.mark.parametrize("name", ALGORITHMS)
def test_tags(name: str) -> None:
    """Every problem tells gap, parts and losses; costs are under `time/`. At first there is no optimizer state."""
    written: Written = {}
    _trained(name, _fork(written, updates=30), tasks=1)
    values = dict(written[TASK])
    assert values.pop("time/fork_cpu_seconds") > 0
    whats = {f"{part}{end}" for part in PARTS for end in ("", "_low", "_high")}
    whats |= {f"loss/{who}" for who in ("start", "carried", "cleared", "fresh_head", "fresh")}
    one_step = {"dqn": "probe/one_step_plasticity/live", "ppo": "probe/one_step_plasticity/live_value"}[name]
    others = {f"probe/random_target_fit/{who}" for who in CONTENDERS} | {one_step, f"{one_step}/fresh"}
    assert values.keys() - others == {f"probe/fork/{problem}/{what}" for problem in PROBLEMS[name] for what in whats}
    assert all(-math.inf < values[tag] <= 1 for tag in others)
    assert values[one_step] > 0
    assert all(values[f"probe/fork/{problem}/optimizer"] == 0.0 for problem in PROBLEMS[name])


@pytest.mark.parametrize("name", ALGORITHMS)
def test_forks_come_every_so_many_tasks_and_repeat_themselves(name: str) -> None:
    """Tasks 0 and 2 of three; the same numbers in a second run; other ones from another seed."""
    runs: list[Written] = [{}, {}, {}]
    for written, seed, tasks in zip(runs, (0, 0, 1), (3, 3, 1), strict=True):
        _trained(name, _fork(written, every=2, updates=1, samples=8, seed=seed), tasks=tasks)
    first, second, other = (
        {step: {tag: value for tag, value in some.items() if "time" not in tag} for step, some in written.items()}
        for written in runs
    )
    assert [*first] == [TASK, 3 * TASK]
    assert first == second
    assert first[TASK] != other[TASK]


def test_one_step_and_random_fit_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second way to both: the whole race again, with steps written out and R^2 from what the networks then say."""
    written: Written = {}
    model, held = build("dqn", learning_rate=0.01, batch_size=16), list[tuple[Trainee, Any, Any]]()
    fork = _fork(written, updates=20, repeats=2)
    race = fork._race

    def watched(entered: Trainee, *others: Any) -> Race:
        found = race(entered, *others)
        held.append((entered, problems[-1], guesses[-1]))
        return found

    problems, guesses = list[Problem](), list[tuple[RandomProblem, nn.Module, Tensor]]()
    live = fork_module.source_of(model).live

    def keep(some: Any, samples: int) -> dict[str, Problem]:
        found = live(some, samples)
        problems.append(found["live"])
        return found

    def guess(outputs: Any, fresh: nn.Module, seen: Tensor) -> RandomProblem:
        guesses.append((random_problem(outputs, fresh, seen), fresh, seen))
        return guesses[-1][0]

    monkeypatch.setattr(fork_module, "random_problem", guess)
    monkeypatch.setattr(fork_module, "source_of", lambda _: Source(keep, lambda network, seen: network(seen)))
    fork._race = watched  # type: ignore[method-assign]
    model.learn(TASK, callback=fork)
    shares = [_one_step_by_hand(entered.network, problem, 0.01) for entered, problem, _ in held]
    assert written[TASK]["probe/one_step_plasticity/live"] == pytest.approx(np.mean(shares), rel=1e-3)
    seeds = [derive(0, "fork", TASK, repeat) for repeat in range(2)]
    fits = [_fit_by_hand(entered, *guess, seed) for (entered, _, guess), seed in zip(held, seeds, strict=True)]
    assert written[TASK]["probe/random_target_fit/cleared"] == pytest.approx(np.mean(fits), abs=1e-5)


def _one_step_by_hand(network: nn.Module, problem: Problem, rate: float) -> float:
    """Step on each of 32 samples by itself, with an optimizer of torch's."""
    shares = []
    for row in range(32):
        other = copy.deepcopy(network)
        losses = []
        for _ in range(2):
            sgd = torch.optim.SGD(other.parameters(), lr=rate)
            sgd.zero_grad()
            losses.append(problem.loss(other, torch.tensor([row])))
            losses[-1].backward()  # type: ignore[no-untyped-call]  # torch has no types for it
            sgd.step()
        shares.append(min(1.0, max(0.0, 1 - losses[1].item() / losses[0].item())))
    return float(np.mean(shares))


def _fit_by_hand(entered: Trainee, problem: Problem, fresh: nn.Module, seen: Tensor, seed: int) -> float:
    """Train a copy whose optimizer has forgotten everything, and compare what it says with the targets."""
    other = restarted(entered, {})
    with torch.no_grad():
        targets = torch.sin(1e5 * fresh(seen).double()).float() + other.network(seen).mean(dim=0)
    fit(other, problem.asked_of(other.network), Budget(20, 16, 10.0), seed)
    with torch.no_grad():
        return random_target_fit(other.network(seen), targets)


def test_never_is_never() -> None:
    """A fork probe that is switched off copies nothing and writes nothing."""
    written: Written = {}
    build("dqn").learn(2 * TASK, callback=_fork(written, every=0))
    assert written == {}


def test_training_that_goes_on_inside_a_task_leaves_it_out() -> None:
    """Nobody saw the network enter that task."""
    model, written = build("dqn"), Written()
    model.learn(TASK // 2)
    model.learn(2 * TASK, callback=_fork(written), reset_num_timesteps=False)
    assert [*written] == [2 * TASK]


def test_the_network_is_that_which_entered_the_task() -> None:
    """What is learned in the task does not count: the losses before any update are those of the first weights."""
    for name in ALGORITHMS:
        written: Written = {}
        model = build(name)
        first = {k: v.clone() for k, v in model.policy.state_dict().items()}
        fork = _fork(written, updates=0)
        seen: list[Trainee] = []
        fork._fork = lambda entered, seen=seen: seen.append(entered)  # type: ignore[method-assign]
        model.learn(TASK, callback=fork)
        entered = seen[0].network.state_dict()
        prefix = "q_net." if name == "dqn" else ""
        assert differing(entered, {key: first[prefix + key] for key in entered}) == []
        assert differing(first, model.policy.state_dict()) != []


def test_the_race_is_clipped_as_training_is() -> None:
    """Plasticity sets the model's own limit to infinity while it trains: the true one is known all the same."""
    fork = _fork()
    _trained("ppo", fork, tasks=1, max_grad_norm=0.125)
    assert fork._longest == 0.125


def test_continuous_actions_and_shared_trunks() -> None:
    """A Gaussian policy imitates by its density; both heads hang on one trunk."""
    written: Written = {}
    model = PPO("MlpPolicy", "Pendulum-v1", n_steps=64, n_epochs=1, seed=0, device="cpu")
    model.learn(64, callback=_fork(written, steps_per_task=64, updates=15))
    model = build("ppo", share_trunk=True, n_epochs=1)
    model.learn(TASK, callback=_fork(written, updates=15))
    for values in written.values():
        for problem in ("live_policy", "live_value", "random"):
            assert values[f"probe/fork/{problem}/loss/fresh"] < values[f"probe/fork/{problem}/loss/start"]


def test_refusals() -> None:
    """One repeat has no interval; an agent that nothing is known of has no problems."""
    with pytest.raises(ValueError, match="repeats=1: an interval needs at least 2"):
        ForkProbe(steps_per_task=10, repeats=1)
    with pytest.raises(TypeError, match="no problems can be made of A2C; known: DQN, PPO"):
        A2C("MlpPolicy", "CartPole-v1", device="cpu").learn(5, callback=_fork())


@pytest.mark.slow
@pytest.mark.parametrize(("study", "task"), [("catch_dqn", 20), ("label_bandit_ppo", 8)])
def test_lost_plasticity_is_seen_and_a_fresh_agent_has_none(study: str, task: int) -> None:
    """At a late task of a study, gaps of `none` are above zero and above those of `fresh`, intervals and all."""
    none, fresh = (_late(study, task, variant) for variant in ({}, {"mitigation": "fresh"}))
    for problem in PROBLEMS[study.rpartition("_")[2]]:
        gap = f"probe/fork/{problem}/gap"
        assert none[f"{gap}_low"] > 0
        assert none[f"{gap}_low"] > fresh[f"{gap}_high"]
        assert abs(fresh[gap]) < 0.1


def _late(study: str, task: int, variant: Mapping[str, str]) -> Mapping[str, float]:
    """Train a study's agent with seed 0 to the end of a task; return what the fork of that task says."""
    config = from_keywords(study, **variant)
    methods = build_mitigations(config)
    model = build_model(config, training_world(config), methods)
    model.set_logger(logger_into(Recorder([])))
    length, written = config.steps_per_task, Written()
    change = TaskChange(**config.task_change.model_dump())
    plasticity = Plasticity(mitigations=methods, task_change=change, steps_per_task=length)
    model.learn((task + 1) * length, callback=[plasticity, _real(written, length, task)], log_interval=None)
    return written[(task + 1) * length]


def _real(written: Written, length: int, every: int) -> ForkProbe:
    """Return the probe as it comes, but for how often."""
    return ForkProbe(steps_per_task=length, every=every, write=lambda step, values: written.update({step: values}))
