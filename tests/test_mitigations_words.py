"""Options that are a word: every method refuses a wrong one before training, in one line, and takes every right one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.declared import hold_words


def _choices() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield method, option and words of every option of a registered method that is a `Literal`."""
    for entry in mitigations:
        hints = get_type_hints(entry.make)
        for option in entry.options:
            if get_origin(hints[option]) is Literal:
                yield entry.name, option, get_args(hints[option])


CHOICES = [pytest.param(*choice, id=f"{choice[0]}-{choice[1]}") for choice in _choices()]


def test_the_choices_that_were_there_once_are_still_found() -> None:
    """The tests below could pass over an option whose words are no longer a type; of these there are words."""
    found = {(name, option) for name, option, _ in _choices()}
    resets = {(name, "optimizer") for name in ("fire", "hare_tortoise", "head_reset", "layer_reset", "shrink_perturb")}
    layers = {(name, "layers") for name in ("pfo", "spectral_normalisation")}
    utilities = {(name, "utility") for name in ("cbp", "swr")}
    others = {("cbp", "compensation"), ("redo_fixed_rate", "score"), ("shrink_perturb", "noise"), ("swr", "prune")}
    assert resets | layers | utilities | others <= found


@pytest.mark.parametrize(("method", "option", "words"), CHOICES)
def test_wrong_words_are_refused(method: str, option: str, words: tuple[str, ...]) -> None:
    """The line names method and option, what came, and what there is or was meant."""
    known = ", ".join(sorted(words))
    with pytest.raises(ValueError, match=rf"^{method}: {option}='§' is not allowed; known: {known}$"):
        mitigations.build(method, **{option: "§"})
    with pytest.raises(ValueError, match=rf"^{method}: {option}='{words[0]}_' is not allowed; did you mean '\w+'\?$"):
        mitigations.build(method, **{option: f"{words[0]}_"})
    with pytest.raises(ValueError, match=rf"^{method}: {option}=None is not allowed; known: {known}$"):
        mitigations.build(method, **{option: None})


@pytest.mark.parametrize(("method", "option", "words"), CHOICES)
def test_right_words_are_taken(method: str, option: str, words: tuple[str, ...]) -> None:
    """Each of them, as it came."""
    for word in words:
        assert getattr(mitigations.build(method, **{option: word}), option) == word


def test_words_of_somebody_elses_method() -> None:
    """One that is not registered goes by the name of its class, and a word that may be missing may be missing."""

    @dataclass(kw_only=True, eq=False)
    class Mine(Mitigation):
        how: Literal["a", "b"] | None = None
        what: Any = "anything"

    assert Mine(what=3).how is None
    assert Mine(how="b").how == "b"
    with pytest.raises(ValueError, match=r"^Mine: how='c' is not allowed; known: a, b$"):
        Mine(how="c")


def test_only_options_are_held() -> None:
    """A field that is no option of the constructor, or of another type, is the method's own affair."""

    @dataclass
    class Thing:
        said: Literal["yes"] = field(init=False)
        thought: str = "no"

    thing = Thing()
    thing.said = "no"  # type: ignore[assignment]  # on purpose
    hold_words(thing)
