"""Draws docs/img/demo.svg: what `mnemos demo` prints, as it was printed, with the middle steps left out.

    python docs/img/demo_picture.py docs/img/demo.svg
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from mnemos.cli.app import app
from mnemos.cli.session import Session

WIDTH = 88
SHOWN_QUESTIONS = 2
THEME = TerminalTheme(
    (17, 21, 28), (214, 220, 229),
    [(40, 46, 56), (232, 104, 112), (126, 200, 120), (229, 192, 106), (97, 160, 240), (198, 130, 222), (86, 194, 204), (214, 220, 229)],
    [(110, 120, 136), (245, 130, 136), (150, 220, 140), (240, 210, 130), (130, 185, 255), (215, 155, 235), (120, 215, 222), (255, 255, 255)],
)  # fmt: skip
FORMAT = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px;
line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""


def printed() -> str:
    """What the demo prints at a terminal, with its colours. Raises where a step did not hold."""
    stream = io.StringIO()
    console = Console(file=stream, width=WIDTH, force_terminal=True, color_system="standard", highlight=False)
    code = app(["demo", "--no-pause"], standalone_mode=False, obj=Session(out=console))
    if code != 0:
        raise SystemExit("a step of the demo did not hold; no picture of that")
    return re.sub(r"\x1b\[\?25[lh]|\x1b\[\d*[AGK]|\r", "", stream.getvalue())


def chosen(text: str) -> list[Text]:
    """The lines of the picture: the opening, the import, two questions, the count, the forgetting, the close."""
    lines = [Text.from_ansi(line) for line in text.splitlines()]
    steps: list[list[Text]] = [[]]
    for line in lines:
        if line.plain.startswith("━━ ") or line.plain.startswith("╭─ "):
            steps.append([])
        steps[-1].append(line)
    opening, remember, ask, count, _, _, forget, *_, closing = steps
    remember = [line for line in remember if "0:00:0" not in line.plain]
    return [*opening, *remember, *_questions(ask), *count, *forget, *closing]


def _questions(ask: list[Text]) -> list[Text]:
    """The heading and the first questions of the step."""
    ends = [i for i, line in enumerate(ask) if not line.plain.strip()]
    return ask[: ends[SHOWN_QUESTIONS] + 1]


def main() -> None:
    recorder = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="standard", highlight=False)
    for line in chosen(printed()):
        recorder.print(line, no_wrap=True, crop=True)
    svg = recorder.export_svg(title="mnemos demo", theme=THEME, code_format=FORMAT, unique_id="m")
    Path(sys.argv[1]).write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
