"""A conversation as HTML, in which what people and models write is text and nothing else."""

import html
from collections.abc import Mapping, Sequence

SPEAKERS = {"user": "You", "assistant": "Model"}
EMPTY = "(The model wrote nothing.)"
INVITATION = "Write a message below."
# Signs of the templates that Gradio fills in before it shows HTML.
TEMPLATE_SIGNS = str.maketrans({sign: f"&#{ord(sign)};" for sign in "${}`\\@"})
CSS = """
#chat, .side {
  border: 1px solid var(--border-color-primary); border-radius: var(--radius-lg);
  background: var(--background-fill-primary);
}
#chat { display: flex; flex-direction: column-reverse; min-height: 150px; max-height: 50vh;
  overflow-y: auto; }
#chat > * { margin-bottom: auto; }
#chat [role=log] { padding: 12px; display: flex; flex-direction: column; gap: 12px; }
#chat .user, #chat .assistant, .side p {
  white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; margin: 0;
}
#chat .user, #chat .assistant { max-width: 85%; padding: 8px 14px; border-radius: 16px; }
#chat .user { align-self: flex-end; background: var(--color-accent-soft);
  border-bottom-right-radius: 4px; }
#chat .assistant { align-self: flex-start; background: var(--background-fill-secondary);
  border-bottom-left-radius: 4px; }
#chat .empty, .side .empty { opacity: 0.7; }
#chat .invitation { margin: auto; padding: 24px; opacity: 0.7; }
#sides { gap: 8px; flex-wrap: nowrap; }
#sides > *, #sides .html-container { min-width: 0 !important; padding: 0; }
#sides .html-container, #sides .prose { height: 100%; }
.side { padding: 10px 14px; min-height: 120px; height: 100%; }
.side h2 { font-size: 0.85rem; margin: 0 0 6px; opacity: 0.8; }
#note { font-size: 0.8rem; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
"""


def as_text(text: str) -> str:
    """HTML that shows a text as it is, whatever is written in it."""
    return html.escape(text).translate(TEMPLATE_SIGNS)


def conversation(turns: Sequence[Mapping[str, str]], *, is_whole: bool = True) -> str:
    """All turns; the last one is not read out before it is whole."""
    shown = [
        _bubble(role, turn[role])
        for turn in turns
        for role in SPEAKERS
        if turn.get(role) is not None
    ]
    inner = "".join(shown) or f'<div class="invitation">{INVITATION}</div>'
    busy = "false" if is_whole else "true"
    return (
        f'<div role="log" aria-label="Conversation" aria-live="polite" aria-busy="{busy}">'
        f"{inner}</div>"
    )


def side_by_side(name: str, text: str, *, is_whole: bool = True) -> str:
    """One of two answers under its name."""
    busy = "false" if is_whole else "true"
    return (
        f'<section class="side" aria-label="{name}" aria-live="polite" aria-busy="{busy}">'
        f"<h2>{name}</h2>{_paragraph(text, is_whole)}</section>"
    )


def _bubble(role: str, text: str) -> str:
    said = as_text(text.strip()) or f'<span class="empty">{EMPTY}</span>'
    return (
        f'<div class="{role}" dir="auto"><span class="unseen">{SPEAKERS[role]}: </span>{said}</div>'
    )


def _paragraph(text: str, is_whole: bool) -> str:
    if text.strip() or not is_whole:
        return f'<p dir="auto">{as_text(text.strip())}</p>'
    return f'<p class="empty">{EMPTY}</p>'
