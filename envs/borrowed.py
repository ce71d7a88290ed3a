"""Environments of Gymnasium's that need an extra: imported when they are made, wrapped so that their numbers drift."""

from __future__ import annotations

import importlib
import warnings
from typing import Any, ClassVar

import gymnasium as gym
from gymnasium.error import DependencyNotInstalled

from lopgym.physics import Parametric


class Borrowed(Parametric, gym.Wrapper[Any, Any, Any, Any]):
    """A single environment of Gymnasium's, whose numbers a subclass moves; there is no batch of it.

    Attributes:
        extra: what to install beside lopgym, `pip install "lopgym[extra]"`.
        original: where its class is, `module:Class`.
    """

    extra: ClassVar[str]
    original: ClassVar[str]
    metadata: dict[str, Any]  # of the class: it is known without the extra, too

    def __init__(self, render_mode: str | None = None, **options: Any) -> None:
        """Make the environment, `options` being its own.

        Raises:
            gymnasium.error.DependencyNotInstalled: the extra is not installed.
        """
        gym.Wrapper.__init__(self, self.imported()(render_mode=render_mode, **options))
        self.physics = self.physics_type()

    @classmethod
    def imported(cls) -> Any:
        """Return Gymnasium's class.

        Raises:
            gymnasium.error.DependencyNotInstalled: the extra is not installed; the message says how.
        """
        module, _, name = cls.original.partition(":")
        try:
            with warnings.catch_warnings():
                # Box2D's types, made by SWIG, warn while they are made: as an error, that would kill the process.
                warnings.simplefilter("ignore", DeprecationWarning)
                return getattr(importlib.import_module(module), name)
        except (ImportError, DependencyNotInstalled) as error:
            raise DependencyNotInstalled(f'{name} needs an extra: pip install "lopgym[{cls.extra}]"') from error
