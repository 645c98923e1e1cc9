"""A conversation as HTML, in which what people and models write is text and nothing else."""

import html
from collections.abc import Mapping, Sequence

SPEAKERS = {"user": "You", "assistant": "Model"}
EMPTY = "(The model wrote nothing.)"
CUT = "It was cut here: an answer may not be longer."
INVITATION = "Write a message below."
MARKS = {
    "up": "You found it good.",
    "down": "You found it bad.",
    "edit": "You wrote a better one.",
    "report": "You reported it.",
}
"""What stands under an answer that the visitor has rated so."""
# Signs of the templates that Gradio fills in before it shows HTML.
TEMPLATE_SIGNS = str.maketrans({sign: f"&#{ord(sign)};" for sign in "${}`\\@"})
CSS = """
#conversation { gap: 12px; }
#chat { display: flex; flex-direction: column-reverse; overflow-y: auto !important;
  min-height: 70px; max-height: max(200px, calc(100dvh - 520px)); }
#chat > * { margin-bottom: auto; flex-shrink: 0; }
#chat .html-container, #chat .prose { min-height: 100%; }
#chat [role=log] { padding: 4px 2px; display: flex; flex-direction: column; gap: 12px; }
#chat .user, #chat .assistant, .side p {
  white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; margin: 0;
  line-height: 1.5; }
#chat .user, #chat .assistant { max-width: min(85%, 70ch); padding: 9px 15px;
  border-radius: 18px; }
#chat .user { align-self: flex-end; background: var(--primary-600); color: white;
  border-bottom-right-radius: 5px; }
#chat .assistant { align-self: flex-start; background: var(--background-fill-secondary);
  border: 1px solid var(--border-color-primary); border-bottom-left-radius: 5px; }
#chat .empty, .side .empty { opacity: 0.75; }
#chat .number, #chat .mark, .side .mark { display: block; font-size: 0.8rem; opacity: 0.75; }
#chat .number { margin-bottom: 3px; }
#chat .mark, .side .mark { margin-top: 5px; }
#chat .invitation { margin: auto; padding: 40px 24px; color: var(--body-text-color-subdued); }
#entry { gap: 10px; align-items: flex-end; flex-wrap: nowrap; }
#entry .form { flex: 1 1 auto; min-width: 0 !important; }
#send { flex: 0 0 auto; min-width: 92px; }
#controls { gap: 8px; }
#controls button, #verdict button { flex: 0 1 auto; }
#verdict { gap: 10px; }
#verdict .row { gap: 8px; flex-wrap: wrap; }
#verdict button { font-weight: 500; }
#sides { gap: 10px; flex-wrap: nowrap; }
#sides > * { min-width: 0 !important; }
#sides .html-container, #sides .prose { height: 100%; }
.side { padding: 12px 16px; min-height: 120px; height: 100%;
  border: 1px solid var(--border-color-primary); border-radius: 12px;
  background: var(--background-fill-secondary); }
.side h2 { font-size: 0.82rem; font-weight: 600; margin: 0 0 6px;
  color: var(--body-text-color-subdued); }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
@media (max-width: 640px) {
  #chat { max-height: max(300px, calc(100dvh - 600px)); }
  #chat .invitation { padding: 24px 12px; }
  .side { padding: 10px 12px; }
}
"""


def as_text(text: str) -> str:
    """HTML that shows a text as it is, whatever is written in it."""
    return html.escape(text).translate(TEMPLATE_SIGNS)


def conversation(
    turns: Sequence[Mapping[str, str]],
    *,
    marks: Mapping[str, str] | None = None,
    is_whole: bool = True,
) -> str:
    """All turns; the last one is not read out before it is whole.

    `marks` says by its ticket how an answer was rated. Where they are given, and there are several
    answers, these have numbers.
    """
    shown = []
    for place, turn in enumerate(turns, start=1):
        numbered = marks is not None and len(turns) > 1
        mark = (marks or {}).get(turn.get("ticket", ""), "")
        below = " ".join(filter(None, (CUT if "cut" in turn else "", MARKS.get(mark, ""))))
        notes = {"assistant": (f"Answer {place}" if numbered else "", below)}
        shown += [
            _bubble(role, turn[role], *notes.get(role, ("", "")))
            for role in SPEAKERS
            if turn.get(role) is not None
        ]
    inner = "".join(shown) or f'<div class="invitation">{INVITATION}</div>'
    busy = "false" if is_whole else "true"
    return (
        f'<div role="log" aria-label="Conversation" aria-live="polite" aria-busy="{busy}">'
        f"{inner}</div>"
    )


def side_by_side(name: str, text: str, *, is_whole: bool = True, is_cut: bool = False) -> str:
    """One of two answers under its name."""
    busy = "false" if is_whole else "true"
    below = f'<p class="mark">{CUT}</p>' if is_cut else ""
    return (
        f'<section class="side" aria-label="{name}" aria-live="polite" aria-busy="{busy}">'
        f"<h2>{name}</h2>{_paragraph(text, is_whole)}{below}</section>"
    )


def _bubble(role: str, text: str, number: str, mark: str) -> str:
    said = as_text(text.strip()) or f'<span class="empty">{EMPTY}</span>'
    above = f'<span class="number">{number}</span>' if number else ""
    below = f'<span class="mark">{mark}</span>' if mark else ""
    return (
        f'<div class="{role}" dir="auto"><span class="unseen">{SPEAKERS[role]}: </span>'
        f"{above}{said}{below}</div>"
    )


def _paragraph(text: str, is_whole: bool) -> str:
    if text.strip() or not is_whole:
        return f'<p dir="auto">{as_text(text.strip())}</p>'
    return f'<p class="empty">{EMPTY}</p>'
