"""Behaviour: what agents say and do, beside what the networks of earlier measurements say of the same observations."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.utils import explained_variance as theirs
from torch import Tensor, nn

from lopgym.agents.anatomy import anatomy_of
from lopgym.agents.attach import Plasticity
from lopgym.agents.dqn import ages as ages_in_replay
from lopgym.agents.measuring import Measuring
from lopgym.agents.vec_env import GymVecEnv
from lopgym.probes import probes
from lopgym.probes.behaviour import AGAIN, Behaviour
from lopgym.probes.captures import Captures, Unavailable, measure
from lopgym.probes.explained_variance import explained_variance
from lopgym.probes.greedy_churn import greedy_churn
from lopgym.probes.policy_churn import policy_churn
from lopgym.probes.policy_kl import policy_kl
from lopgym.probes.replay_age import replay_age
from lopgym.probes.value_churn import value_churn
from lopgym.probes.value_drift import value_drift
from lopgym.record import RunFolder
from lopgym.studies.compose import from_keywords
from lopgym.studies.run import execute
from tests.training import ALGORITHMS, build, cartpole, differing, everything, train

COMPARING = ("greedy_churn", "policy_churn", "policy_kl", "value_churn", "value_drift")
BEHAVIOUR = {name: probes[name].make for name in (*COMPARING, "explained_variance", "replay_age")}
WHERE = {
    "dqn": dict.fromkeys(("greedy_churn", "value_churn", "value_drift", "explained_variance"), "q.head"),
    "ppo": {
        "greedy_churn": "actor.head",
        **dict.fromkeys(("value_churn", "value_drift", "explained_variance"), "critic.head"),
    },
}
EVERYWHERE = {"policy_churn": "policy", "policy_kl": "policy", "replay_age": "network"}


def _distributions(seed: int, samples: int, actions: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    one, two = (torch.randn(samples, actions, generator=rng, dtype=torch.float64).softmax(1) for _ in range(2))
    return one, two


def test_churn_by_hand() -> None:
    """Of four states one changes its best action; the probabilities move by 0.2 on two of them, the values by 3."""
    before = torch.tensor([[0.6, 0.4], [0.4, 0.6], [1.0, 0.0], [0.5, 0.5]])
    after = torch.tensor([[0.4, 0.6], [0.2, 0.8], [1.0, 0.0], [0.5, 0.5]])
    assert greedy_churn({"q": after}, {"q": before}) == {"q": 0.25}
    assert policy_churn(after, before)["policy"] == pytest.approx(0.1, rel=1e-6)
    values = {"q": torch.tensor([[-2.0, 2.0]])}, {"q": torch.tensor([[1.0, -1.0]])}
    assert value_churn(*values) == {"q": 3.0}
    assert value_drift(*values) == {"q": 0.0}


@settings(derandomize=True, max_examples=50)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 6))
def test_churn_is_a_bounded_symmetric_distance(seed: int, samples: int, actions: int) -> None:
    """0 from itself, the same both ways, total variation and shares at most 1."""
    a, b = _distributions(seed, samples, actions)
    for churn in (
        lambda now, before: greedy_churn({"q": now}, {"q": before})["q"],
        lambda now, before: policy_churn(now, before)["policy"],
        lambda now, before: value_churn({"q": now}, {"q": before})["q"],
    ):
        assert churn(a, a) == 0.0
        assert churn(a, b) == churn(b, a)
        assert 0 <= churn(a, b) <= 1
    if actions > 1:
        disjoint = torch.zeros(2, samples, actions)
        disjoint[0, :, 0] = disjoint[1, :, 1] = 1.0
        assert policy_churn(*disjoint)["policy"] == greedy_churn({"q": disjoint[0]}, {"q": disjoint[1]})["q"] == 1.0


@settings(derandomize=True, max_examples=50)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 6))
def test_the_divergence_is_scipy_s_from_the_old_policy_to_the_new(seed: int, samples: int, actions: int) -> None:
    """SciPy's `entropy` of two; at least 0, 0 of itself, and Pinsker's inequality with the total variation."""
    now, before = _distributions(seed, samples, actions)
    found = policy_kl(now, before)["policy"]
    assert found == pytest.approx(stats.entropy(before.numpy(), now.numpy(), axis=1).mean(), rel=1e-9, abs=1e-12)
    assert policy_kl(now, now)["policy"] == 0.0
    assert policy_churn(now, before)["policy"] <= math.sqrt(found / 2) + 1e-12


def test_the_divergence_has_a_direction_and_is_finite() -> None:
    """An action that is excluded now, but was not, counts as the smallest probability; one never taken, nothing."""
    spread, certain = torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.0]])
    assert policy_kl(spread, certain)["policy"] == pytest.approx(math.log(2))
    smallest = torch.finfo(torch.float32).tiny
    assert policy_kl(certain, spread)["policy"] == pytest.approx(-math.log(2) - math.log(smallest) / 2)


@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_of_an_epsilon_greedy_policy_churn_says_it_all(epsilon: float) -> None:
    """Total variation and divergence are the greedy churn times what the docstrings say, worked out by hand."""
    rng, actions = torch.Generator().manual_seed(0), 3
    q, other = (torch.randn(50, actions, generator=rng, dtype=torch.float64) for _ in range(2))
    now, before = ((1 - epsilon) * nn.functional.one_hot(x.argmax(1), actions) + epsilon / actions for x in (q, other))
    share = greedy_churn({"q": q}, {"q": other})["q"]
    assert 0 < share < 1
    assert policy_churn(now, before)["policy"] == pytest.approx((1 - epsilon) * share)
    odds = (1 - epsilon + epsilon / actions) / (epsilon / actions)
    assert policy_kl(now, before)["policy"] == pytest.approx(share * (1 - epsilon) * math.log(odds))


@settings(derandomize=True, max_examples=50)
@given(st.integers(0, 10**6), st.integers(2, 40), st.floats(-1e3, 1e3))
def test_explained_variance_is_stable_baselines3_s(seed: int, samples: int, offset: float) -> None:
    """On the same arrays; a constant added to either changes nothing."""
    rng = torch.Generator().manual_seed(seed)
    says, told = (torch.randn(samples, generator=rng, dtype=torch.float64) for _ in range(2))
    found = explained_variance({"v": says}, {"v": told})["v"]
    assert found == pytest.approx(theirs(says.numpy(), told.numpy()), rel=1e-9)
    assert explained_variance({"v": says + offset}, {"v": told})["v"] == pytest.approx(found, rel=1e-6, abs=1e-9)
    assert explained_variance({"v": told + offset}, {"v": told})["v"] == pytest.approx(1.0)
    assert explained_variance({"v": torch.full_like(told, offset)}, {"v": told})["v"] == pytest.approx(0.0, abs=1e-9)


def test_targets_that_are_all_alike_leave_nothing_to_explain() -> None:
    """0, where Stable-Baselines3 says NaN; also where the mean of the constant is not quite the constant."""
    told = torch.full((7,), 0.1, dtype=torch.float64)
    assert explained_variance({"v": torch.arange(7.0)}, {"v": told}) == {"v": 0.0}
    assert math.isnan(theirs(np.arange(2.0), np.ones(2)))


def _network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 5), nn.Dropout(), nn.ReLU(), nn.Linear(5, 3))


def _look(network: nn.Sequential, x: Tensor, previous: dict[str, Tensor] | None = None) -> Captures:
    """Return captures of a network whose head is values of actions and, by softmax, a policy."""
    return Captures(
        network,
        {"h": (network[0], network[2])},
        {"head": network[3]},
        x,
        action_probabilities=lambda seen: network(seen).softmax(dim=1),
        previous={} if previous is None else {"parameters": previous},
        behaviour=Behaviour(("head",), ("head",), lambda seen: {"head": (network(seen)[:, 0], seen[:, 0])}),
    )


def test_the_network_of_the_last_measurement_says_what_it_would_have_said() -> None:
    """On the observations of now, by hand; and the present one gets its very memory back, mode and stream too."""
    network, rng = _network(), torch.Generator().manual_seed(1)
    x, later = torch.randn(9, 4, generator=rng), torch.randn(6, 4, generator=rng)
    before = _look(network, x).parameters
    w0, b0, w3, b3 = (before[name] for name in ("0.weight", "0.bias", "3.weight", "3.bias"))
    expected = (later @ w0.T + b0).relu() @ w3.T + b3
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.5)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    memory, stream = [p.data_ptr() for p in network.parameters()], torch.get_rng_state()
    seen = _look(network, later, before)
    torch.testing.assert_close(seen.previous_outputs["head"], expected)
    torch.testing.assert_close(seen.previous_values["head"], expected)
    torch.testing.assert_close(seen.previous_preferences["head"], expected)
    torch.testing.assert_close(seen.previous_action_probabilities, expected.softmax(dim=1))
    assert not torch.equal(seen.outputs["head"], seen.previous_outputs["head"])
    torch.testing.assert_close(seen.predictions["head"], seen.outputs["head"][:, 0])
    assert torch.equal(seen.targets["head"], later[:, 0])
    assert differing(state, network.state_dict()) == []
    assert [p.data_ptr() for p in network.parameters()] == memory
    assert torch.equal(torch.get_rng_state(), stream)
    assert all(module.training for module in network.modules())
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("value_churn", "there are no values: `behaviour` names no head that says them"),
        ("greedy_churn", "there are no preferences between actions: `behaviour` names no head that says them"),
        ("explained_variance", "nobody says what values are to become: give `regression` in `behaviour`"),
        ("replay_age", "nobody says how old the samples are: give `ages` in `behaviour`"),
    ],
)
def test_what_nobody_says_of_a_network_is_unavailable(name: str, message: str) -> None:
    """One sentence, which says what to give."""
    network = _network()
    bare = Captures(network, {}, {"head": network[3]}, torch.zeros(2, 4))
    with pytest.raises(Unavailable, match=f"^{message}$"):
        measure(bare, {name: BEHAVIOUR[name]})


@pytest.mark.parametrize("name", COMPARING)
def test_nothing_compares_at_the_first_measurement(name: str) -> None:
    """It is said, not made up."""
    with pytest.raises(Unavailable, match=r"^there are no previous parameters: this is the first measurement$"):
        measure(_look(_network(), torch.zeros(2, 4)), {name: BEHAVIOUR[name]})


def test_what_is_asked_again_is_known() -> None:
    """Every `previous_...` of these is a request, and so is the thing itself."""
    assert {name for what in AGAIN for name in (what, f"previous_{what}")} <= set(Captures.known())


@pytest.mark.parametrize("name", ALGORITHMS)
def test_runs_log_behaviour_and_train_bitwise_alike(name: str) -> None:
    """From the second measurement on those that compare, at the heads that they are about; nothing else differs."""
    events: list[dict[str, float]] = []
    options = {"ent_coef": 0.0} if name == "ppo" else {}
    on, _ = train(
        name, probes=BEHAVIOUR, write=lambda step, values: events.append(dict(values)), probe_every=50, **options
    )
    state = everything(on)
    off, _ = train(name, **options)
    assert differing(state, everything(off)) == []
    expected = {f"probe/{probe}/{place}" for probe, place in (WHERE[name] | EVERYWHERE).items()}
    measured = [{tag: v for tag, v in e.items() if tag.startswith("probe/")} for e in events]
    assert [set(values) for values in measured[1:]] == [expected] * (len(events) - 1)
    assert {tag.split("/")[1] for tag in measured[0]} == {"explained_variance", "replay_age"}
    assert len(events) > 5
    assert all(np.isfinite(list(values.values())).all() for values in measured)
    head = WHERE[name]["value_drift"]
    assert any(values[f"probe/value_churn/{head}"] > 0 for values in measured[1:])
    for values in measured[1:]:
        churn, drift = (values[f"probe/{probe}/{head}"] for probe in ("value_churn", "value_drift"))
        assert abs(drift) <= churn * (1 + 1e-12)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_network_that_did_not_move_has_no_churn(name: str) -> None:
    """Two measurements with no update between them, on two batches: exactly 0."""
    model, _ = train(name)
    measuring = Measuring(anatomy_of(model), {n: BEHAVIOUR[n] for n in COMPARING})
    assert measuring(0) == {}
    values = measuring(1)
    assert {tag.split("/")[0] for tag in values} == set(COMPARING)
    assert set(values.values()) == {0.0}


def test_only_what_is_asked_for_is_remembered() -> None:
    """A copy of all parameters is kept for probes that compare behaviour, and for no others."""
    model, _ = train("dqn")
    for name, kept in (("value_churn", {"parameters"}), ("update_norm", {"weights"}), ("dead_fraction", set())):
        measuring = Measuring(anatomy_of(model), {name: probes[name].make})
        measuring(0)
        assert measuring._previous.keys() == kept


def test_a_policy_without_discrete_actions_is_refused_at_the_start() -> None:
    """Not at the second measurement, hours later; its values can be measured."""
    model = PPO("MlpPolicy", "Pendulum-v1", n_steps=32, batch_size=32, device="cpu")
    for name in ("greedy_churn", "policy_churn", "policy_kl"):
        with pytest.raises(Unavailable, match=f"probe '{name}' needs discrete actions"):
            model.learn(32, callback=Plasticity(probes={name: BEHAVIOUR[name]}))
    events: list[dict[str, float]] = []
    chosen = {name: BEHAVIOUR[name] for name in ("value_churn", "explained_variance", "replay_age")}
    model.learn(
        96, callback=Plasticity(probes=chosen, probe_every=32, write=lambda _, values: events.append(dict(values)))
    )
    assert {f"probe/{name}/critic.head" for name in ("value_churn", "explained_variance")} <= events[-1].keys()


def test_dqn_regresses_on_its_td_targets() -> None:
    """With r + gamma max Q' where the episode goes on, from the buffer's own sample of the same rows."""
    model, _ = train("dqn", gamma=0.9)
    rows = np.arange(60), np.zeros(60, dtype=int)
    data = model.replay_buffer._get_samples(rows[0])
    batch = _batch_of(model, rows)
    with torch.no_grad():
        best = model.q_net_target(data.next_observations).max(dim=1).values
        expected = data.rewards.flatten() + 0.9 * (1 - data.dones.flatten()) * best
        says = model.q_net(data.observations)[torch.arange(60), data.actions.flatten()]
    found = batch.regression(data.observations)["q.head"]
    torch.testing.assert_close(found[0].detach(), says)
    torch.testing.assert_close(found[1], expected)
    assert data.dones.any()


def _batch_of(model: DQN, rows: Any) -> Any:
    """Return the batch that an agent gives when these rows are drawn."""
    drawn = iter(torch.as_tensor(part) for part in rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randint", lambda *args, **options: next(drawn))
        return anatomy_of(model).batch(len(rows[0]), torch.Generator())


def test_ppo_regresses_on_returns() -> None:
    """Drawn in training, where the rollout is flat: the rows of observations, returns and ages belong together."""
    model = build("ppo", world=cartpole(3), n_steps=20, batch_size=20, n_epochs=1)
    seen: list[bool] = []

    def look(*_: object) -> None:
        buffer = model.rollout_buffer
        batch = anatomy_of(model).batch(64, torch.Generator().manual_seed(len(seen)))
        says, told = batch.regression(batch.observations)["critic.head"]
        torch.testing.assert_close(says, model.policy.predict_values(batch.observations).flatten())
        where = [np.flatnonzero((buffer.observations == row.numpy()).all(axis=1)) for row in batch.observations]
        found = [(r, a) for w, r, a in zip(where, told, batch.ages, strict=True) if len(w) == 1]
        rows = np.array([w[0] for w in where if len(w) == 1])
        assert np.array_equal(np.array([r for r, _ in found]), buffer.returns.flatten()[rows])
        steps = np.tile(np.arange(20), 3)  # copy by copy
        assert [int(a) for _, a in found] == list(3 * (19 - steps[rows]))
        seen.append(len(found) > 32)

    handle = anatomy_of(model).optimizer.register_step_pre_hook(look)
    model.learn(120)
    handle.remove()
    assert len(seen) == 6
    assert all(seen)


def test_ages_before_training_are_counted_from_the_end_of_the_rollout() -> None:
    """By rows of all copies: the latest row is 0 old, each earlier one as many steps as there are copies."""
    model = build("ppo", world=cartpole(2), n_steps=10, batch_size=20, n_epochs=1)
    ages: list[dict[int, set[int]]] = []

    class _Halfway(Plasticity):
        def _on_rollout_end(self) -> None:
            super()._on_rollout_end()
            batch = anatomy_of(model).batch(200, torch.Generator().manual_seed(0))
            rows = model.rollout_buffer.observations
            found: dict[int, set[int]] = {}
            for seen, age in zip(batch.observations.numpy(), batch.ages.tolist(), strict=True):
                for step in np.flatnonzero((rows == seen).all(axis=2).any(axis=1)):
                    found.setdefault(int(step), set()).add(age)
            ages.append(found)

    model.learn(40, callback=_Halfway())
    assert ages == [{step: {2 * (9 - step)} for step in range(10)}] * 2


@pytest.mark.parametrize("stored", [1, 5, 8, 9, 20])
@pytest.mark.parametrize("copies", [1, 3])
def test_ages_in_a_replay_are_those_of_what_it_holds(stored: int, copies: int) -> None:
    """A buffer of eight rows, full or not: each transition has written on it when it was stored."""
    world: GymVecEnv = cartpole(copies)
    buffer = ReplayBuffer(8 * copies, world.observation_space, world.action_space, "cpu", n_envs=copies)
    for step in range(stored):
        told = np.full((copies, 4), float(step), np.float32)
        nothing = np.zeros(copies)
        buffer.add(told, told, np.zeros((copies, 1), int), nothing, nothing, [{}] * copies)
    held = np.arange(min(stored, 8))
    when = buffer.observations[held, 0, 0].astype(int)
    assert np.array_equal(ages_in_replay(buffer, held), (stored - 1 - when) * copies)
    assert replay_age(torch.as_tensor(ages_in_replay(buffer, held)))["network"] == (len(held) - 1) / 2 * copies


def test_an_empty_replay_has_no_age() -> None:
    """Its one row, which holds nothing, is 0 old."""
    model = build("dqn")
    assert anatomy_of(model).batch(4, torch.Generator()).ages.tolist() == [0] * 4


TINY: dict[str, dict[str, Any]] = {
    "catch_dqn": {"tasks": 2, "steps_per_task": 160, "agent.learning_starts": 20},
    "label_bandit_ppo": {"tasks": 2, "steps_per_task": 512, "agent.n_steps": 4, "agent.batch_size": 64},
}


@pytest.mark.parametrize("study", TINY)
def test_a_study_writes_behaviour_into_its_metrics(study: str, tmp_path: Path) -> None:
    """By name, beside the standard probes or alone; PPO's clip fraction and divergence are Stable-Baselines3's own."""
    config = from_keywords(
        study, runs_dir=str(tmp_path), probes=list(BEHAVIOUR), probe_every=40, **{"evaluation.every": 0}, **TINY[study]
    )
    path = execute(config).path
    lines = [json.loads(line) for line in RunFolder(path).metrics.read_text().splitlines()]
    tags = {tag for line in lines for tag in line}
    name = study.rpartition("_")[2]
    assert {f"probe/{probe}/{place}" for probe, place in (WHERE[name] | EVERYWHERE).items()} <= tags
    if name == "ppo":
        assert {"train/clip_fraction", "train/approx_kl"} <= tags


def test_they_are_not_in_the_standard_set() -> None:
    """Each costs forward passes of its own, and most keep a copy of the network."""
    standard = from_keywords("catch_dqn").probes
    assert not {options.kind for options in standard.values()} & BEHAVIOUR.keys()
