"""What is earned in tables of transitions and rewards, by a policy and at best: Bellman's equations, solved exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def policy_value(transitions: Array, rewards: Array, discount: float, policy: Array) -> Array:
    """Solve V = r_pi + discount P_pi V.

    Args:
        transitions: probability of the next state, shape (states, actions, states).
        rewards: their means, shape (states, actions).
        discount: below 1.
        policy: probability of each action, shape (states, actions).

    Returns:
        V, shape (states,).
    """
    mean = (policy * rewards).sum(axis=1)
    move = np.einsum("sa,sat->st", policy, transitions)
    return np.linalg.solve(np.eye(len(mean)) - discount * move, mean)


def optimum(transitions: Array, rewards: Array, discount: float) -> Array:
    """Return Q*, shape (states, actions), by Howard's policy iteration, which ends at the optimum itself."""
    states, actions = rewards.shape
    best, total = np.zeros(states, dtype=np.int64), -np.inf
    while True:
        values = policy_value(transitions, rewards, discount, np.eye(actions)[best])
        action_values: Array = rewards + discount * transitions @ values
        if values.sum() <= total:  # strictly, and policies are finite: rounding cannot make it go round for ever
            return action_values
        best, total = action_values.argmax(axis=1), values.sum()
