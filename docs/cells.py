"""Cells of Markdown: tables, links, sources and lists."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from lopgym.registry import Entry


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table; a bar inside a cell is escaped."""
    lines = [list(head), ["---" for _ in head], *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def link(name: str) -> str:
    """Return a link to the section of that name."""
    return f"[`{name}`](#{name})"


def cite(entry: Entry[Any]) -> str:
    """Return the source of an entry, with links where an address follows from its name."""
    linked = re.sub(r"arXiv:(\d+\.\d+)", r"[arXiv:\1](https://arxiv.org/abs/\1)", entry.facts.get("cite", ""))
    return re.sub(r"doi:(10\.[^\s;,]+)", r"[doi:\1](https://doi.org/\1)", linked)


def listed(names: Iterable[str]) -> str:
    """Return names, each as code, with commas."""
    return ", ".join(f"`{name}`" for name in names)
