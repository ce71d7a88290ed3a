"""Stems: registered ways from an observation to the hidden layers of a trunk."""

from typing import Any

from lopgym.registry import Registry

stems: Registry[Any] = Registry("stem", __name__)
