"""Picture of a terminal: a command run in a real one, what it printed drawn as it stood there.

    python -m tests.pictures.terminal docs/images/check.png -- hub-trainer check recipe.yaml

Needs Chromium and playwright (`pip install -e ".[browser]"`). Several commands are divided by a
lone `then`; a command's own exit code does not matter.
"""

import io
import os
import pty
import re
import select
import shlex
import subprocess
import sys
import tempfile
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

from tests.space.browser import running_browser

COLUMNS = 110
MAX_SECONDS = 900.0


def run_in_terminal(command: list[str]) -> str:
    """All that a command writes to a terminal of COLUMNS columns, escapes included."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "LINES": "50", "TERM": "xterm-256color"}
    with subprocess.Popen(
        command, stdin=follower, stdout=follower, stderr=follower, env=environment, close_fds=True
    ) as process:
        os.close(follower)
        written = bytearray()
        while select.select([leader], [], [], MAX_SECONDS)[0]:
            try:
                piece = os.read(leader, 65536)
            except OSError:  # Linux says so when the other end is closed
                break
            if not piece:
                break
            written += piece
        process.wait()
    os.close(leader)
    return written.decode(errors="replace").replace("\r\n", "\n")


def as_it_stood(written: str) -> str:
    """The screen at the end: lines that a progress display wrote over are gone."""
    lines = [""]
    place = 0
    for token in re.split(r"(\n|\x1b\[\d*A|\x1b\[2K|\r)", re.sub(r"\x1b\[\?\d+[hl]", "", written)):
        if token == "\n":
            place += 1
            if place == len(lines):
                lines.append("")
        elif up := re.fullmatch(r"\x1b\[(\d*)A", token):
            place = max(0, place - int(up[1] or 1))
        elif token in ("\x1b[2K", "\r"):  # cleared, or about to be written over
            lines[place] = ""
        else:
            lines[place] += token
    return "\n".join(lines).rstrip()


def draw(screens: list[tuple[str, str]], target: Path) -> None:
    """Commands and what each left on the screen, as one PNG of about 1,100 pixels' width."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for number, (command, screen) in enumerate(screens):
        console.print(Text(("\n" if number else "") + f"$ {command}", style="bold"))
        console.print(Text.from_ansi(screen), soft_wrap=False)
    svg = console.export_svg(title="hub-trainer", theme=DIMMED_MONOKAI)
    # The font of rich's template comes from elsewhere; a picture asks nobody.
    svg = re.sub(r"@font-face\s*{.*?}", "", svg, flags=re.DOTALL)
    with tempfile.TemporaryDirectory() as folder, running_browser() as browser:
        page_file = Path(folder) / "terminal.html"
        page_file.write_text(f"<style>body{{margin:0}}svg{{width:1100px}}</style>{svg}")
        page = browser.new_page(viewport={"width": 1100, "height": 400}, device_scale_factor=1.5)
        page.goto(page_file.as_uri())
        page.locator("svg").first.screenshot(path=str(target))


def main(arguments: list[str]) -> None:
    """Run each command and draw them all."""
    target, dashes, *words = arguments
    assert dashes == "--", "write: TARGET.png -- COMMAND"
    commands = [list(group) for is_next, group in groupby(words, "then".__eq__) if not is_next]
    draw(
        [
            (shlex.join([Path(name).name, *rest]), as_it_stood(run_in_terminal([name, *rest])))
            for name, *rest in commands
        ],
        Path(target),
    )


if __name__ == "__main__":
    main(sys.argv[1:])
