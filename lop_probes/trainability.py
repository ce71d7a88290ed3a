"""Trainability: what one step does for one sample, and how well a network can take on targets that mean nothing."""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import Tensor, nn

from lopgym.probes.fitting import Problem, whole_loss
from lopgym.probes.recording import evaluated

FREQUENCY = 1e5


def one_step_plasticity(before: Tensor, after: Tensor) -> Tensor:
    """Return by which share one step on a sample brings down the loss of that sample, for each of them.

    clip(1 - L_after / L_before, 0, 1), arXiv:2404.00781 sec. 3.3: 1 learns it, 0 nothing or worse. A sample
    without loss has nothing left to learn and counts 1, unless the step gave it one.

    Args:
        before: losses (B,), none negative.
        after: losses of the same samples, each after its own step, (B,).

    >>> one_step_plasticity(torch.tensor([4.0, 1.0, 2.0]), torch.tensor([1.0, 3.0, 0.0]))
    tensor([0.7500, 0.0000, 1.0000], dtype=torch.float64)
    """
    before, after = before.double(), after.double()
    return torch.where(before > 0, 1 - after / before, (after == 0).double()).clamp(0.0, 1.0)


def one_step_losses(network: nn.Module, problem: Problem, learning_rate: float) -> tuple[Tensor, Tensor]:
    """Return the loss of each sample, and its loss after one step of gradient descent on it alone, (N,) each.

    Every step starts from the network as it is, and is taken by a copy, in evaluation mode.
    """
    other = copy.deepcopy(network)
    start = {name: value.clone() for name, value in other.state_dict().items()}
    losses = []
    for row in torch.arange(problem.samples):
        other.load_state_dict(start)
        alone = Problem(1, partial(_loss_of_row, problem, row[None]))
        losses.append((_descend(other, alone, learning_rate), whole_loss(other, alone)))
    before, after = torch.tensor(losses, dtype=torch.float64).T
    return before, after


def _loss_of_row(problem: Problem, row: Tensor, network: nn.Module, _: Tensor) -> Tensor:
    return problem.loss(network, row)


def _descend(network: nn.Module, problem: Problem, learning_rate: float) -> float:
    """Take one step of plain gradient descent on all samples; return the loss before it."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    with evaluated(network), torch.enable_grad():
        loss = problem.loss(network, torch.arange(problem.samples))
        gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.sub_(learning_rate * gradient)
    return loss.item()


def random_targets(outputs: Tensor) -> Tensor:
    """Turn what a freshly initialised network says into targets that only memory can meet.

    sin(10^5 f(x)), arXiv:2303.01486 sec. 3.1: as good as random, but the same for observations that are the same, so
    that a network can meet them however often an observation comes. The paper adds an offset, the mean of what the
    network that is to learn them says before: see `lopgym.agents.problems.RandomProblem`.

    Args:
        outputs: of the fresh network f, (B, O).

    >>> random_targets(torch.tensor([[0.0, 0.1], [0.0, 0.1]])).unique(dim=0).shape
    torch.Size([1, 2])
    """
    return torch.sin(FREQUENCY * outputs.detach().double()).to(outputs.dtype)


def random_target_fit(outputs: Tensor, targets: Tensor) -> float:
    """Return how much of random targets a network has taken on, after it was trained on them.

    R^2 = 1 - sum_bo (y_bo - f_o(x_b))^2 / sum_bo (y_bo - mean_b y_bo)^2: 1 meets them all, 0 knows their means only,
    below 0 not even those. Target-fitting capacity, arXiv:2204.09560 eq. 3, is the numerator. Constant targets
    have nothing to explain: 1 if they are met, else 0.

    Args:
        outputs: of the trained network, (B, O).
        targets: (B, O).

    >>> random_target_fit(torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0], [-1.0]]))
    -1.0
    """
    wanted = targets.double()
    missed = (wanted - outputs.detach().double()).square().sum()
    total = (wanted - wanted.mean(dim=0)).square().sum()
    return explained(missed.item(), total.item())


def explained(missed: float, total: float) -> float:
    """Return R^2 = 1 - missed / total; where there is nothing to explain, 1 if nothing was missed, else 0.

    >>> explained(1.0, 4.0), explained(1.0, 0.0)
    (0.75, 0.0)
    """
    return 1 - missed / total if total > 0 else float(missed == 0)
