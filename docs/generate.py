"""Write the generated parts of the docs from the registries, or with `--check` say which are stale.

A page holds blocks `<!-- generated: NAME -->` ... `<!-- end -->`; what stands around them is written by hand.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import promised
import yaml
from annotated_types import GroupedMetadata
from cells import cite, link, listed, table

from lopgym.agents import agents
from lopgym.agents.detectors import detectors
from lopgym.agents.mitigations import mitigations
from lopgym.agents.promises import FUNCTIONS, PARTS
from lopgym.agents.stems import stems
from lopgym.agents.triggers import triggers
from lopgym.envs import environments
from lopgym.envs.borrowed import Borrowed
from lopgym.envs.layers import layers
from lopgym.kinds import KindOf
from lopgym.probes import INVARIANCES, probes
from lopgym.registry import Entry, Registry
from lopgym.schedules import schedules

DOCS = Path(__file__).parent
STUDIES = DOCS.parent / "configs" / "study"
BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
WORDS = {int: "whole number", float: "number", bool: "true or false", str: "text", type(None): "null"}
SECTIONS = ("Args:", "Returns:", "Yields:", "Raises:")


def type_in_words(hint: Any) -> str:
    """Say what an option takes.

    >>> from lopgym.bounds import Fraction, PositiveInt
    >>> type_in_words(PositiveInt), type_in_words(Fraction | None)
    ('whole number > 0', 'number >= 0, <= 1 or null')
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        for mark in (mark for mark in inner[1:] if isinstance(mark, KindOf)):
            return f"a {mark.registry.kind}"
        return f"{type_in_words(inner[0])} {', '.join(_bounds(inner[1:]))}".strip()
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in inner)
    if origin in (Union, UnionType):
        return " or ".join(map(type_in_words, inner))
    if origin is tuple:
        return "list of " + re.sub("number|Schedule", r"\g<0>s", type_in_words(inner[0]))
    return WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def _bounds(metadata: Iterable[Any]) -> Iterator[str]:
    """Yield `> 0` and the like; an interval is two of them."""
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "min_length": "of length >="}
    for bound in metadata:
        if isinstance(bound, GroupedMetadata):
            yield from _bounds(bound)
        else:
            yield from (f"{sign} {getattr(bound, name)}" for name, sign in signs.items() if hasattr(bound, name))


def _hints(make: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of a maker's parameters, bounds included."""
    typed: Any = make.__init__ if inspect.isclass(make) and not is_dataclass(make) else make
    return get_type_hints(typed, include_extras=True)


def options(entry: Entry[Any]) -> str:
    """Return the table of an entry's options, its own before those of its base, or a sentence if it has none."""
    hints, meanings, own = _hints(entry.make), argument_docs(entry.make), inspect.get_annotations(entry.make)
    rows = [
        (f"`{name}`", type_in_words(hints[name]), _default(entry.options[name]), meanings.get(name, ""))
        for name in sorted(entry.options, key=lambda name: name not in own)
    ]
    columns = 4 if any(row[3] for row in rows) else 3
    head = ("option", "takes", "default", "meaning")[:columns]
    return table(head, (row[:columns] for row in rows)) if rows else "No options."


def _default(parameter: inspect.Parameter) -> str:
    """Return a default as one would write it in a config."""
    return "required" if parameter.default is parameter.empty else f"`{json.dumps(parameter.default)}`"


def argument_docs(make: Callable[..., Any]) -> dict[str, str]:
    """Return name -> meaning from the `Args:` section of a docstring, those of base classes included."""
    sources = reversed(inspect.getmro(make)) if inspect.isclass(make) else [make]
    found: dict[str, str] = {}
    for source in sources:
        if arguments := re.search(r"^Args:\n((?:    .*\n?|\n)*)", inspect.getdoc(source) or "", re.MULTILINE):
            items = re.findall(r"^    (\w+): ((?:.*\n?)(?:     +.*\n?)*)", arguments[1], re.MULTILINE)
            found |= {name: " ".join(meaning.split()) for name, meaning in items}
    return found


def prose(entry: Entry[Any], deeper: int = 0) -> str:
    """Return a docstring as Markdown: argument sections left out, examples fenced, headings `deeper` levels down."""
    paragraphs = (inspect.getdoc(entry.make) or "").split("\n\n")
    kept = [p for p in paragraphs if not p.startswith((*SECTIONS, "    "))]
    fenced = [f"```pycon\n{p}\n```" if p.startswith(">>>") else p for p in kept]
    return re.sub(r"^(#+ )", "#" * deeper + r"\1", "\n\n".join(fenced), flags=re.MULTILINE)


def chapters(registry: Registry[Any]) -> str:
    """Return one section an entry: its docstring and its options."""
    return "\n\n".join(f"## {entry.name}\n\n{prose(entry)}\n\n{options(entry)}" for entry in registry)


def worlds() -> str:
    """Overview of the worlds, then a page each."""
    rows = [
        (f"[`lopgym/{e.facts['id']}`](#lopgym{e.facts['id'].lower()})", e.summary, listed(_parameters(e)))
        for e in environments
    ]
    return "\n\n".join([table(("id", "what it is", "can drift"), rows), *map(world_page, environments)])


def world_page(entry: Entry[Any]) -> str:
    """Return a world's docstring; under its headings Drift and Arguments stand the tables made from the code."""
    page = re.sub(r"^\|.*\n", "", prose(entry, deeper=1), flags=re.MULTILINE)
    page = page.replace("### Description\n", f"{_needs(entry)}### Description\n")
    page = page.replace("### Drift\n", f"### Drift\n\n{drifting(entry)}\n\n")
    if entry.options:
        page = page.replace("### Arguments\n", f"### Arguments\n\n{options(entry)}\n\n")
    return re.sub(r"\n{3,}", "\n\n", f"## lopgym/{entry.facts['id']}\n\n{page}")


def _needs(entry: Entry[Any]) -> str:
    """Say what a world needs beside lopgym, if anything."""
    world: Any = entry.make
    if not issubclass(world, Borrowed):
        return ""
    return f'Needs `pip install "lopgym[{world.extra}]"`. There is no native batch of it, only separate copies.\n\n'


def _parameters(entry: Entry[Any]) -> dict[str, Any]:
    """Return name -> declared field of all that can drift in a world and in the wrappers it comes with."""
    stack = [entry.make, *(layers[name].make for name in entry.facts.get("wrappers", ()))]
    return {name: f for layer in stack for name, f in _declared(layer).items()}


def _declared(layer: Any) -> dict[str, Any]:
    """Return name -> declared field of the parameters that one layer owns."""
    return dict(layer.physics_type.__dataclass_fields__)


def layer_table() -> str:
    """Overview of the layers that go around any world."""
    rows = [
        (f"`{e.name}`", e.summary, listed(_declared(e.make)), "yes" if e.facts["preserves_optimum"] else "no")
        for e in layers
    ]
    return table(("layer", "what it does", "can drift", "preserves the optimum"), rows)


def drifting(entry: Entry[Any]) -> str:
    """Return the table of a world's parameters and their default drifts."""
    drifts = entry.facts.get("drifts", {})
    rows = [
        (
            f"`{name}`",
            f.metadata["doc"],
            f"{f.default:.4g}",
            _range(**f.metadata),
            f.metadata["unit"],
            f"`{json.dumps(drifts[name])}`" if name in drifts else "",
        )
        for name, f in _parameters(entry).items()
    ]
    return table(("parameter", "meaning", "default", "range", "unit", "drifts unless told otherwise"), rows)


def _range(low: float, high: float, unit: str, doc: str) -> str:
    """Return the bounds of a parameter; an index, however large, is only a name."""
    return "any" if unit == "index" else f"{low:.4g} to {high:.4g}"


def schedule_pages() -> str:
    """Overview of the schedules by family, a family being a file, then a section each."""
    families: dict[str, list[tuple[str, str]]] = {}
    for e in schedules:
        family = (sys.modules[e.make.__module__].__doc__ or "").partition("\n")[0]
        families.setdefault(family, []).append((link(e.name), e.summary))
    tables = [f"**{family}**\n\n{table(('kind', 'value at step t'), families[family])}" for family in sorted(families)]
    return "\n\n".join([*tables, chapters(schedules)])


def probe_pages() -> str:
    """Overview of the probes and of what leaves them unchanged, then a section each."""
    rows = [
        (
            link(e.name),
            e.summary,
            "{} to {}".format(*e.facts["bounds"]).replace("inf", "∞"),
            ", ".join(e.facts["invariant"]),
            cite(e),
        )
        for e in probes
    ]
    overview = table(("name", "what it measures", "range", "unchanged by", "source"), rows)
    terms = "\n".join(f"* *{name}*: {meaning}" for name, meaning in INVARIANCES.items())
    return f"{overview}\n\n{terms}\n\n{chapters(probes)}"


def mitigation_pages() -> str:
    """Overview of the mitigations, then a section each."""
    head = ("name", "what it does", "acts at", "is told of task changes", "is `none` at", "source")
    rows = [
        (
            link(e.name),
            e.summary,
            listed(promised.seams(e.make)),
            "if `when` is `task`" if "when" in e.options else "yes" if e.facts.get("oracle") else "no",
            ", ".join(f"`{k}={v}`" for k, v in (e.facts["null"] or {}).items()) or e.facts.get("null_reason", ""),
            cite(e),
        )
        for e in mitigations
    ]
    words = [*PARTS.items(), *((f"preserves the function: {word}", meaning) for word, meaning in FUNCTIONS.items())]
    terms = "\n".join(f"* *{word}*: {meaning}" for word, meaning in words)
    sections = (f"## {e.name}\n\n{prose(e)}\n\n{promised.facts(e)}\n\n{options(e)}" for e in mitigations)
    return "\n\n".join([table(head, rows), terms, *sections])


def detector_pages() -> str:
    """Overview of the change detectors, then a section each."""
    rows = [(link(e.name), e.summary, cite(e)) for e in detectors]
    return f"{table(('kind', 'alarms', 'source'), rows)}\n\n{chapters(detectors)}"


def study_table() -> str:
    """Overview of the studies: the question in the first comment of each file, and its size."""
    rows = []
    for file in sorted(STUDIES.glob("*.yaml")):
        text = file.read_text()
        question = " ".join(re.findall(r"^# (?!@package)(.*)", text, re.MULTILINE)[:1])
        config = yaml.safe_load(text)
        steps = config["steps_per_task"] if isinstance(config["steps_per_task"], int) else "as the agent needs"
        rows.append((f"`{file.stem}`", question, str(config["tasks"]), str(steps)))
    return table(("study", "question", "tasks", "steps per task"), rows)


def agent_pages() -> str:
    """Agents and the stems of their network."""
    rows = [(f"`{e.name}`", e.summary) for e in stems]
    return f"{chapters(agents)}\n\n## Stems\n\n{table(('stem', 'what it is'), rows)}"


GENERATED: dict[str, Callable[[], str]] = {
    "worlds": worlds,
    "layers": layer_table,
    "schedules": schedule_pages,
    "probes": probe_pages,
    "mitigations": mitigation_pages,
    "triggers": lambda: chapters(triggers),
    "detectors": detector_pages,
    "studies": study_table,
    "agents": agent_pages,
}


def rewritten(page: Path) -> str:
    """Return the text of a page with its generated blocks written anew."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{GENERATED[block[2]]()}\n\n{block[3]}", page.read_text())


def main(arguments: list[str]) -> int:
    """Write stale pages, or with `--check` name them and return 1."""
    stale = {page: text for page in sorted(DOCS.glob("*.md")) if (text := rewritten(page)) != page.read_text()}
    for page, text in stale.items():
        if "--check" in arguments:
            print(f"docs/{page.name} is stale: run `make docs`", file=sys.stderr)
        else:
            page.write_text(text)
            print(f"docs/{page.name} written")
    return int(bool(stale) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
