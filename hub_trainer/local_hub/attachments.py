"""Pictures, sounds and videos in comments: files under names that nobody can guess."""

import os
import re
import secrets
from pathlib import Path

from hub_trainer.local_hub.core import Core, Limits
from hub_trainer.local_hub.errors import bad_request
from hub_trainer.local_hub.git_write import sync_folder

SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
    "audio/mpeg": ".mp3",
    "audio/wav": ".wav",
}
CONTENT_TYPES = {suffix: content_type for content_type, suffix in SUFFIXES.items()}

_NAME = re.compile(r"[0-9a-f]{24}/[A-Za-z0-9_-]{22}(\.[a-z0-9]{3,4})\Z")


def check_content_type(header: str) -> str:
    """The type of an attachment, one of those that the web editor takes."""
    content_type = header.partition(";")[0].strip().lower()
    if content_type not in SUFFIXES:
        raise bad_request(
            f"An attachment cannot be of the type {header!r}. Use one of {', '.join(SUFFIXES)}."
        )
    return content_type


def most_bytes(limits: Limits, content_type: str) -> int:
    """How large an attachment of a type may be."""
    is_video = content_type.startswith("video/")
    return limits.video_bytes if is_video else limits.attachment_bytes


def keep_attachment(core: Core, user_id: str, content: Path, content_type: str) -> str:
    """Take over a file that is on disk; gives back its name, `user id/random.suffix`."""
    if content.stat().st_size == 0:
        raise bad_request("The attachment is empty.")
    name = f"{user_id}/{secrets.token_urlsafe(16)}{SUFFIXES[content_type]}"
    path = _folder(core) / name
    path.parent.mkdir(exist_ok=True)
    os.replace(content, path)
    for folder in (path.parent, _folder(core)):
        sync_folder(folder)
    return name


def find_attachment(core: Core, name: str) -> Path | None:
    """The file of that name; no other name leads to a file."""
    path = _folder(core) / name
    return path if is_attachment(name) and path.is_file() else None


def is_attachment(name: str) -> bool:
    """Whether a name looks like one that `keep_attachment` gives."""
    found = _NAME.match(name)
    return found is not None and found[1] in CONTENT_TYPES


def is_picture(name: str) -> bool:
    """Whether a browser can show the attachment as a picture."""
    return is_attachment(name) and CONTENT_TYPES[Path(name).suffix].startswith("image/")


def _folder(core: Core) -> Path:
    return core.folder / "attachments"
