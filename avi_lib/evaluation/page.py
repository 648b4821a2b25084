"""The report as one HTML page: pictures within, no script, nothing from the network, all text escaped.

>>> Path("report.html").write_text(render_page(report), "utf-8")
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avi_lib.evaluation.report import Estimate, Matrix, Picture, Report, Table

ARROWS = {"higher": "↑", "lower": "↓", "near": "≈"}
LEGEND = (
    "↑ higher is better, ↓ lower is better, ≈ best near real people. "
    "Small figures are 95 % bootstrap intervals; n is the number of clips with evidence. "
    "“–” stands for no evidence: a region that no channel moves, or no such sound."
)
_STYLE = """
:root { color-scheme: light; --ink: #22303c; --pale: #5d6f7e; --line: #d7dee4; --accent: #b4442f; --wash: #f5f7f9; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 28px 80px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 21px; margin: 44px 0 6px; padding-top: 14px; border-top: 2px solid var(--ink); }
p { margin: 6px 0 12px; max-width: 76ch; }
.how, .legend { color: var(--pale); font-size: 14px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 10px; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line); }
th { font-weight: 600; background: var(--wash); }
th:first-child, td:first-child, th.words { text-align: left; }
td.words { text-align: left; color: var(--pale); font-size: 12.5px; min-width: 210px; max-width: 330px; }
td small { display: block; color: var(--pale); font-size: 11.5px; white-space: nowrap; }
td:first-child small { white-space: normal; }
.unit { color: var(--pale); font-weight: 400; }
.matrix { width: auto; } .matrix td, .matrix th { text-align: center; }
.matrix td:first-child, .matrix th:first-child { text-align: left; }
figure { margin: 22px 0; } figure img { max-width: 100%; border: 1px solid var(--line); }
figcaption { color: var(--pale); font-size: 14px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 18px; font-size: 14px; margin: 16px 0; }
dt { color: var(--pale); } dd { margin: 0; overflow-wrap: anywhere; }
ul { padding-left: 20px; max-width: 80ch; }
"""


def render_page(report: Report) -> str:
    """The page."""
    parts = [
        f"<h1>{escape(report.title)}</h1>",
        _about(report),
        f'<p class="legend">{escape(LEGEND)}</p>',
        *(_table(table) + _pictures(report, table.name) for table in report.tables),
        *(_matrix(matrix) for matrix in report.matrices),
    ]
    sections = {table.name for table in report.tables}
    rest = [picture for picture in report.pictures if picture.section not in sections]
    if rest:
        parts += ["<h2>Pictures</h2>", *map(_picture, rest)]
    if report.notes:
        parts += ["<h2>What to know</h2>", "<ul>", *(f"<li>{escape(note)}</li>" for note in report.notes), "</ul>"]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _about(report: Report) -> str:
    items = "".join(
        f"<dt>{escape(str(name))}</dt><dd>{escape(_said(value))}</dd>" for name, value in report.about.items()
    )
    return f"<dl>{items}</dl>"


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _section(title: str, how: str, table: str) -> str:
    return f'<h2>{escape(title)}</h2>\n<p class="how">{escape(how)}</p>\n<div class="scroll">{table}</div>'


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(system)}</th>" for system in table.systems)
    return _section(
        table.title,
        table.how,
        f'<table><thead><tr><th>measure</th>{head}<th class="words">what counts</th></tr></thead>'
        f"<tbody>{''.join(_rows(table))}</tbody></table>",
    )


def _rows(table: Table) -> Iterator[str]:
    for name, measure in table.measures.items():
        unit = f' <span class="unit">{escape(measure.unit)}</span>' if measure.unit else ""
        first = (
            f"<td>{escape(measure.title)}{unit} {ARROWS[measure.better]}<small>{escape(measure.source)}</small></td>"
        )
        cells = "".join(_cell(table.estimates.get((name, system))) for system in table.systems)
        yield f'<tr>{first}{cells}<td class="words">{escape(measure.counts)}</td></tr>'


def _cell(estimate: Estimate | None) -> str:
    if estimate is None or math.isnan(estimate.value):
        return "<td>–</td>"
    shown = f"n {estimate.clips}"
    if math.isfinite(estimate.low):
        shown = f"{_number(estimate.low)} to {_number(estimate.high)}, {shown}"
    return f"<td>{_number(estimate.value)}<small>{shown}</small></td>"


def _number(value: float) -> str:
    """Two decimals, three for what is small; a minus sign and never a minus zero."""
    digits = 3 if 0 < abs(value) < 0.1 else 2
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def _matrix(matrix: Matrix) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in matrix.columns)
    lines = []
    for name, counts in zip(matrix.rows, matrix.counts, strict=True):
        whole = max(int(counts.sum()), 1)
        cells = "".join(
            f'<td style="background: rgba(180, 68, 47, {0.75 * count / whole:.2f})">{count or ""}</td>'
            for count in counts.tolist()
        )
        lines.append(f"<tr><td>{escape(name)}</td>{cells}</tr>")
    table = f'<table class="matrix"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'
    return _section(matrix.title, matrix.how, table)


def _pictures(report: Report, section: str) -> str:
    return "".join(_picture(picture) for picture in report.pictures if picture.section == section)


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode("ascii")
    title = escape(picture.title)
    return f'<figure><img alt="{title}" src="data:image/png;base64,{data}"><figcaption>{title}</figcaption></figure>'
