"""Resets and perturbations against what their sources say, in numbers; and everything reset must learn again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import mitigations
from lopgym.agents.mitigations.drm import DrM
from lopgym.agents.mitigations.forgetting import reset_moments
from lopgym.agents.mitigations.hare_tortoise import HareTortoise
from lopgym.agents.mitigations.head_reset import HeadReset
from lopgym.agents.mitigations.last_layers import last_maps
from lopgym.agents.mitigations.layer_reset import LayerReset
from lopgym.agents.mitigations.optimizer_reset import OptimizerReset
from lopgym.agents.mitigations.parameter_noise import ParameterNoise
from lopgym.agents.mitigations.reset import Reset
from lopgym.agents.mitigations.shrink_perturb import ShrinkPerturb
from lopgym.agents.mitigations.swr import SelectiveWeightReinitialisation
from tests.learners import LEARNERS, actor_critic, assert_bitwise, begin, one_layer, q_learner, snapshot
from tests.learners import train as practise
from tests.training import ALGORITHMS, train

RESETS: dict[str, dict[str, Any]] = {
    "reset": {},
    "head_reset": {},
    "layer_reset": {"last": 2},
    "optimizer_reset": {},
    "shrink_perturb": {"optimizer": "clear"},
    "drm": {},
}


def _drawn(learner: Learner) -> dict[str, torch.Tensor]:
    """Return the network that the learner's next draw will be, and put the generator back."""
    state = learner.rng.get_state()
    drawn = dict(learner.fresh())
    learner.rng.set_state(state)
    return drawn


def _trained(name: str = "q-mlp", updates: int = 7) -> Learner:
    make, stem = LEARNERS[name]
    learner = make(stem)
    practise(learner, [], updates, stem=stem)
    return learner


def _changed(learner: Learner, before: dict[str, torch.Tensor], what: str = "network") -> set[str]:
    """Return the names of the tensors of the network that are no longer what they were."""
    after = snapshot(learner)
    return {
        key.removeprefix(f"{what}.")
        for key in after
        if key.startswith(what) and not torch.equal(after[key], before[key])
    }


def test_reset_is_fresh_at_a_task_change() -> None:
    """Bit for bit what the reference does, network, target, optimizer and draws alike."""
    ours, reference = _trained(), _trained()
    Reset().on_task_change(ours)
    mitigations.build("fresh").on_task_change(reference)
    assert_bitwise(snapshot(ours), snapshot(reference))
    assert torch.equal(ours.rng.get_state(), reference.rng.get_state())
    assert not ours.optimizer.state


@pytest.mark.parametrize("name", LEARNERS)
def test_head_reset_draws_heads_and_nothing_else(name: str) -> None:
    """Heads are those of the network that the initialisers draw; features, `log_std` and their moments stay."""
    learner = _trained(name)
    before, drawn = snapshot(learner), _drawn(learner)
    HeadReset().on_task_change(learner)
    heads = {key for key in drawn if key.startswith("heads.")}
    assert _changed(learner, before) == heads
    after = snapshot(learner)
    for key in heads:
        assert torch.equal(after[f"network.{key}"], drawn[key])
        assert f"optimizer.{key}.exp_avg" not in after
    kept = {
        key for key in before if key.startswith("optimizer.") and ".heads." not in f".{key.removeprefix('optimizer')}"
    }
    assert kept
    assert all(torch.equal(before[key], after[key]) for key in kept)
    if learner.target is not None:
        assert_bitwise(dict(learner.network.state_dict()), dict(learner.target.state_dict()))


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("last", [1, 2, 3, 9])
def test_layer_reset_counts_from_the_head(name: str, last: int) -> None:
    """The last k maps of each trunk, counted by hand from the names of its blocks; the rest stays, bit for bit."""
    learner = _trained(name)
    before, drawn = snapshot(learner), _drawn(learner)
    LayerReset(last=last).on_task_change(learner)
    chosen = set()
    for trunk in ("q", "actor", "critic"):
        blocks = sorted({key.split(".")[3] for key in drawn if key.startswith(f"trunks.{trunk}.")})
        for block in blocks[max(0, len(blocks) - last + 1) :]:
            chosen |= {key for key in drawn if key.startswith(f"trunks.{trunk}.blocks.{block}.")}
    chosen |= {key for key in drawn if key.startswith("heads.")}
    after = snapshot(learner)
    assert all(torch.equal(after[f"network.{key}"], drawn[key]) for key in chosen)
    untouched = {key for key in drawn if key not in chosen}
    assert "log_std" in untouched
    assert all(torch.equal(after[f"network.{key}"], before[f"network.{key}"]) for key in untouched)


def test_last_maps_of_a_shared_trunk() -> None:
    """A layer that actor and critic share is drawn once."""
    learner = actor_critic()
    actor = learner.layers[:2]
    learner.heads["critic.head"].requires_grad_(False)
    shared = actor[1].__class__(**{**vars(actor[1]), "outgoing": (*actor[1].outgoing, learner.heads["critic.head"])})
    learner.layers = (actor[0], shared)
    assert last_maps(learner, 2) == [*learner.heads.values(), shared.incoming]
    assert last_maps(learner, 5) == [*learner.heads.values(), shared.incoming, actor[0].incoming]


def test_last_maps_of_branches_of_different_lengths() -> None:
    """A layer that feeds the critic's head and the actor's own layer is there once, at its least distance."""
    learner = actor_critic()
    first, own = learner.layers[:2]
    learner.layers = (replace(first, outgoing=(*first.outgoing, learner.heads["critic.head"])), own)
    assert last_maps(learner, 2) == [*learner.heads.values(), first.incoming, own.incoming]
    assert last_maps(learner, 4) == last_maps(learner, 2)


@pytest.mark.parametrize(
    ("choice", "step", "moments"), [("keep", 7.0, True), ("reset_moments", 7.0, False), ("clear", None, False)]
)
@pytest.mark.parametrize("method", ["head_reset", "layer_reset", "fire"])
def test_resets_and_the_optimizer(method: str, choice: Any, step: float | None, moments: bool) -> None:
    """Each choice does to the state of what was reset what it says, and nothing to that of the rest."""
    learner = _trained()
    before = snapshot(learner)
    mitigations.build(method, optimizer=choice).on_task_change(learner)
    reset = _changed(learner, before)
    assert reset
    for name, parameter in learner.network.named_parameters():
        state = learner.optimizer.state.get(parameter, {})
        assert (float(state["step"]) if state else None) == (step if name in reset else 7.0)
        assert bool(state and state["exp_avg"].any()) == (moments if name in reset else True)


def test_moments_of_a_single_number_go_without_its_step_count() -> None:
    """A parameter of no axes has moments that are shaped like the count of its steps."""
    parameter = torch.nn.Parameter(torch.tensor(1.0))
    optimizer = torch.optim.Adam([parameter])
    parameter.grad = torch.tensor(2.0)
    optimizer.step()
    reset_moments(optimizer, [parameter])
    assert {what: float(memory) for what, memory in optimizer.state[parameter].items()} == {
        "step": 1.0,
        "exp_avg": 0.0,
        "exp_avg_sq": 0.0,
    }


def _adam_by_hand(
    theta: float, gradients: list[float], steps: list[int], m: float = 0.0, v: float = 0.0
) -> list[float]:
    """Step Adam (Kingma and Ba 2015, algorithm 1) with lr 1e-2 and the given step counts, in double precision."""
    found = []
    for g, t in zip(gradients, steps, strict=True):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        theta -= 1e-2 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        found.append(theta)
    return found


@pytest.mark.parametrize(("steps", "counts"), [(True, [1, 2]), (False, [4, 5])])
def test_optimizer_reset_by_hand(steps: bool, counts: list[int]) -> None:
    """After three steps and a reset, Adam goes on as algorithm 1 from m = v = 0, its clock at 0 or at 3."""
    parameter = torch.nn.Parameter(torch.tensor([0.5], dtype=torch.float64))
    learner = q_learner()
    learner.optimizer = torch.optim.Adam([parameter], lr=1e-2)
    found = []
    for i, gradient in enumerate([1.0, -0.3, 0.2, 0.7, 0.4]):
        if i == 3:
            OptimizerReset(steps=steps).on_task_change(learner)
        parameter.grad = torch.tensor([gradient], dtype=torch.float64)
        learner.optimizer.step()
        found.append(parameter.item())
    before = _adam_by_hand(0.5, [1.0, -0.3, 0.2], [1, 2, 3])
    assert found == pytest.approx(before + _adam_by_hand(before[-1], [0.7, 0.4], counts), abs=1e-12)


def test_old_step_counts_lengthen_the_first_steps() -> None:
    """After a hundred thousand steps of Adam's own betas they are 3.16 learning rates long, and 6.57 in the twelfth."""
    parameter = torch.nn.Parameter(torch.tensor([0.0], dtype=torch.float64))
    learner = q_learner()
    learner.optimizer = torch.optim.Adam([parameter], lr=1.0)
    parameter.grad = torch.tensor([0.3], dtype=torch.float64)
    learner.optimizer.step()
    learner.optimizer.state[parameter]["step"].fill_(1e5)
    OptimizerReset(steps=False).on_task_change(learner)
    lengths = []
    for _ in range(14):
        before = parameter.item()
        learner.optimizer.step()
        lengths.append(before - parameter.item())
    assert lengths[0] == pytest.approx(0.1 / np.sqrt(0.001), rel=1e-5)
    assert max(lengths) == lengths[11] == pytest.approx(6.57, abs=0.01)


def test_optimizer_reset_leaves_the_network_alone() -> None:
    """No weight and no weight of the target moves."""
    learner = _trained()
    learner.target.log_std.data.fill_(7.0)  # type: ignore[union-attr]  # it lags: a copy of the network would show
    before = snapshot(learner)
    OptimizerReset().on_task_change(learner)
    assert not _changed(learner, before)
    assert not _changed(learner, before, "target")
    assert not learner.optimizer.state


def test_fixed_init_pulls_to_the_start() -> None:
    """After n acts with shrink 1 - b and perturb b: theta_n - theta_0 = (1 - b)^n (theta - theta_0), to 1e-6."""
    learner = q_learner()
    method = ShrinkPerturb(shrink=0.9, perturb=0.1, when="updates", every=2, noise="fixed_init")
    begin(learner, [method])
    start = [p.detach().clone() for p in learner.weights_and_biases()]
    practise(learner, [], 7)
    learned = [p.detach().clone() for p in learner.weights_and_biases()]
    state = learner.rng.get_state()
    for learner.updates in range(1, 9):
        method.after_step(learner)
    for now, then, first in zip(learner.weights_and_biases(), learned, start, strict=True):
        torch.testing.assert_close(now.detach(), first + 0.9**4 * (then - first), atol=1e-6, rtol=0)
    assert torch.equal(learner.rng.get_state(), state), "it draws nothing"


def test_soft_shrink_perturb_is_the_recursion_of_the_paper() -> None:
    """Five updates of theta <- a theta + (1 - a) theta', a new theta' each time, in double precision in NumPy."""
    learner, a = _trained(), 0.999
    method = ShrinkPerturb(shrink=a, perturb=1 - a, when="updates")
    names = {p: name for name, p in learner.network.named_parameters()}
    expected = {names[p]: p.detach().double().numpy().copy() for p in learner.weights_and_biases()}
    target, state = snapshot(learner), learner.rng.get_state()
    for _ in range(5):
        drawn = learner.fresh()
        expected = {name: a * old + (1 - a) * drawn[name].double().numpy() for name, old in expected.items()}
    learner.rng.set_state(state)
    for learner.updates in range(1, 6):
        method.after_step(learner)
    for parameter in learner.weights_and_biases():
        np.testing.assert_allclose(parameter.detach().numpy(), expected[names[parameter]], atol=1e-6)
    assert not _changed(learner, target, "target"), "between updates the target follows at its own pace"


@pytest.mark.parametrize(
    "when",
    [
        "task",
        {
            "kind": "detected",
            "detector": {"kind": "cusum", "threshold": 0.1, "slack": 0.0, "warm_up": 1},
            "standardise": False,
        },
    ],
)
def test_rare_acts_synchronise_the_target(when: Any) -> None:
    """A task change or a detected one leaves the target equal to the network; `updates` does not (above)."""
    learner = _trained(updates=9)
    method = ShrinkPerturb(when=when)
    begin(learner, [method])
    for ears in learner.ears.values():
        for value in (0.0, 1.0):
            ears[0](value)
    method.after_step(learner)
    method.on_task_change(learner)
    assert learner.target is not None
    assert_bitwise(dict(learner.network.state_dict()), dict(learner.target.state_dict()))


def test_parameter_noise_has_its_size_and_adds_up() -> None:
    """Mean 0, deviation sigma, Gaussian; after four acts twice as much; heads too, the target not."""
    learner = one_layer([[2.0]] * 4000, [[2.0] * 4000])
    method = ParameterNoise(sigma=0.1)
    noise = []
    for learner.updates in range(1, 5):
        method.after_step(learner)
        noise.append(learner.network.hidden.weight.detach().flatten() - 2.0)  # type: ignore[union-attr,operator]
    assert noise[0].mean() == pytest.approx(0.0, abs=0.01)  # 6 standard errors of 0.1 / sqrt(4000)
    assert noise[0].std() == pytest.approx(0.1, rel=0.07)
    assert ((noise[0] / 0.1) ** 4).mean() == pytest.approx(3.0, abs=0.6)
    assert noise[3].std() == pytest.approx(0.2, rel=0.07)
    assert learner.heads["q.head"].weight.detach().std() == pytest.approx(0.2, rel=0.07)
    assert learner.target is not None
    assert learner.target.hidden.weight.unique().tolist() == [2.0]  # type: ignore[union-attr,operator]


@pytest.mark.parametrize("name", LEARNERS)
def test_parameter_noise_is_on_every_weight_and_bias(name: str) -> None:
    """In the order of layers and heads each tensor gets the next numbers of the learner's stream; the rest stays."""
    learner = _trained(name)
    before, rng = snapshot(learner), torch.Generator()
    rng.set_state(learner.rng.get_state())
    expected = [p.detach() + 0.5 * torch.randn(p.shape, generator=rng) for p in learner.weights_and_biases()]
    learner.updates = 1
    ParameterNoise(sigma=0.5).after_step(learner)
    for parameter, noisy in zip(learner.weights_and_biases(), expected, strict=True):
        torch.testing.assert_close(parameter.detach(), noisy)
    assert _changed(learner, before) == {key for key, _ in learner.network.named_parameters() if key != "log_std"}


def _drm_factor(rate: float, dormant: float, least: float, most: float) -> float:
    """Write the factor out by cases."""
    wanted = 1.0 - rate * dormant
    return least if wanted < least else most if wanted > most else wanted


@pytest.mark.parametrize(
    ("weights", "alpha"),
    [
        ([-1.0, 0.02, 1.0, 2.98], 0.2),  # two of four dormant: 1 - 2 * 0.5 = 0, clipped to 0.2
        ([-1.0, 1.0, 1.0, 2.0], 0.5),  # one of four: 1 - 2 * 0.25
        ([1.0, 1.0, 1.0, 1.0], 0.9),  # none: 1, clipped to 0.9
    ],
)
def test_drm_by_hand(weights: list[float], alpha: float) -> None:
    """Inputs are ones, so that |h| is the positive part of a unit's weight; tau 0.025 times the mean 1 is 0.025."""
    learner = one_layer([[w] for w in weights], [[1.0, 2.0, 3.0, 4.0]])
    fresh = {"hidden.weight": torch.full((4, 1), 10.0), "hidden.bias": torch.full((4,), 20.0)}
    fresh |= {"head.weight": torch.full((1, 4), 30.0), "head.bias": torch.full((1,), 40.0)}
    learner.fresh = lambda: fresh
    learner.target.hidden.weight.data.fill_(7.0)  # type: ignore[union-attr,operator]
    for parameter in learner.network.parameters():
        learner.optimizer.state[parameter] = {"exp_avg": torch.ones_like(parameter)}
    reports: list[dict[str, float]] = []
    learner.report, learner.updates = lambda values: reports.append(dict(values)), 5
    DrM(every=5).after_step(learner)
    dormant = {0.2: 0.5, 0.5: 0.25, 0.9: 0.0}[alpha]
    assert _drm_factor(2.0, dormant, 0.2, 0.9) == alpha
    assert reports == [{"dormant_fraction": dormant, "acts": 1}]
    mixed = [alpha * w + (1 - alpha) * 10.0 for w in weights]
    assert learner.network.hidden.weight.flatten().tolist() == pytest.approx(mixed, abs=1e-6)  # type: ignore[union-attr,operator]
    assert learner.network.hidden.bias.tolist() == pytest.approx([(1 - alpha) * 20.0] * 4, abs=1e-5)  # type: ignore[union-attr,operator]
    assert learner.heads["q.head"].bias.tolist() == pytest.approx([(1 - alpha) * 40.0], abs=1e-5)
    assert learner.target.hidden.weight.flatten().tolist() == pytest.approx(
        [alpha * 7 + (1 - alpha) * 10] * 4, abs=1e-5
    )  # type: ignore[union-attr,operator]
    assert not learner.optimizer.state


def test_drm_judges_the_network_that_acts() -> None:
    """A dead critic costs the actor nothing; a dead actor costs both."""
    for dead, expected in (("critic", 0.0), ("actor", 1.0)):
        learner = actor_critic()
        for layer in learner.layers:
            with torch.no_grad():
                layer.incoming.bias.fill_(-1e3 if layer.name.startswith(dead) else 1e3)
        assert DrM().dormant(learner) == expected


def test_drm_judges_a_trunk_that_actor_and_critic_share() -> None:
    """What both read acts as well: half of the actor's units are shared ones that are dead."""
    learner = actor_critic()
    shared, *others = learner.layers
    learner.layers = (replace(shared, name="shared.hidden0"), *others)
    for layer in learner.layers:
        with torch.no_grad():
            layer.incoming.bias.fill_(-1e3 if layer.name.startswith("shared") else 1e3)
    assert DrM().dormant(learner) == 6 / 11  # of 6 units that are shared and 5 of the actor's own


def test_drm_refuses_an_empty_range() -> None:
    """The least share of old weights is not above the most."""
    with pytest.raises(ValueError, match=r"^drm: least=0.9 is above most=0.5$"):
        DrM(least=0.9, most=0.5)


def test_the_tortoise_follows_whatever_calls_the_hare_back() -> None:
    """At decay 1/2 the average of 8, 4, 2 is 8, 6, 4; a task change puts the weight there, and updates never do."""
    learner = one_layer([[8.0]], [[8.0]])
    method, weight, reports = HareTortoise(decay=0.5, every=1, when="task"), learner.layers[0].incoming.weight, []
    learner.report = reports.append
    begin(learner, [method])
    for learner.updates, value in ((1, 4.0), (2, 2.0)):
        with torch.no_grad():
            weight.fill_(value)
        method.after_step(learner)
        assert weight.item() == value
    method.on_task_change(learner)
    assert weight.item() == 4.0
    assert reports == [{"resets": 1}]
    with torch.no_grad():
        weight.fill_(8.0)
    method.after_step(learner)
    assert method.state_dict()["slow"]["hidden.weight"].item() == 6.0, "the average goes on from where it was"


def test_the_tortoise_remembers_what_the_network_remembers() -> None:
    """Buffers are averaged and go back like weights; counts, of which there is no average, go on."""
    learner = one_layer([[8.0]], [[8.0]])
    learner.network.register_buffer("mean", torch.tensor([8.0]))
    learner.network.register_buffer("count", torch.tensor(8))
    method = HareTortoise(decay=0.5, every=1)
    begin(learner, [method])
    learner.network.mean.fill_(4.0)  # type: ignore[operator]
    learner.network.count.fill_(4)  # type: ignore[operator]
    learner.updates = 1
    method.after_step(learner)
    assert learner.network.mean.item() == 6.0  # type: ignore[operator]
    assert learner.network.count.item() == 4  # type: ignore[operator]


def test_a_hare_that_starts_late_has_nowhere_to_go_back_to() -> None:
    """A task change before the first update on which it acts leaves every weight; the tortoise starts there."""
    learner = _trained()
    method, before = HareTortoise(active_from=1, when="task"), snapshot(learner)
    begin(learner, [method])
    practise(learner, [], 3)
    before = snapshot(learner)
    method.on_task_change(learner)
    assert not _changed(learner, before)
    for name, slow in method.state_dict()["slow"].items():
        assert torch.equal(slow, before[f"network.{name}"])


@pytest.mark.parametrize("method", [entry.name for entry in mitigations if "when" in entry.options])
def test_triggers_of_every_method_hear_and_are_remembered(method: str) -> None:
    """A method that begins or saves in its own way still lets its trigger do so."""
    made, again = (mitigations.build(method, when="detected") for _ in range(2))
    learner = q_learner(methods=[made])
    begin(learner, [made])
    (ear,) = learner.ears["td_error"]
    for value in (0.0, 1.0, 3.0):
        ear(value)
    again.load_state_dict(made.state_dict())
    assert made.state_dict()["trigger"]["standard"]["heard"] == 3
    assert again.state_dict()["trigger"] == made.state_dict()["trigger"]


@pytest.mark.parametrize(
    ("when", "sweeps"), [("task", 1), ("updates", 2), ({"kind": "updates", "every": 1}, 4), ({"kind": "probe"}, 0)]
)
def test_swr_sweeps_when_its_trigger_fires(when: Any, sweeps: int) -> None:
    """At a task change it weighs by the last gradient; by `updates` at every second update and never at a change."""
    learner, reports = one_layer(np.eye(12, 4).tolist(), [[1.0] * 12]), []
    learner.report = reports.append
    learner.layers[0].incoming.weight.grad = torch.ones(12, 4)
    method = SelectiveWeightReinitialisation(when=when, factor=0.25, every=2)
    begin(learner, [method])
    for learner.updates in range(1, 5):
        method.after_step(learner)
    method.on_task_change(learner)
    assert reports == [{"reset_weights": 12}] * sweeps


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("method", RESETS)
def test_all_that_was_reset_learns_again(method: str, name: str) -> None:
    """In real training every parameter is the optimizer's own afterwards, and one step moves each of its numbers."""
    made = mitigations.build(method, when={"kind": "updates", "every": 16}, **RESETS[method])
    acted: list[int] = []
    act, made.act = made.act, lambda learner: (acted.append(learner.updates), act(learner))  # type: ignore[attr-defined]
    model, _ = train(name, {method: made}, steps=100, task=50)
    assert acted
    owned = {id(p) for group in model.policy.optimizer.param_groups for p in group["params"]}
    parameters = dict((model.q_net if name == "dqn" else model.policy).named_parameters())
    assert {id(p) for p in parameters.values()} <= owned
    before = {key: p.detach().clone() for key, p in parameters.items()}
    for parameter in parameters.values():
        parameter.grad = torch.ones_like(parameter)
    model.policy.optimizer.step()
    assert [key for key, p in parameters.items() if (p == before[key]).any()] == []
