"""The motion of N cart-poles, reckoned in place: Gymnasium's equations and order of operations, without new arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lopgym.envs.world import Mask

_SIGNS = np.array([-1.0, 1.0])  # of the push, by action
_FOUR_THIRDS = 4.0 / 3.0


class CartPoleMotion:
    """Euler's rule on the equations of Florian 2007 without friction, for N copies, each with numbers of its own.

    A small batch costs what its calls of NumPy cost, and the cheapest are those on whole arrays that lie in one piece.
    So every number of the physics is a row (N,) even where it is the same for all, what is done to two quantities is
    done once where their rows are neighbours, and results go into rows that are there already.

    Attributes:
        state: position (m), velocity (m/s), angle (rad), angular velocity (rad/s), shape (4, N); moved in place.
    """

    def __init__(self, state: NDArray[np.float64], physics: NDArray[np.float64] | None = None) -> None:
        """Move this state; `physics` is what `take` wrote, if it was called before."""
        copies = state.shape[1]
        self.state = state
        self._physics = np.zeros((16, copies)) if physics is None else physics
        self._taken: tuple[Any, ...] = (None,) * 16
        self._rates, self._room, self._squares = np.empty((4, copies)), np.empty((4, copies)), np.empty((2, copies))
        self._outside = np.empty((4, copies), dtype=np.bool_)
        self._lay_out()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles move the copy of the state that was made with theirs: views would be cut off from it."""
        return type(self), (self.state, self._physics)

    def take(self, of: Any) -> None:
        """Take the numbers, one for all copies or shape (N,), that `of` has under Gymnasium's names."""
        limits = of.x_threshold, np.inf, of.theta_threshold_radians, np.inf
        masses = of.masspole, of.polemass_length, of.total_mass, of.total_mass
        numbers = (of.force_mag, *masses, of.length, of.gravity_down, _FOUR_THIRDS, *4 * (of.tau,), *limits)
        for row, (number, before) in enumerate(zip(numbers, self._taken, strict=True)):
            if number is not before:
                self._physics[row] = number
        self._taken = numbers

    def step(self, actions: NDArray[Any]) -> Mask:
        """Push to the left (0) or to the right (1); return whether cart or pole are beyond their limits, shape (N,)."""
        force, temp, inertia, sine, spare = self._scratch
        theta, cosine, x_acc, theta_acc = self._moving
        push, moment, total, length, gravity, four_thirds = self._numbers
        multiply, add, subtract, divide = np.multiply, np.add, np.subtract, np.divide
        multiply(_SIGNS.take(actions), push, force)
        np.cos(theta, cosine)
        np.sin(theta, sine)
        self._speeds[...] = self._velocities
        multiply(self._turning, self._turning, self._squares)  # cosine and angular velocity, squared
        multiply(self._squares, self._masses, self._squares)
        multiply(temp, sine, temp)
        add(temp, force, temp)
        divide(self._squares, self._totals, self._squares)  # `temp` is Gymnasium's from here on
        subtract(four_thirds, inertia, inertia)
        multiply(inertia, length, inertia)
        multiply(sine, gravity, sine)
        multiply(cosine, temp, spare)
        subtract(sine, spare, theta_acc)
        divide(theta_acc, inertia, theta_acc)
        multiply(theta_acc, moment, spare)
        multiply(spare, cosine, spare)
        divide(spare, total, spare)
        subtract(temp, spare, x_acc)  # over the cosine, which has done its work
        multiply(self._rates, self._tau, self._rates)
        add(self.state, self._rates, self.state)
        np.absolute(self.state, self._room)  # velocities have no limits: theirs are infinite
        np.greater(self._room, self._limits, self._outside)
        outside: Mask = self._cart_outside | self._pole_outside
        return outside

    def _lay_out(self) -> None:
        """Name the rows.

        Of the rates: velocity, cosine and then acceleration, angular velocity, angular acceleration. The cosine stands
        beside the angular velocity because both are squared; so do what becomes of the two squares.
        """
        rates, room, (inertia, temp) = self._rates, self._room, self._squares
        self._speeds, self._velocities = rates[::2], self.state[1::2]
        self._turning = rates[1:3]
        self._moving = self.state[2], rates[1], rates[1], rates[3]
        self._scratch = room[0], temp, inertia, room[1], room[2]
        push, _, moment, total, _, length, gravity, four_thirds = self._physics[:8]
        self._numbers = push, moment, total, length, gravity, four_thirds
        self._masses, self._totals = self._physics[1:3], self._physics[3:5]
        self._tau, self._limits = self._physics[8:12], self._physics[12:]
        self._cart_outside, self._pole_outside = self._outside[0], self._outside[2]
