"""Schedules: a value as a pure function of the step. Same t, same value, in any order, for ever.

Each file holds a family; one class with one registration in a new file is a new kind.
"""

from lopgym.schedules.arrivals import Burst, Geometric, Hazard, Poisson
from lopgym.schedules.base import Schedule, schedules
from lopgym.schedules.composed import Call, Product, Shift, Sum, Window, Windows
from lopgym.schedules.draws import Categorical, Dirichlet, LogUniform, Resample, Revisit
from lopgym.schedules.lists import Constant, Count, Cycle, Interpolate, Steps
from lopgym.schedules.plain import from_plain, seeded, to_plain
from lopgym.schedules.recorded import Series, Tape
from lopgym.schedules.trends import Exponential, Linear, Polynomial, Sigmoid
from lopgym.schedules.walks import Budget, Lipschitz, OrnsteinUhlenbeck, RandomWalk
from lopgym.schedules.waves import Fourier, Sawtooth, Sine, Square, Triangle

__all__ = [
    "Budget",
    "Burst",
    "Call",
    "Categorical",
    "Constant",
    "Count",
    "Cycle",
    "Dirichlet",
    "Exponential",
    "Fourier",
    "Geometric",
    "Hazard",
    "Interpolate",
    "Linear",
    "Lipschitz",
    "LogUniform",
    "OrnsteinUhlenbeck",
    "Poisson",
    "Polynomial",
    "Product",
    "RandomWalk",
    "Resample",
    "Revisit",
    "Sawtooth",
    "Schedule",
    "Series",
    "Shift",
    "Sigmoid",
    "Sine",
    "Square",
    "Steps",
    "Sum",
    "Tape",
    "Triangle",
    "Window",
    "Windows",
    "from_plain",
    "schedules",
    "seeded",
    "to_plain",
]
