"""Problems: what an agent is learning, frozen, is what it learns."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
import torch

from lopgym.agents.problems import random_problem, source_of, streams
from tests.training import ALGORITHMS, build


def test_live_problems_of_dqn_are_its_training_loss() -> None:
    """Against Stable-Baselines3: one of its updates on the same draw logs the same loss."""
    model = build("dqn")
    model.learn(100)
    with streams(3):
        problem = source_of(model).live(model, model.batch_size)["live"]
    loss = problem.loss(model.q_net, torch.arange(model.batch_size)).item()
    with streams(3):
        model.train(1, model.batch_size)
    assert loss == pytest.approx(model.logger.name_to_value["train/loss"], rel=1e-6)


def test_live_problems_of_ppo_by_hand() -> None:
    """A rollout written by hand: values miss returns by 1; of two good actions the better counts more."""
    model = build("ppo", n_steps=50)
    model.learn(50)
    buffer, policy = model.rollout_buffer, model.policy
    seen = torch.as_tensor(buffer.observations)
    with torch.no_grad():
        buffer.returns[:] = policy.predict_values(seen).numpy().reshape(buffer.returns.shape) + 1
    buffer.advantages[:] = -1.0
    buffer.advantages[0, 0], buffer.advantages[1, 0] = 199.0, 599.0
    centred = buffer.advantages.ravel() - buffer.advantages.mean()
    weights = np.maximum(centred, 0) / np.maximum(centred, 0).mean()
    with streams(0):
        problems = source_of(model).live(model, 1000)
    rows = torch.arange(problems["live_value"].samples)
    with torch.no_grad():
        value, imitation = (problems[name].loss(policy, rows).item() for name in ("live_value", "live_policy"))
        log_probs = policy.get_distribution(seen).distribution.logits.log_softmax(1)
    chosen = log_probs.gather(1, torch.as_tensor(buffer.actions.reshape(-1, 1)).long()).flatten().numpy()
    assert len(rows) == 50
    assert value == pytest.approx(1.0, rel=1e-5)
    assert imitation == pytest.approx(-(weights * chosen).mean(), rel=1e-5)


def test_random_problems_ask_all_heads() -> None:
    """The network behind the targets, taken through the sine, would meet them; others learn them by heart."""
    for name in ALGORITHMS:
        model = build(name)
        outputs = source_of(model).outputs
        network = model.q_net if name == "dqn" else model.policy
        seen = torch.rand(8, *model.observation_space.shape)
        problem = random_problem(outputs, network, seen)
        said = outputs(network, seen).detach()
        targets = torch.sin(1e5 * said.double())
        assert said.shape == (8, model.action_space.n + (name == "ppo"))
        loss = problem.loss(network, torch.arange(8)).item()
        assert loss == pytest.approx((said - targets).square().mean().item(), rel=1e-6)


def test_random_targets_lie_about_what_the_learner_says() -> None:
    """An output bias, as values have it, is not in the way; whoever says one and the same has the targets' spread."""
    for name in ALGORITHMS:
        model = build(name)
        outputs, network = source_of(model).outputs, model.q_net if name == "dqn" else model.policy
        seen, rows = torch.rand(8, *model.observation_space.shape), torch.arange(8)
        problem = random_problem(outputs, network, seen)
        begins = problem.asked_of(network).loss(network, rows).item()
        heads = [network.q_net[-1]] if name == "dqn" else [network.action_net, network.value_net]
        with torch.no_grad():
            for head in heads:
                head.bias += 40.0
        assert problem.asked_of(network).loss(network, rows).item() == pytest.approx(begins, rel=1e-4)
        assert problem.loss(network, rows).item() > 1000
        with torch.no_grad():
            for head in heads:
                head.weight.zero_()
        assert problem.asked_of(network).loss(network, rows).item() >= problem.spread


def test_streams_come_back_also_after_an_error() -> None:
    """Torch's and NumPy's, and the same seed starts the same ones."""
    torch.manual_seed(0)
    np.random.seed(0)
    drawn = []
    for _ in range(2):
        with suppress(KeyError), streams(2**62):
            drawn.append((torch.rand(1).item(), np.random.random()))
            raise KeyError
    after = torch.rand(1).item(), np.random.random()
    torch.manual_seed(0)
    np.random.seed(0)
    assert drawn[0] == drawn[1]
    assert after == (torch.rand(1).item(), np.random.random())
