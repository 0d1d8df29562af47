"""The page itself: sections, tables, and what every picture on it shares. Colours are those of Okabe and Ito."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import patheffects
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from concordet.errors import RunError

# Okabe and Ito's palette without its yellow, which white paper swallows.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES = ("-", "--", ":", "-.")
_DASHES = {"-": "solid", "--": "dashed", ":": "dotted", "-.": "dashed"}
_STYLE = {
    "font.size": 10, "axes.titlesize": 10, "axes.labelsize": 10, "xtick.labelsize": 9, "ytick.labelsize": 9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#666666", "axes.grid": True,
    "grid.color": "#e4e4e4", "grid.linewidth": 0.8, "axes.axisbelow": True, "lines.linewidth": 1.7,
    "xtick.color": "#444444", "ytick.color": "#444444", "axes.labelcolor": "#222222", "text.color": "#222222",
}
_PAGE_STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #fff; color: #1d1d1f; -webkit-text-size-adjust: 100%;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 74rem; margin: 0 auto; padding: 1.6rem 1.1rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; font-weight: 650; margin: 0 0 .9rem; }
h2 { font-size: 1.2rem; font-weight: 620; margin: 2.6rem 0 .8rem; padding-top: .7rem;
  border-top: 1px solid #ddd; }
nav { font-size: .92rem; margin: .2rem 0 1.2rem; }
nav a { color: #0062a3; margin-right: 1.1em; text-decoration: none; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; margin: 0 0 1rem; }
dt { color: #666; } dd { margin: 0; overflow-wrap: anywhere; }
.figures { display: grid; gap: 1.2rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); }
figure { margin: 0; max-width: 36rem; } figure.wide { max-width: 40rem; }
img { display: block; width: 100%; height: auto; }
figcaption { font-size: .95rem; margin-top: .35rem; } figcaption b { font-weight: 620; }
p.caption { color: #555; font-size: .92rem; max-width: 62rem; margin: .8rem 0 0; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; font-size: .95rem; margin-bottom: .7rem; }
.legend i { display: inline-block; width: 2.1em; margin-right: .5em; vertical-align: middle;
  border-top: 3px solid; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .95rem; }
th, td { padding: .34rem 1.3rem .34rem 0; text-align: left; border-bottom: 1px solid #e6e6e6; }
td { white-space: nowrap; } th { font-weight: 600; border-bottom-color: #888; } .n { text-align: right; }
summary { cursor: pointer; color: #0062a3; }
pre { font-size: .82rem; line-height: 1.45; background: #f6f6f7; padding: .9rem; overflow-x: auto; }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; } }
"""


@dataclass(frozen=True)
class Section:
    """One part of a report: `html` is markup made by this module; heading and caption are plain text."""

    heading: str
    html: str
    caption: str = ""


def write_report(path: str | os.PathLike, *, title: str, summary: Sequence[tuple[str, str]],
                 sections: Sequence[Section]) -> None:
    """One HTML page that needs nothing beside it.

    summary   (name, value) lines under the title
    Written beside and renamed, so that the page is whole or absent; RunError where it cannot be written.
    """
    entries = "".join(f"<dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd>\n"
                      for name, value in summary)
    links = "".join(f'<a href="#s{i}">{escape(s.heading)}</a>\n' for i, s in enumerate(sections))
    body = "".join(
        f'<section id="s{i}">\n<h2>{escape(s.heading)}</h2>\n{s.html}\n'
        + (f'<p class="caption">{escape(s.caption)}</p>\n' if s.caption else "") + "</section>\n"
        for i, s in enumerate(sections))
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_PAGE_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n" + (f"<dl>\n{entries}</dl>\n" if entries else "")
        + (f"<nav>{links}</nav>\n" if len(sections) > 2 else "") + body + "</main>\n</body>\n</html>\n")
    write_whole(path, page.encode())


def table(heading: str, columns: Sequence[str], rows: Sequence[Sequence], *, caption: str = "") -> Section:
    """A table; columns carry their units in their names.  Numbers stand right, floats with four digits."""
    def cell(tag, value, right):
        return f"<{tag}{' class=n' if right else ''}>{escape(_text(value))}</{tag}>"

    rows = [list(row) for row in rows]
    right = [bool(rows) and all(_is_number(row[i]) or row[i] is None for row in rows if i < len(row))
             for i in range(len(columns))]
    head = "".join(cell("th", name, r) for name, r in zip(columns, right, strict=True))
    lines = ("".join(cell("td", value, r) for value, r in zip(row, right, strict=True)) for row in rows)
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    return Section(heading, f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
                            f"<tbody>\n{body}</tbody>\n</table></div>", caption)


def parameters(values: Mapping, *, heading: str = "Parameters") -> Section:
    """All parameters as JSON, folded away; what JSON does not know is written as text."""
    text = json.dumps(values, indent=2, default=_plain, ensure_ascii=False)
    return Section(heading, f"<details><summary>as JSON</summary><pre>{escape(text)}</pre></details>")


def styles(names):
    """Colour and line of each name, by position: the lines change where the colours repeat."""
    return {name: (COLOURS[i % len(COLOURS)], _LINES[i // len(COLOURS) % len(_LINES)])
            for i, name in enumerate(names)}


def padded_limits(values, margin=0.06):
    if not len(values):
        return 0.0, 1.0
    low, high = float(np.min(values)), float(np.max(values))
    room = margin * (high - low) or 0.05 * max(abs(high), 0.1)
    return low - room, high + room


def rendered(draw, size, dots_per_inch=160, tight=True):
    """PNG bytes of what draw(figure) draws on `size` inches."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=size, facecolor="white", layout=None)
        FigureCanvasAgg(figure)
        draw(figure)
        if tight:
            figure.set_layout_engine("tight")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dots_per_inch, metadata={"Software": None})
    return buffer.getvalue()


def figure_html(png, description, name="", note="", wide=False):
    text = f"<b>{escape(name)}</b>" if name else ""
    text += f" {escape(note)}" if note else ""
    return (f'<figure{" class=wide" if wide else ""}><img alt="{escape(description, quote=True)}" '
            f'src="data:image/png;base64,{base64.b64encode(png).decode()}">'
            + (f"<figcaption>{text}</figcaption>" if text else "") + "</figure>\n")


def legend(names):
    entries = "".join(f'<span><i style="border-top-style:{_DASHES[line]};border-top-color:{colour}"></i>'
                      f"{escape(name)}</span>\n" for name, (colour, line) in styles(names).items())
    return f'<div class="legend">\n{entries}</div>\n'


def outline():
    """Of white letters, so that they are read on any grey."""
    return [patheffects.withStroke(linewidth=2, foreground="#222222")]


def _is_number(value):
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _text(value):
    if value is None or (_is_number(value) and np.isnan(value)):
        return "\N{EN DASH}"
    if isinstance(value, (float, np.floating)):
        return f"{float(value):#.4g}".rstrip(".")
    return str(value)


def _plain(value):
    """What JSON does not know: arrays and numpy numbers by value, the rest as text."""
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else str(value)


def write_whole(path, content: bytes):
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    except OSError as error:
        raise RunError(f"{path}: could not be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()
