"""Promises of mitigations, held: planted breaches are caught, and every registered method keeps its word."""

import random
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from lopgym.agents.attach import Plasticity
from lopgym.agents.checking import Checked, NothingPromised, PromiseBroken, checked, promises_of
from lopgym.agents.learner_state import same
from lopgym.agents.mitigations import HOOKS, Mitigation, mitigations
from lopgym.agents.mitigations.redo import ReDo
from lopgym.agents.promises import Promises, parts_of
from lopgym.agents.stacking import REFUSED, refusals, refuse
from lopgym.studies.cli import app
from lopgym.studies.compose import ConfigError, from_keywords
from tests import training
from tests.learners import LEARNERS, actor_critic, assert_bitwise, begin, q_learner, snapshot, train
from tests.lively import LIVELY

NAMES = [entry.name for entry in mitigations]
PAIRS = list(combinations(NAMES, 2))
OPTIMIZERS = [name for name in NAMES if "wrap_optimizer" in mitigations[name].make.seams()]
SAMPLED = random.Random(5).sample(PAIRS, 30)  # other pairs when methods join, the same ones on every machine
SMALL = {"hidden": (8, 8)}


def _lively(name):
    return mitigations.build(name, **LIVELY.get(name, {}))


@dataclass(kw_only=True, eq=False)
class Planted(Mitigation):
    """A method that does whatever a test gives it, at one seam, in the 5th update or at the task change."""

    begins: object = None
    gradient: object = None
    step: object = None
    change: object = None
    sync: bool = False

    def begin(self, learner):
        """Act."""
        _act(self.begins, learner)

    def on_gradient(self, learner):
        """Act."""
        if learner.updates == 5:
            _act(self.gradient, learner)

    def after_step(self, learner):
        """Act."""
        if learner.updates == 5:
            _act(self.step, learner)

    def on_task_change(self, learner):
        """Act."""
        _act(self.change, learner)


@torch.no_grad()
def _act(what, learner):
    if what is not None:
        what(learner)


def _log_std(learner):
    learner.network.log_std.add_(1e-7)


def _hidden_weight(learner):
    learner.layers[0].incoming.weight[0, 0] += 0.5


def _hidden_gradient(learner):
    learner.layers[0].incoming.weight.grad.mul_(2)


def _sign_of_zero(learner):
    learner.layers[0].incoming.bias.grad.copy_(-learner.layers[0].incoming.bias.grad.mul_(0))


def _shift(learner):
    next(iter(learner.heads.values())).bias.add_(1e-3)


def _dead_unit(learner):
    """Write a weight that no output depends on."""
    layer = learner.layers[-1]
    layer.outgoing[0].weight[:, 0] = 0.0
    layer.incoming.weight[0] += 1.0


def _replace(learner):
    learner.network.log_std = nn.Parameter(torch.zeros(2))


def _double(learner):
    learner.network.log_std.data = learner.network.log_std.data.double()


def _add(learner):
    learner.network.scale = nn.Parameter(torch.ones(()))


def _add_well(learner):
    _add(learner)
    learner.optimizer.add_param_group({"params": [learner.network.scale]})


def _forget(learner):
    learner.optimizer.param_groups[0]["params"].pop()


def _stranger(learner):
    learner.optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))]})


def _clear(learner):
    learner.optimizer.state.clear()


def _moments(learner):
    for state in learner.optimizer.state.values():
        state["exp_avg"].zero_()


def _target(learner):
    learner.target.log_std.add_(1.0)


def _draw(learner):
    torch.rand(1)


def _all(function="no", but=(), **promises):
    every = ("hidden", "heads", "norms", "log_std", "moments", "steps", "target")
    return Promises(function, tuple(part for part in every if part not in but), **promises)


BREACHES = {
    "log_std": ({"step": _log_std}, _all(but=("log_std",)), r"wrote network.log_std \(log_std\)"),
    "at a change": (
        {"change": _log_std},
        _all(but=("log_std",)),
        r"on_task_change at update 20 \(task 1\) wrote network",
    ),
    "weights": ({"step": _hidden_weight}, _all(but=("hidden",)), r"wrote network.trunks.q.blocks.0.*weight \(hidden\)"),
    "heads": ({"step": _shift}, _all(but=("heads",)), r"wrote network.heads.q.bias \(heads\)"),
    "weights at on_gradient": ({"gradient": _hidden_weight}, _all(), "on_gradient at update 5 .* wrote network.trunks"),
    "gradient": ({"gradient": _hidden_gradient}, _all(but=("hidden",)), "wrote gradient.trunks.q.blocks.0"),
    "gradient, by a sign": ({"gradient": _sign_of_zero}, _all(but=("hidden",)), "wrote gradient.trunks.q.blocks.0"),
    "moments": ({"step": _moments}, _all(but=("moments",)), r"exp_avg \(moments\)"),
    "steps": ({"step": _clear}, _all(but=("steps",)), r"step \(steps\)"),
    "target": ({"step": _target}, _all(but=("target",)), r"wrote target.log_std \(target\)"),
    "unless": ({"step": _target}, _all(unless={"target": {"sync": (False,)}}), r"wrote target.log_std"),
    "synchronises": ({"change": _target}, _all(synchronises=True), "left target.* unlike the network's"),
    "function": ({"step": _shift}, _all("exact"), r"changed q.head by .* of its size, more than 1e-05"),
    "no weights": ({"step": _hidden_weight}, _all("n/a"), "though no hook of it writes weights"),
    "identity": ({"step": _replace}, _all(), "put another tensor in the place of network.log_std"),
    "dtype": ({"step": _double}, _all(), "changed type, place or shape of network.log_std"),
    "joins": ({"step": _add_well}, _all(), "added network.scale, though it promises no 'extra'"),
    "joins untrained": ({"step": _add}, Promises("no", ("extra",)), "left network.scale out of the optimizer"),
    "forgets": ({"step": _forget}, _all(), "out of the optimizer: it is never trained"),
    "stranger": ({"step": _stranger}, _all(), "in the optimizer that is not the network's"),
    "begins": ({"begins": _log_std}, _all(), "begin at update 0 .* wrote network.log_std"),
    "torch": ({"step": _draw}, _all(), "drew from the global random numbers of torch"),
    "numpy": ({"step": lambda _: np.random.random()}, _all(), "drew from the global random numbers of numpy"),
    "python": ({"gradient": lambda _: random.random()}, _all(), "drew from the global random numbers of random"),
}
HONEST = {
    "log_std": ({"step": _log_std}, Promises("no", ("log_std",)), {"log_std"}),
    "weights": ({"step": _hidden_weight}, Promises("no", ("hidden",)), {"hidden"}),
    "gradient": ({"gradient": _hidden_gradient}, Promises("n/a", ("hidden",)), {"hidden"}),
    "moments": ({"step": _moments}, Promises("n/a", ("moments",)), {"moments"}),
    "clear": ({"step": _clear}, Promises("n/a", ("moments", "steps")), {"moments", "steps"}),
    "exact": ({"step": _log_std}, Promises("exact", ("log_std",)), {"log_std"}),
    "approximate": ({"step": _shift}, Promises("approximate", ("heads",)), {"heads"}),
    "joins": ({"begins": _add_well}, Promises("n/a", ("extra",)), set()),
    "nothing": ({}, Promises("exact"), set()),
    "synchronises": (
        {"change": lambda learner: learner.synchronise_target()},
        Promises("n/a", ("target",), synchronises=True),
        {"target"},
    ),
}


def _check(deeds, promises, updates=40):
    method = Checked(name="planted", method=Planted(**deeds), promises=promises)
    learner = q_learner()
    begin(learner, [method])
    train(learner, [method], updates)
    return method


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_is_caught(name):
    """A planted breach ends training with one line that names method, tensor and update."""
    deeds, promises, said = BREACHES[name]
    with pytest.raises(PromiseBroken, match=rf"^planted: .*{said}") as caught:
        _check(deeds, promises)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", HONEST)
def test_who_keeps_the_word_goes_on(name):
    """The same deeds, promised, pass, and what was written is known."""
    deeds, promises, seen = HONEST[name]
    assert _check(deeds, promises).seen == seen


def test_reports_how_far_the_function_moved():
    """An approximate method logs the share by which outputs changed: here of one head, shifted by 0.001."""
    told = []
    learner = q_learner()
    learner.report = told.append
    train(learner, [Checked(name="x", method=Planted(step=_shift), promises=Promises("approximate", ("heads",)))], 5)
    with torch.no_grad():
        largest = learner.network(learner.observations(1000))["q"].abs().max().item()
    assert [counts["checked_acts"] for counts in told] == [1]
    assert 1e-3 / largest <= told[0]["function_change"] < 5e-3 / largest


def test_the_function_is_compared_on_the_same_observations():
    """A method that draws observations of its own does not count for a change: it resets units that nobody hears."""
    told = []
    learner = q_learner()
    layer = learner.layers[-1]
    with torch.no_grad():
        layer.incoming.weight[:2] = 0.0
        layer.incoming.bias[:2] = -1.0
    learner.report, learner.updates = told.append, 1
    Checked(name="redo", method=ReDo(every=1, tau=0.0), promises=promises_of(ReDo())).after_step(learner)
    (change,) = [counts["function_change"] for counts in told if "function_change" in counts]
    assert change < 1e-6
    assert layer.incoming.weight[:2].all()


def test_a_weight_that_no_output_depends_on_is_no_change_of_the_function():
    """Units without outgoing weights may be rewritten by a method that promises to keep the function exactly."""
    learner = q_learner()
    train(learner, [], 3)
    with torch.no_grad():
        learner.layers[-1].outgoing[0].weight[:, 0] = 0.0
    method = Checked(name="x", method=Planted(change=_dead_unit), promises=Promises("exact", ("hidden", "heads")))
    method.on_task_change(learner)
    assert method.seen == {"hidden"}


def test_words_that_do_not_exist_are_refused():
    """A misspelt part or an exemption of what is not touched never gets into the registry."""
    with pytest.raises(ValueError, match=r"'hiden' cannot be promised; did you mean 'hidden'\?"):
        Promises("no", ("hiden",))
    with pytest.raises(ValueError, match="'never' cannot be promised"):
        Promises("never")
    with pytest.raises(ValueError, match="unless 'target': it is not among what is touched, hidden"):
        Promises("no", ("hidden",), unless={"target": {"target": (False,)}})


def test_a_method_without_promises_cannot_be_checked():
    """It is said which one, before training."""
    with pytest.raises(NothingPromised, match="Planted promises nothing that could be checked"):
        checked({"x": Planted()})


def test_not_a_number_is_itself():
    """Bitwise means bitwise: NaN equals NaN, 0.0 is not -0.0, and types differ."""
    assert same(torch.tensor(torch.nan), torch.tensor(torch.nan))
    assert not same(torch.tensor(0.0), torch.tensor(-0.0))
    assert not same(torch.tensor(0), torch.tensor(0.0))


def _company(name):
    """Return affine norms beside the method, so that it has gains to spare, unless they do not go together."""
    alone = name == "layer_norm" or refusals([name, "layer_norm"])
    return [] if alone else [mitigations.build("layer_norm", affine=True)]


def _watched(name, learner_name):
    """Train 41 updates, with two task changes, around whose every call a check is made; return the check."""
    make, stem = LEARNERS[learner_name]
    watched = checked({name: _lively(name)})[name]
    methods = [*(_company(name) if stem == "mlp" else []), watched]
    learner = make(stem, methods)
    begin(learner, methods)
    train(learner, methods, 41, stem=stem)
    return watched


@pytest.mark.parametrize("name", NAMES)
def test_every_method_keeps_its_promises_and_promises_no_more(name):
    """Nothing is written but what is promised, and all of that is, with norms, `log_std` and a target at hand."""
    watched = [_watched(name, learner_name) for learner_name in ("q-mlp", "actor_critic-conv")]
    if not {*HOOKS} & {*watched[0].method.seams()}:
        return  # what optimizers touch is tested below; builders of networks touch nothing
    unseen = {"extra", "buffers"} | ({"norms"} if not _company(name) else set())
    promised = watched[0].promises.parts(watched[0].method) - unseen
    assert {part for method in watched for part in method.seen} - unseen == promised


@pytest.mark.slow
@pytest.mark.parametrize("learner_name", ["q-conv", "actor_critic-mlp"])
@pytest.mark.parametrize("name", NAMES)
def test_every_method_keeps_its_promises_everywhere(name, learner_name):
    """On the other learners, too."""
    assert _watched(name, learner_name).calls or not {*HOOKS} & {*mitigations[name].make.seams()}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_treats_only_what_it_says_otherwise(name):
    """Fed the same gradients as the plain one, it moves only the parts differently that it promises to touch."""
    method = _lively(name)
    norms = _company(name)
    learner, plain = actor_critic(methods=[*norms, method]), actor_critic(methods=norms)
    begin(learner, [method])
    parts = parts_of(learner)
    draws = torch.Generator().manual_seed(3)
    for _ in range(5):
        for mine, others in zip(learner.network.parameters(), plain.network.parameters(), strict=True):
            mine.grad = torch.randn(mine.shape, generator=draws)
            others.grad = mine.grad.clone()
        learner.optimizer.step()
        plain.optimizer.step()
    theirs = dict(plain.network.named_parameters())
    differing = {parts[key] for key, p in learner.network.named_parameters() if not torch.equal(p, theirs[key])}
    assert differing <= promises_of(method).parts(method)
    assert differing, "an optimizer that is Adam"


@pytest.mark.parametrize("name", ["cbp", "redo", "shrink_perturb", "l2_init"])
def test_a_checked_run_is_bitwise_the_unchecked_one(name):
    """Looking changes nothing: weights, optimizer, target and every random stream end the same."""
    ends = []
    for wrap in (dict, checked):
        methods = [*wrap({name: _lively(name)}).values()]
        learner = q_learner(methods=methods)
        begin(learner, methods)
        train(learner, methods, 25)
        ends.append((snapshot(learner), learner.rng.get_state(), learner.rows.get_state(), torch.get_rng_state()))
    (tensors, *streams), (others, *other_streams) = ends
    assert_bitwise(tensors, others)
    assert all(map(torch.equal, streams, other_streams))


def _stack(a, b, order, learner_name="q-mlp", updates=25):
    make, stem = LEARNERS[learner_name]
    methods = [*checked({name: _lively(name) for name in ((a, b) if order else (b, a))}).values()]
    refuse(method.method for method in methods)
    learner = make(stem, methods)
    begin(learner, methods)
    train(learner, methods, updates, stem=stem)
    assert all(tensor.isfinite().all() for tensor in snapshot(learner).values())


def _stacks_or_is_refused(a, b, order, learner_name="q-mlp"):
    if frozenset((a, b)) in REFUSED:
        with pytest.raises(ValueError, match=rf"^{min(a, b)} and {max(a, b)} cannot be stacked: \w"):
            _stack(a, b, order, learner_name)
    else:
        _stack(a, b, order, learner_name)


@pytest.mark.parametrize(("a", "b"), SAMPLED)
def test_two_methods_work_together_or_are_refused(a, b):
    """In company, too, every method keeps its promises and nothing blows up: a sample of the pairs."""
    _stacks_or_is_refused(a, b, order=SAMPLED.index((a, b)) % 2)


@pytest.mark.slow
@pytest.mark.parametrize("a", NAMES)
def test_any_two_methods_work_together_or_are_refused(a):
    """All pairs, in both orders, on a Q network of vectors and an actor-critic of images."""
    for b in NAMES:
        if a != b:
            _stacks_or_is_refused(a, b, order=True, learner_name="q-mlp" if a < b else "actor_critic-conv")


def test_few_pairs_are_refused_each_for_its_own_reason():
    """At most a tenth, of names that exist; no reason serves two pairs."""
    assert len(REFUSED) <= len(PAIRS) / 10
    assert {name for pair in REFUSED for name in pair} <= {*NAMES}
    assert all(len(pair) == 2 for pair in REFUSED)
    assert len({*REFUSED.values()}) == len(REFUSED)


def test_a_refused_pair_is_refused_wherever_agents_are_built(monkeypatch):
    """By the config in one line, by the builders, by the callback; a planted refusal of a pair that exists."""
    pair = frozenset(("redo", "cbp"))
    monkeypatch.setitem(REFUSED, pair, "both would recycle")
    said = "cbp and redo cannot be stacked: both would recycle"
    methods = {"redo": _lively("redo"), "cbp": _lively("cbp")}
    with pytest.raises(ConfigError, match=said):
        from_keywords("catch_dqn", mitigation=["redo", "cbp"])
    with pytest.raises(ValueError, match=said):
        training.build("dqn", methods)
    with pytest.raises(ValueError, match=said):
        Plasticity(mitigations=methods)


def _three_hundred(name, algorithm):
    """Train 300 updates and more of a real agent, checked; a task change is among them."""
    method = _lively(name)
    methods = {"layer_norm": mitigations.build("layer_norm", affine=True)} if _company(name) else {}
    methods |= checked({name: method})
    steps = {"dqn": 360, "ppo": 2000}[algorithm]
    model, callback = training.train(algorithm, methods, steps=steps, task=steps // 2, probe_every=0, **SMALL)
    assert callback.learner.updates >= 300
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())
    before = {key: p.detach().clone() for key, p in callback.learner.network.named_parameters() if p.requires_grad}
    for parameter in callback.learner.network.parameters():
        parameter.grad = torch.ones_like(parameter)
    callback.learner.optimizer.step()
    now = dict(callback.learner.network.named_parameters())
    assert [key for key, was in before.items() if torch.equal(was, now[key])] == []


@pytest.mark.parametrize(("name", "algorithm"), [("redo", "dqn"), ("shrink_perturb", "ppo")])
def test_real_agents_sample(name, algorithm):
    """300 updates of Stable-Baselines3's agents: promises are kept, and every parameter still moves."""
    _three_hundred(name, algorithm)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", training.ALGORITHMS)
@pytest.mark.parametrize("name", NAMES)
def test_real_agents(name, algorithm):
    """The same of every method, on PPO and on DQN."""
    _three_hundred(name, algorithm)


@pytest.mark.parametrize("flags", [["--check"], []])
def test_the_command_line_ends_a_run_that_breaks_a_promise(flags, monkeypatch, tmp_path):
    """`lopgym train --check` ends with one line and status 1; without the flag nobody looks."""
    monkeypatch.setattr(ReDo, "after_step", lambda self, learner: _clear(learner))
    words = ["study=catch_dqn", "mitigation=redo", "tasks=1", "steps_per_task=200", f"runs_dir={tmp_path}"]
    result = CliRunner().invoke(app, ["train", *words, "--quiet", *flags])
    assert result.exit_code == (1 if flags else 0)
    if flags:
        assert result.stderr.count("\n") == 1
        assert "error: redo: after_step at update 1 (task 0) wrote optimizer" in result.stderr


def test_the_command_line_says_what_it_checked(tmp_path):
    """A run that keeps its promises says so, with the number of calls."""
    words = ["study=catch_dqn", "mitigation=redo", "tasks=1", "steps_per_task=200", f"runs_dir={tmp_path}"]
    result = CliRunner().invoke(app, ["train", *words, "--quiet", "--check"])
    assert result.exit_code == 0, result.stderr
    assert "checked: redo kept its promises in " in result.stdout
