"""Cards and comments of strangers become HTML that can do nothing but look like text."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote, urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token

from hub_trainer.local_hub.attachments import is_picture
from hub_trainer.local_hub.cards import split_front_matter

MAX_CHARACTERS = 100_000
MAX_REMEMBERED = 256

_CUT = "\n\n---\n\n*The rest is too long to show here.*"

_TAGS = {
    "a",
    "blockquote",
    "br",
    "code",
    "del",
    "details",
    "em",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "img",
    "li",
    "ol",
    "p",
    "pre",
    "s",
    "strong",
    "summary",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "tr",
    "ul",
}
_ATTRIBUTES = {
    "a": {"href", "title"},
    "img": {"src", "alt", "title"},
    "ol": {"start"},
}
_ALIGNED = {"left", "center", "right"}
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_FOLD = re.compile(r"\s*(?:<details>\s*<summary>[^<>]*</summary>|</details>)\s*")
"""What folds a part of a text: the only HTML that is taken as such, and it has no attributes."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:|//|\\")


@dataclass(frozen=True)
class Base:
    """Where the relative links of a text lead: a repo's page, at a revision, from a folder."""

    repo_url: str
    revision: str
    folder: str = ""

    def file(self, kind: str, link: str) -> str:
        """The page (blob) or picture (image) of a path in the repo."""
        path = unquote(link).split("#")[0].split("?")[0]
        full = _normal(path.lstrip("/") if path.startswith("/") else f"{self.folder}/{path}")
        return f"{self.repo_url}/{kind}/{quote(self.revision, safe='')}/{quote(full, safe='/')}"


def render_card(text: str, base: Base) -> str:
    """A README without its metadata."""
    return render_markdown(split_front_matter(text)[1], base)


@lru_cache(maxsize=MAX_REMEMBERED)
def render_markdown(text: str, base: Base | None = None) -> str:
    """Markdown as safe HTML. Raw HTML in it is shown as text, but for folds; no comments."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    if len(text) > MAX_CHARACTERS:
        text = text[:MAX_CHARACTERS] + _CUT
    tokens = parser.parse(text)
    _each(tokens, lambda token: _tame(token, base))
    html = parser.renderer.render(tokens, parser.options, {})
    return nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
        allowed_classes={"td": _ALIGNED, "th": _ALIGNED},
    )


def _each(tokens: Sequence[Token], change: Callable[[Token], None]) -> None:
    for token in tokens:
        change(token)
        _each(token.children or (), change)


def _tame(token: Token, base: Base | None) -> None:
    if token.type == "html_block" and _FOLD.fullmatch(token.content):
        return
    if token.type in ("html_block", "html_inline"):
        token.type, token.content = "text", _COMMENT.sub("", token.content)
    elif token.type in ("heading_open", "heading_close"):  # h1 is the page's own
        token.tag = f"h{min(6, int(token.tag[1:]) + 1)}"
    elif token.type in ("th_open", "td_open"):  # a style attribute would need a laxer policy
        token.attrs = {"class": str(token.attrGet("style") or "").removeprefix("text-align:")}
    elif token.type == "link_open":
        token.attrSet("href", _link(str(token.attrGet("href") or ""), base))
    elif token.type == "image":
        _tame_image(token, base)


def _link(href: str, base: Base | None) -> str:
    if _SCHEME.match(href) or href.startswith("#") or base is None:
        return href
    return base.file("blob", href)


def _tame_image(token: Token, base: Base | None) -> None:
    """A picture of the repo itself, or an attachment of this Hub under whatever name people reach
    it, is shown; one from elsewhere would tell who looks."""
    source = str(token.attrGet("src") or "")
    attachment = urlsplit(source).path.removeprefix("/uploads/")
    if is_picture(attachment):
        token.attrSet("src", f"/uploads/{attachment}")
        return
    path = _path_in_repo(source, base)
    if base is not None and path is not None:
        token.attrSet("src", base.file("image", path))
        return
    label = "".join(child.content for child in token.children or ()) or "picture"
    where = urlsplit(source).hostname if base is not None else None
    token.type, token.content = "text", f"[{label}{f', on {where}' if where else ''}]"
    token.children = None


def _path_in_repo(source: str, base: Base | None) -> str | None:
    if base is None or not source:
        return None
    own = re.search(
        re.escape(base.repo_url) + r"/(?:resolve|raw|blob)/[^/]+/(.+)", urlsplit(source).path
    )
    if own is not None:
        return f"/{own[1]}"
    return None if _SCHEME.match(source) else source


def _normal(path: str) -> str:
    """Without `.` and `..`; what would climb out of the repo stays at its top."""
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del kept[-1:]
        elif part not in ("", "."):
            kept.append(part)
    return "/".join(kept)
