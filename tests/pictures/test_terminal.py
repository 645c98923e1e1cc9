"""Pictures of a terminal show what stood there at the end."""

import os
import subprocess
import sys

import pytest

from tests.pictures.terminal import as_it_stood, draw, run_in_terminal
from tests.space.browser import CHROMIUM


def test_screen_when_a_bar_was_redrawn_then_only_its_last_state_is_left():
    written = "begin\nbar 1\n\x1b[1A\x1b[2Kbar 2\r\x1b[2Kbar 3\n\x1b[?25hend\n"
    assert as_it_stood(written) == "begin\nbar 3\nend"


def test_command_when_run_in_a_terminal_then_it_knows_that_it_is_one():
    code = "import sys; print(sys.stdout.isatty(), sys.stderr.isatty())"
    assert run_in_terminal([sys.executable, "-c", code]).split() == ["True", "True"]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_picture_when_drawn_then_it_is_a_png(tmp_path):
    target = tmp_path / "terminal.png"
    draw([("hub-trainer check recipe.yaml", "\x1b[31merror\x1b[0m: nothing")], target)
    assert target.read_bytes()[:4] == b"\x89PNG"


def test_pages_when_the_script_is_loaded_then_its_client_asks_for_no_xet_storage():
    code = "import tests.pictures.pages; from huggingface_hub import constants as c; "
    environment = {key: os.environ[key] for key in os.environ if key != "HF_HUB_DISABLE_XET"}
    told = subprocess.run(
        [sys.executable, "-c", f"{code}print(c.HF_HUB_DISABLE_XET)"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == "True"
