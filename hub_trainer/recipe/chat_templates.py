"""Chat templates for base models that have none: those that ship here, and files beside a recipe.

A template is Jinja, as `apply_chat_template` of transformers renders it: `messages`,
`add_generation_prompt`, and the tokenizer's own special tokens. A recipe that is loaded holds the
template itself, so that what is trained, recorded and sent does not hang on a file.
"""

import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

MAX_CHARACTERS = 50_000
JINJA = re.compile(r"{{|{%")
CHATML = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ (message['content'] or '') + eos_token }}{% endgeneration %}"
    "{% else %}{{ (message['content'] or '') + eos_token }}{% endif %}"
    "{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
PLAIN = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ 'Assistant: ' }}"
    "{% generation %}{{ (message['content'] or '') + eos_token }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}{{ message['role'] | capitalize + ': ' + (message['content'] or '') + '\\n' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
)
SHIPPED: Mapping[str, str] = {"chatml": CHATML, "plain": PLAIN}
"""Name -> template. Each turn of the assistant ends with the tokenizer's own end of text, so that a
base model learns to stop without new tokens."""


BEFORE: Mapping[str, str] = {"d2f450fc5670": "chatml", "e706ae495390": "plain"}
"""Beginning of the digest of a template as rounds hold it that were begun when it wanted a content
in each turn -> its name."""


def by_name(value: str) -> str:
    """The template of a name, or the value itself where that is one.

    Raises ValueError for what is neither.
    """
    if value in SHIPPED:
        return SHIPPED[value]
    if not JINJA.search(value):
        raise ValueError(
            f"{value!r:.80} is neither a template that ships here ({', '.join(SHIPPED)}) nor a file"
            " beside the recipe"
        )
    if len(value) > MAX_CHARACTERS:
        raise ValueError(
            f"has {len(value):,} characters; a template has {MAX_CHARACTERS:,} at most"
        )
    return value


def beside(value: str, folder: Path) -> str:
    """The template in a file of this folder; any other value as it is.

    Raises ValueError for a file that lies elsewhere or cannot be read.
    """
    if value in SHIPPED or JINJA.search(value):
        return value
    path = (folder / value).resolve()
    if not path.is_file():
        return value
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"{value!r:.80} lies elsewhere; put the file beside the recipe")
    try:
        with path.open(encoding="utf-8") as file:
            found = file.read(MAX_CHARACTERS + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{value!r:.80} cannot be read: {error}") from None
    if not JINJA.search(found):
        raise ValueError(f"{value!r:.80} holds no template: there is no {{{{ or {{% in it")
    return found


def digest(template: str) -> str:
    """What tells it from any other."""
    return sha256(template.encode()).hexdigest()


def told(template: str) -> str:
    """What people call it: its name, or the beginning of its digest."""
    named = {text: name for name, text in SHIPPED.items()}
    short = digest(template)[:12]
    return named.get(template) or BEFORE.get(short) or f"of the recipe, sha256 {short}"
