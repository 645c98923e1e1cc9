"""Routes of a repo's files: folders, a file, pictures, first rows, history, a commit, refs."""

from itertools import islice
from typing import Any

from starlette.responses import Response

from hub_trainer.local_hub.errors import entry_not_found, too_large
from hub_trainer.local_hub.git_last import last_commits
from hub_trainer.local_hub.git_read import Entry as FileEntry
from hub_trainer.local_hub.git_read import (
    describe,
    entry_at,
    history,
    list_refs,
    record_of,
    resolve_commit,
    walk_folder,
)
from hub_trainer.local_hub.lfs import granted_size, grants_of
from hub_trainer.local_hub.page.about import frame
from hub_trainer.local_hub.page.browse import REPO
from hub_trainer.local_hub.page.diffs import diff_commits
from hub_trainer.local_hub.page.markdown_html import Base, render_card
from hub_trainer.local_hub.page.render import page, to_file
from hub_trainer.local_hub.page.rows import data_files, first_rows
from hub_trainer.local_hub.routes.resolve import resolve
from hub_trainer.local_hub.wire import Call, Entry

FOLDER_PAGE = 200
COMMITS_PAGE = 30
MAX_TEXT_BYTES = 400_000
MAX_IMAGE_BYTES = 20_000_000
MAX_REFS = 500

# A picture is told by how it starts, never by its name. SVG is none: it can hold script.
_PICTURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"RIFF", "image/webp"),
)
PICTURE_NAMES = (".png", ".jpg", ".jpeg", ".gif", ".webp")


def _values(call: Call, tab: str) -> tuple[dict[str, Any], Any, Any]:
    """(what the template needs, git, the commit that the path names)."""
    git = call.core.git(call.repo)
    revision = call.params.get("rev", "main")
    commit = resolve_commit(git, revision)
    path = call.params.get("path", "").strip("/")
    values = {**frame(call, tab), "revision": revision, "path": path, "trail": _trail(path)}
    return {**values, "refs": _refs(git)}, git, commit


def _trail(path: str) -> list[tuple[str, str]]:
    """(name, path) of every folder on the way, and of the last part itself."""
    parts = path.split("/") if path else []
    return [(part, "/".join(parts[: index + 1])) for index, part in enumerate(parts)]


def _refs(git: Any) -> dict[str, list[tuple[str, str]]]:
    """Branches and tags: (name, commit sha)."""
    found = list(list_refs(git).items())
    kinds = {"Branches": "refs/heads/", "Tags": "refs/tags/"}
    return {
        kind: [(ref.removeprefix(prefix), sha) for ref, sha in found if ref.startswith(prefix)][
            :MAX_REFS
        ]
        for kind, prefix in kinds.items()
    }


def show_folder(call: Call) -> Response:
    """GET tree/{rev}[/{path}]: folders first, each line with its last commit."""
    values, git, commit = _values(call, "files")
    everything = list(walk_folder(git, commit, values["path"], recursive=False))
    everything.sort(key=lambda found: (found[1].type_str != "tree", found[0].lower()))
    number = call.number("p", 0, 1_000_000)
    shown = everything[number * FOLDER_PAGE : (number + 1) * FOLDER_PAGE]
    newest = last_commits(git, commit, [path for path, _ in shown])
    granted = grants_of(call.core.store, call.repo.id)
    entries = [_line(describe(git, path, found), granted, newest[path]) for path, found in shown]
    values.update(entries=entries, total=len(everything), number=number)
    more = (number + 1) * FOLDER_PAGE < len(everything)
    return page(call, "tree.html", **values, newest=record_of(commit), more=more)


def _line(entry: FileEntry, granted: dict[str, tuple[int, str]], newest: Any) -> dict[str, Any]:
    large = entry.pointer is not None and entry.pointer.oid in granted
    size = entry.pointer.size if large and entry.pointer else entry.size
    name = entry.path.rpartition("/")[2]
    return {"entry": entry, "name": name, "large": large, "size": size, "newest": newest}


def _file(call: Call, git: Any, commit: Any) -> FileEntry:
    path = call.params["path"]
    entry = entry_at(git, commit, path)
    if entry is None or entry.type != "file":
        raise entry_not_found(path, commit_sha=str(commit.id))
    return entry


def show_file(call: Call) -> Response:
    """GET blob/{rev}/{path}: text, a card, a picture, or that it can be downloaded."""
    values, git, commit = _values(call, "files")
    entry = _file(call, git, commit)
    line = _line(entry, grants_of(call.core.store, call.repo.id), None)
    text = None if line["large"] else _text(git, entry)
    folder, _, name = entry.path.rpartition("/")
    card = None
    if text is not None and name.lower().endswith(".md") and not call.flag("plain"):
        card = render_card(text, Base(values["url"], values["revision"], folder))
    image = ""
    if name.lower().endswith(PICTURE_NAMES):
        image = to_file(values["url"], "image", values["revision"], entry.path)
    newest = last_commits(git, commit, [entry.path])[entry.path]
    values.update(line=line, entry=entry, text=text, card=card, image=image, newest=newest)
    return page(call, "blob.html", **values)


def _text(git: Any, entry: FileEntry) -> str | None:
    if entry.size > MAX_TEXT_BYTES:
        return None
    data: bytes = git[entry.oid].data
    try:
        return None if b"\0" in data else data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def send_image(call: Call) -> Response:
    """GET image/{rev}/{path}: a picture for our pages, as a type that runs nothing."""
    git = call.core.git(call.repo)
    entry = _file(call, git, resolve_commit(git, call.params["rev"]))
    pointer = entry.pointer
    if pointer is not None and granted_size(call.core.store, call.repo.id, pointer.oid) is None:
        pointer = None
    if (pointer.size if pointer else entry.size) > MAX_IMAGE_BYTES:
        raise too_large(f"{entry.path} is too large to show. Download it instead.")
    blob = git[entry.oid]
    data = call.core.lfs.path_of(pointer.oid).read_bytes() if pointer else blob.data
    kinds = [kind for start, kind in _PICTURES if data.startswith(start)]
    if not kinds:
        raise entry_not_found(f"A picture at {entry.path}")
    headers = {"Content-Security-Policy": "default-src 'none'; sandbox"}
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    return Response(data, media_type=kinds[0], headers=headers)


def show_rows(call: Call) -> Response:
    """GET viewer/{rev}: the first rows of one of the data files."""
    values, git, commit = _values(call, "rows")
    files = data_files(git, commit)
    chosen = call.query("file") or (files[0] if files else "")
    if chosen and chosen not in files:
        raise entry_not_found(chosen, commit_sha=str(commit.id))
    table = first_rows(call.core, call.repo, git, commit, chosen) if chosen else None
    return page(call, "rows.html", **values, files=files, chosen=chosen, table=table)


def show_history(call: Call) -> Response:
    """GET commits/{rev}: newest first."""
    values, git, commit = _values(call, "files")
    number = call.number("p", 0, 100_000)
    start = number * COMMITS_PAGE
    found = list(islice(history(git, commit), start, start + COMMITS_PAGE + 1))
    values.update(commits=found[:COMMITS_PAGE], number=number, more=len(found) > COMMITS_PAGE)
    return page(call, "commits.html", **values)


def show_commit(call: Call) -> Response:
    """GET commit/{rev}: what one commit says and changes."""
    values, git, commit = _values(call, "files")
    parent = commit.parents[0] if commit.parents else None
    values.update(commit=record_of(commit), parents=[str(each) for each in commit.parent_ids])
    return page(call, "commit.html", **values, diff=diff_commits(git, parent, commit))


def show_refs(call: Call) -> Response:
    """GET refs: branches and tags."""
    values, git, _ = _values(call, "files")
    groups = {
        kind: [(name, record_of(git[sha])) for name, sha in found]
        for kind, found in values["refs"].items()
    }
    return page(call, "refs.html", **values, groups=groups)


_REV = REPO + "/%s/{rev:rev}"
_FILE = _REV + "/{path:path}"

ROUTES = [
    Entry("GET", _REV % "tree", show_folder, "read", page=True),
    Entry("GET", _FILE % "tree", show_folder, "read", page=True),
    Entry("GET", _FILE % "blob", show_file, "read", page=True),
    Entry("GET", _FILE % "image", send_image, "read", page=True),
    Entry("GET", _FILE % "download", resolve, "read", page=True),
    Entry("GET", _REV % "viewer", show_rows, "read", page=True),
    Entry("GET", _REV % "commits", show_history, "read", page=True),
    Entry("GET", _REV % "commit", show_commit, "read", page=True),
    Entry("GET", REPO + "/refs", show_refs, "read", page=True),
]
