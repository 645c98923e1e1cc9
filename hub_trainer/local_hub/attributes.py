"""`.gitattributes` and `.gitignore`: which files go to LFS and which are left out."""

import fnmatch
import re
from functools import lru_cache

_ARCHIVES = [
    "*.7z",
    "*.arrow",
    "*.bin",
    "*.bz2",
    "*.ckpt",
    "*.ftz",
    "*.gz",
    "*.h5",
    "*.joblib",
    "*.lfs.*",
    "*.mlmodel",
    "*.model",
    "*.msgpack",
    "*.npy",
    "*.npz",
    "*.onnx",
    "*.ot",
    "*.parquet",
    "*.pb",
    "*.pickle",
    "*.pkl",
    "*.pt",
    "*.pth",
    "*.rar",
    "*.safetensors",
    "saved_model/**/*",
    "*.tar.*",
    "*.tar",
    "*.tflite",
    "*.tgz",
    "*.wasm",
    "*.xz",
    "*.zip",
    "*.zst",
    "*tfevents*",
]
_DATA = [
    "*.7z",
    "*.arrow",
    "*.avro",
    "*.bin",
    "*.bz2",
    "*.ckpt",
    "*.ftz",
    "*.gz",
    "*.h5",
    "*.joblib",
    "*.lfs.*",
    "*.lz4",
    "*.mds",
    "*.mlmodel",
    "*.model",
    "*.msgpack",
    "*.npy",
    "*.npz",
    "*.onnx",
    "*.ot",
    "*.parquet",
    "*.pb",
    "*.pickle",
    "*.pkl",
    "*.pt",
    "*.pth",
    "*.rar",
    "*.safetensors",
    "saved_model/**/*",
    "*.tar.*",
    "*.tar",
    "*.tflite",
    "*.tgz",
    "*.wasm",
    "*.xz",
    "*.zip",
    "*.zst",
    "*tfevents*",
    "*.pcm",
    "*.sam",
    "*.raw",
    "*.aac",
    "*.flac",
    "*.mp3",
    "*.ogg",
    "*.wav",
    "*.bmp",
    "*.gif",
    "*.png",
    "*.tiff",
    "*.jpg",
    "*.jpeg",
    "*.webp",
    "*.mp4",
    "*.webm",
]


def default_attributes(repo_type: str) -> str:
    """The `.gitattributes` of a new repo."""
    patterns = _DATA if repo_type == "dataset" else _ARCHIVES
    return "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in patterns)


class LfsRules:
    """Which paths a `.gitattributes` file sends to LFS; the last rule that says so wins."""

    def __init__(self, text: str) -> None:
        self._rules = [rule for line in text.splitlines() if (rule := _attribute_rule(line))]

    def is_lfs(self, path: str) -> bool:
        """Whether the rules want this path in LFS."""
        for pattern, lfs in reversed(self._rules):
            if _matches(pattern, path):
                return lfs
        return False


def _attribute_rule(line: str) -> tuple[str, bool] | None:
    words = line.split()
    if len(words) < 2 or words[0].startswith(("#", "[")):
        return None
    for word in reversed(words[1:]):
        if word == "filter=lfs":
            return words[0].strip('"'), True
        if word in ("-filter", "!filter") or word.startswith("filter="):
            return words[0].strip('"'), False
    return None


class IgnoreRules:
    """Which paths a `.gitignore` file leaves out."""

    def __init__(self, text: str) -> None:
        self._rules = [rule for line in text.splitlines() if (rule := _ignore_rule(line))]

    def ignores(self, path: str) -> bool:
        """Whether the path or a folder above it is left out."""
        segments = path.split("/")
        for depth in range(1, len(segments) + 1):
            is_folder = depth < len(segments)
            if self._decide("/".join(segments[:depth]), is_folder=is_folder):
                return True
        return False

    def _decide(self, path: str, *, is_folder: bool) -> bool:
        for pattern, only_folders, ignored in reversed(self._rules):
            if (is_folder or not only_folders) and _matches(pattern, path):
                return ignored
        return False


def _ignore_rule(line: str) -> tuple[str, bool, bool] | None:
    line = re.sub(r"(?<!\\)\s+$", "", line)
    if not line or line.startswith("#"):
        return None
    ignored = not line.startswith("!")
    pattern = line[1:] if not ignored else line
    pattern = pattern[1:] if pattern.startswith(("\\#", "\\!")) else pattern
    return pattern.rstrip("/"), pattern.endswith("/"), ignored


def _matches(pattern: str, path: str) -> bool:
    """A pattern without a slash matches the last segment, one with a slash the whole path."""
    if "/" not in pattern:
        return _segment(pattern).match(path.rpartition("/")[2]) is not None
    return _match_segments(pattern.removeprefix("/").split("/"), path.split("/"))


def _match_segments(patterns: list[str], segments: list[str]) -> bool:
    """Git's wildmatch in linear steps: which starts in the path can each pattern segment reach?"""
    starts = {0}
    for index, pattern in enumerate(patterns):
        if pattern == "**":
            if index == len(patterns) - 1:
                return min(starts) < len(segments)
            starts = set(range(min(starts), len(segments)))
        else:
            matches = _segment(pattern).match
            starts = {at + 1 for at in starts if at < len(segments) and matches(segments[at])}
        if not starts:
            return False
    return len(segments) in starts


@lru_cache(maxsize=4096)
def _segment(pattern: str) -> re.Pattern[str]:
    """One segment's pattern; fnmatch's expressions do not backtrack without bound."""
    escaped = re.sub(r"\\(.)", r"[\1]", pattern).replace("[^", "[!")
    return re.compile(fnmatch.translate(escaped))
