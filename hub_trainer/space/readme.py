"""README.md of a Space: how the Hub builds it, and what people read there."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from hub_trainer.cards.markdown import escape
from hub_trainer.space.settings import SpaceSettings
from hub_trainer.space.wording import short_description, space_title

TEMPLATE = Path(__file__).parent / "rate" / "README.md"
PYTHON_VERSION = "3.12"
"""The pinned requirements need 3.11, the Hub's default is 3.10, and ZeroGPU knows 3.10 and 3.12."""
STARTUP_TIMEOUT = "1h"


def space_readme(
    settings: SpaceSettings, *, endpoint: str, hardware: str, preload: Sequence[str]
) -> str:
    """The whole file."""
    front = {
        "title": space_title(settings),
        "emoji": "🙋",
        "colorFrom": "gray",
        "colorTo": "indigo",
        "sdk": "gradio",
        "sdk_version": version("gradio"),
        "python_version": PYTHON_VERSION,
        "app_file": "app.py",
        "suggested_hardware": hardware,
        "startup_duration_timeout": STARTUP_TIMEOUT,
        **({"preload_from_hub": list(preload)} if preload else {}),
        "pinned": False,
        "license": "apache-2.0",
        "hf_oauth": True,
        "models": list(dict.fromkeys(name for name, _ in shown_models(settings))),
        "datasets": [settings.ratings_repo_id],
        "tags": ["hub-trainer"],
        "short_description": short_description(settings),
    }
    return f"---\n{_yaml(front)}---\n\n{_body(settings, endpoint)}"


def shown_models(settings: SpaceSettings) -> list[tuple[str, str]]:
    """Repo and commit of the Space's model, and of its rival."""
    rival = settings.rival
    others = [(rival.repo_id, rival.commit_sha)] if rival else []
    return [(settings.model_repo_id, settings.commit_sha), *others]


def _body(settings: SpaceSettings, endpoint: str) -> str:
    links = [
        f"[{name}]({endpoint}/{name}) at commit `{sha}`" for name, sha in shown_models(settings)
    ]
    quoted = [f"> {escape(settings.notice, 500)}"] if settings.notice else []
    about = [escape(settings.description, 300)] if settings.description else []
    terms = f", under the licence {settings.license}," if settings.license else ""
    return TEMPLATE.read_text(encoding="utf-8").format(
        title=escape(space_title(settings)),
        about="\n\n".join([*quoted, *about, _invitation(settings).format(" and ".join(links))]),
        ratings_repo_id=settings.ratings_repo_id,
        endpoint=endpoint,
        terms=terms,
    )


def _invitation(settings: SpaceSettings) -> str:
    if settings.generation is None:
        return "Try {}, and say whether its answer is right."
    if settings.rival is None:
        return "Chat with {}, say how good its answers are, or write better ones."
    return "Compare {} without knowing which of them is which, and say which answer is better."


def _yaml(content: dict[str, Any]) -> str:
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=10_000))
