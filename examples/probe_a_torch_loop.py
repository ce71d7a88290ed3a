# mypy: disable-error-code="no-untyped-call,no-any-return"
"""Probes in a hand-written torch loop: what happens to a network that learns one random labelling after another.

Nothing of lopgym but its probes, in five lines, marked. Run it: `python examples/probe_a_torch_loop.py` (seconds).
"""

import torch
from torch import Tensor, nn

from lopgym.probes import probes  # lopgym, 1
from lopgym.probes.captures import Captures, measure  # lopgym, 2

POINTS, INPUTS, CLASSES, BATCH, EPOCHS = 400, 20, 4, 40, 20
MEASURED = ("dead_fraction", "effective_rank", "grama", "zero_gradient_fraction")


def network() -> nn.Sequential:
    """Make a classifier of two hidden layers."""
    return nn.Sequential(nn.Linear(INPUTS, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, CLASSES))


def learn(net: nn.Sequential, optimizer: torch.optim.Optimizer, x: Tensor, labels: Tensor) -> float:
    """Learn one labelling; return the share of points that are labelled right in the end."""
    for rows in (part for _ in range(EPOCHS) for part in torch.randperm(POINTS).split(BATCH)):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x[rows]), labels[rows]).backward()
        optimizer.step()
    return (net(x).argmax(dim=1) == labels).float().mean().item()


def probe(net: nn.Sequential, x: Tensor, labels: Tensor) -> dict[str, float]:
    """Measure the network on all points; training goes on as if it had not been measured."""
    layers: dict[str, tuple[nn.Module, nn.Module]] = {"first": (net[0], net[1]), "second": (net[2], net[3])}
    gradients = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}

    def loss(seen: Tensor) -> Tensor:
        return nn.functional.cross_entropy(net(seen), labels, reduction="none")

    chosen = {name: probes[name].make for name in MEASURED}  # lopgym, 3
    captures = Captures(net, layers, {"head": net[4]}, x, gradients=gradients, loss=loss)  # lopgym, 4
    return measure(captures, chosen)  # lopgym, 5


def main(tasks: int = 12, seed: int = 0) -> list[dict[str, float]]:
    """Learn `tasks` labellings; return what was measured after each, with the accuracy reached."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    net, x = network(), torch.randn(POINTS, INPUTS)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    history = []
    for _ in range(tasks):
        labels = torch.randint(CLASSES, (POINTS,))
        accuracy = learn(net, optimizer, x, labels)
        history.append({"accuracy": accuracy} | probe(net, x, labels))
    return history


if __name__ == "__main__":
    for task, found in enumerate(main()):
        print(f"task {task:2d}  " + "  ".join(f"{tag} {value:.2f}" for tag, value in found.items()))
