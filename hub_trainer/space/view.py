"""View of a Space beside its service, and the settings that all pages share."""

import hashlib
import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hub_trainer.space.ranges import Ranges
from hub_trainer.space.settings import SpaceSettings
from hub_trainer.space.style import CSS, SCRIPT
from hub_trainer.space.wording import consent_line, space_description, space_title
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

REMEMBER: dict[str, Any] = {
    "fn": None,
    "inputs": None,
    "outputs": None,
    "js": "() => window.hubTrainerRated()",
    **AT_ONCE,
}
"""After a rating: the browser remembers that its visitor knows the terms."""


@dataclass(frozen=True)
class View:
    """What a page shows beside its service."""

    model_url: str
    examples: Sequence[Row] = ()
    sign_in: bool = False
    ranges: Ranges = field(default_factory=dict)
    asked: Sequence[Row] = ()
    """Rows that a visitor is asked about next, after a rating."""


def head(settings: SpaceSettings, modality: str, model_url: str, manner: str = "") -> str:
    """The top of a page as HTML: what the model does, which one it is, what must be known."""
    name, sha = html.escape(settings.model_repo_id), settings.commit_sha[:7]
    link = f'<a href="{html.escape(model_url)}" target="_blank" rel="noopener">{name}</a>'
    says = f"{link} at {sha}. {manner}What you say of its answers trains the next round."
    if settings.rival:
        says = f"{manner}What you say of their answers trains the next round."
    return (
        f"<h1>{html.escape(space_title(settings))}</h1>"
        f'<p class="about">{html.escape(space_description(settings, modality))}</p>'
        f'<p class="model">{says}</p>'
        f"{notice(settings)}"
    )


def notice(settings: SpaceSettings) -> str:
    """What everybody must know who uses the model, as HTML; empty when there is nothing."""
    if not settings.notice:
        return ""
    return f'<p class="notice" role="note">{html.escape(settings.notice)}</p>'


def terms(settings: SpaceSettings, consent: str) -> str:
    """The terms of rating as HTML: one line, and behind it the whole text."""
    version = hashlib.sha256(consent.encode()).hexdigest()[:12]
    return (
        f'<details class="terms" data-version="{version}"><summary>'
        f'<span class="line">{html.escape(consent_line(settings))} <u>Details</u></span>'
        f'<span class="remembered"><u>What happens to what I rate?</u></span></summary>'
        f"<p>{html.escape(consent)}</p></details>"
    )


def page_options(css: str = "") -> dict[str, Any]:
    """How a page is mounted: fonts of the system, nothing from other hosts; `css` is its own."""
    import gradio as gr

    theme = gr.themes.Base(
        primary_hue=gr.themes.colors.indigo,
        secondary_hue=gr.themes.colors.indigo,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_md,
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white",
        button_secondary_background_fill="white",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="*neutral_600",
        button_border_width="1px",
        input_background_fill="white",
        input_background_fill_dark="*neutral_800",
        input_border_width="1px",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_600",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
    )
    return {
        "theme": theme,
        "css": CSS + css,
        "js": SCRIPT,
        "footer_links": ["api"],
        "run_history": False,
    }
