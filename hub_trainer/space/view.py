"""What a page shows beside its service, and the settings that all pages share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hub_trainer.tasks import Row

MAX_WAITING = 64
UPLOADS = (3600, 86_400)
"""Seconds between two sweeps of uploaded files, and the age at which they are deleted."""
AT_ONCE: dict[str, Any] = {
    "queue": False,
    "concurrency_limit": None,
    "show_progress": "hidden",
    "api_visibility": "private",
}
"""Events that wait for no other: only the model queues."""
CSS = """
.gradio-container { max-width: 1080px !important; margin: 0 auto !important; }
#note, #status { opacity: 0.8; font-size: 0.85rem; }
#said { min-height: 1.6em; }
.image-frame img { width: 100%; height: 100%; object-fit: contain; }
"""
# Answers are read out where they appear, and the page has a language.
SCRIPT = """() => {
  document.documentElement.lang = 'en';
  for (const id of ['said', 'status']) {
    document.getElementById(id)?.setAttribute('aria-live', 'polite');
  }
}"""


@dataclass(frozen=True)
class View:
    """What a page shows beside its service."""

    model_url: str
    examples: Sequence[Row] = ()
    sign_in: bool = False


def page_options(css: str = "") -> dict[str, Any]:
    """How a page is mounted: fonts of the system, nothing from other hosts; `css` is its own."""
    import gradio as gr

    theme = gr.themes.Default(
        font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    return {
        "theme": theme,
        "css": CSS + css,
        "js": SCRIPT,
        "footer_links": ["api"],
        "run_history": False,
    }
