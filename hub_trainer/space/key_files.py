"""Key files: random keys beside the ratings, each made once and readable by its owner alone."""

import os
import secrets
import tempfile
from pathlib import Path


def kept_key(path: Path) -> bytes:
    """The key in `path`, which is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _make(path)
    return path.read_bytes()


def _make(path: Path) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(32).encode())
            file.flush()
            os.fsync(file.fileno())
        # A link appears whole or not at all, and unlike a rename never replaces another's key.
        os.link(name, path)
    except FileExistsError:
        return
    finally:
        os.unlink(name)
