"""What the playground's pages say in HTML: the style sheet, one line of state, what is understood of a sentence.

>>> notice("expected a file; got none; name one").startswith('<div class="avi-state avi-error">')
True

Whatever comes from outside, a sentence or the name of a file, is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from avi_lib.instruction.instruction import Instruction
from avi_lib.workbook.playground.wording import STRENGTHS

STYLE = """<style>
.avi-page { --avi-accent: #c2513f; max-width: 1180px; }
.avi-page .jupyter-widgets.widget-tab > .widget-tab-contents { padding: 10px 12px; }
.avi-page .jupyter-button.mod-active { background: var(--avi-accent); color: white; box-shadow: none; }
.avi-page .widget-toggle-buttons { margin-top: 0; }
.avi-page .jupyter-widget-Collapse-header, .avi-page .jupyter-widget-Accordion-child > * { padding: 4px 10px; }
.avi-page .jupyter-widget-Collapse-header { min-height: 0; }
.avi-page .jupyter-widget-Collapse-contents { padding: 6px 4px; }
.avi-page .widget-tab .lm-TabBar-tab { flex: 0 1 auto !important; min-width: 0; padding: 0 10px; }
.avi-page .widget-hslider .widget-readout { min-width: 62px; max-width: 62px; }
.avi-page .avi-icon { padding: 0; }
.avi-page video { border-radius: 6px; background: #1d232a; }
.avi-sentence input { font-size: 15px !important; height: 36px !important; padding: 0 10px; }
.avi-sentence { --jp-widgets-inline-height: 36px; }
.avi-state { min-height: 22px; line-height: 20px; font-size: 12px; color: var(--jp-ui-font-color2, #555); }
.avi-error { color: var(--avi-accent); font-weight: 600; }
.avi-spinner { display: inline-block; width: 11px; height: 11px; margin-right: 7px; vertical-align: -1px;
  border: 2px solid var(--jp-border-color1, #bbb); border-top-color: var(--avi-accent); border-radius: 50%;
  animation: avi-turn .8s linear infinite; }
@keyframes avi-turn { to { transform: rotate(360deg); } }
.avi-chip { display: inline-block; margin: 0 5px 4px 0; padding: 1px 9px; border-radius: 10px; font-size: 12px;
  line-height: 18px; background: var(--jp-layout-color2, #eee); color: var(--jp-ui-font-color1, #222); }
.avi-felt { background: var(--avi-accent); color: white; }
.avi-unknown { text-decoration: line-through; opacity: .65; }
.avi-hint { font-size: 12px; line-height: 17px; color: var(--jp-ui-font-color2, #555); }
.avi-health { margin: 4px 0; font-size: 12px; line-height: 17px; white-space: pre-wrap; }
.avi-record button { cursor: pointer; width: 116px; height: 28px; margin: 2px; border: 0;
  background: var(--jp-layout-color2, #eee); color: var(--jp-ui-font-color1, #222); }
.avi-record button.avi-on { color: white; background: var(--avi-accent); }
</style>"""
"""Colours follow JupyterLab's theme where there is one."""

LEVELS = {1: "mild", 2: "plain", 3: "intense"}


def notice(error: str) -> str:
    """An error on one line."""
    return f'<div class="avi-state avi-error">{escape(" ".join(error.split()))}</div>'


def busy(what: str) -> str:
    """What is being done, behind a turning circle."""
    return f'<div class="avi-state"><span class="avi-spinner"></span>{escape(what)} …</div>'


def state(text: str) -> str:
    """What was done, on one line."""
    return f'<div class="avi-state">{escape(text)}</div>'


def hint(text: str) -> str:
    """A remark on how a control is used."""
    return f'<div class="avi-hint">{escape(text)}</div>'


def health(lines: Iterable[str]) -> str:
    """The report of a recording."""
    return f'<div class="avi-health">{escape(chr(10).join(lines))}</div>'


def reading(instruction: Instruction) -> str:
    """What is understood of a sentence: emotion and level, movements with their strengths, words left over."""
    chips = []
    if instruction.emotion is not None:
        level = f" · {LEVELS[instruction.level]}" if instruction.level and instruction.emotion != "neutral" else ""
        chips.append(_chip(f"{instruction.emotion}{level}", "avi-felt"))
    chips += [_chip(f"{_said(name)} {_strength(value)}") for name, value in instruction.action_units.items()]
    if not chips:
        chips.append(_chip("nothing asked for"))
    chips += [_chip(word, "avi-unknown") for word in instruction.unknown]
    return f"<div>{''.join(chips)}</div>"


def _said(unit: str) -> str:
    return unit.replace("_", " ")


def _strength(value: float) -> str:
    return "not at all" if value == STRENGTHS["without"] else f"{value:.2f}"


def _chip(text: str, kind: str = "") -> str:
    return f'<span class="avi-chip {kind}">{escape(text)}</span>'
