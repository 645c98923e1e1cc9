"""A git push: parsed, indexed in quarantine, gated like a commit, then moved in ref by ref."""

import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pygit2
from pygit2.enums import ObjectType

from hub_trainer.local_hub import webhooks
from hub_trainer.local_hub.accounts import Actor
from hub_trainer.local_hub.core import Core
from hub_trainer.local_hub.errors import WireError, bad_request
from hub_trainer.local_hub.git_read import list_refs
from hub_trainer.local_hub.git_write import clear_stale_locks, drop_ref, sync_folder
from hub_trainer.local_hub.push_gate import MEND, Refused, check_command, check_content
from hub_trainer.local_hub.refs import Move, advance
from hub_trainer.local_hub.repo_rows import Repo

NO_COMMIT = "0" * 40
CAPABILITIES = "report-status delete-refs side-band-64k ofs-delta atomic object-format=sha1"
MAX_COMMANDS = 1000
INDEX_SECONDS = 600
INDEX_MEMORY_BYTES = 4 * 1024**3
"""Address space of the git process that unpacks a push."""
MAX_FOLDER_BYTES = 64 * 1024**2
"""Largest tree, commit or tag; they are read as a whole. A folder of a million files fits."""

_LENGTH = re.compile(rb"[0-9a-fA-F]{4}\Z")


@dataclass(frozen=True)
class Command:
    """One ref that the client wants moved, made (old is zeros) or deleted (new is zeros)."""

    ref: str
    old: str
    new: str


@dataclass(frozen=True)
class Push:
    """What a client sent: its commands, its capabilities, and whether a pack follows."""

    commands: list[Command]
    capabilities: frozenset[str]


def advertisement(git: Any) -> bytes:
    """The refs that a push may start from."""
    lines = [f"{sha} {ref}" for ref, sha in _raw_refs(git)]
    first, *rest = lines or [f"{NO_COMMIT} capabilities^{{}}"]
    text = [packet(f"{first}\0{CAPABILITIES}\n".encode())]
    text += [packet(f"{line}\n".encode()) for line in rest]
    return packet(b"# service=git-receive-pack\n") + b"0000" + b"".join(text) + b"0000"


def _raw_refs(git: Any) -> list[tuple[str, str]]:
    """Refs as they are: an annotated tag shows its own id, not its commit's."""
    return [(ref, str(git.references[ref].resolve().target)) for ref in list_refs(git)]


def packet(data: bytes) -> bytes:
    """One pkt-line."""
    return f"{len(data) + 4:04x}".encode() + data


def read_push(stream: BinaryIO) -> Push:
    """The commands at the start of a push; the stream is left where the pack begins."""
    commands: list[Command] = []
    capabilities: frozenset[str] = frozenset()
    while line := _read_packet(stream):
        text, _, caps = line.partition(b"\0")
        if caps:
            capabilities = frozenset(caps.decode("utf-8", "replace").split())
        commands.append(_command(text))
        if len(commands) > MAX_COMMANDS:
            raise bad_request(f"A push may move {MAX_COMMANDS} refs.")
    return Push(commands, capabilities)


def _read_packet(stream: BinaryIO) -> bytes:
    """The next pkt-line; empty at a flush or at the end."""
    head = stream.read(4)
    if not head:
        return b""
    if not _LENGTH.match(head):
        raise bad_request("The push is not in git's protocol.")
    length = int(head, 16)
    if length == 0:
        return b""
    if length <= 4:
        raise bad_request("The push holds an empty line.")
    data = stream.read(length - 4)
    if len(data) != length - 4:
        raise bad_request("The push breaks off.")
    return data


def _command(text: bytes) -> Command:
    parts = text.rstrip(b"\n").decode("utf-8", "replace").split(" ", 2)
    usable = len(parts) == 3 and all(
        len(sha) == 40 and set(sha) <= set("0123456789abcdef") for sha in parts[:2]
    )
    if not usable:
        raise bad_request("The push holds a line that is not a command.")
    return Command(parts[2], parts[0], parts[1])


def receive(core: Core, repo: Repo, actor: Actor, push: Push, stream: BinaryIO) -> bytes:
    """Carry out a push; gives back git's report."""
    quarantine = core.temporary() / f"push-{uuid.uuid4().hex}"
    (quarantine / "pack").mkdir(parents=True)
    try:
        fault = None
        if any(command.new != NO_COMMIT for command in push.commands):
            fault = _index_pack(core, repo, quarantine, stream)
        if fault is not None:
            results = [(command, "unpacker error") for command in push.commands]
        else:
            results = _apply(core, repo, actor, push, quarantine)
    finally:
        shutil.rmtree(quarantine)
    return _report(push, fault, results)


def _index_pack(core: Core, repo: Repo, quarantine: Path, stream: BinaryIO) -> str | None:
    """Check and index the pack beside the repo; gives back what is wrong with it."""
    path = core.git_path(repo.id)
    options = ["--stdin", "--fix-thin", "--strict", f"--max-input-size={core.limits.push_bytes}"]
    environment = {
        **git_environment(),
        "GIT_OBJECT_DIRECTORY": str(quarantine),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(path / "objects"),
    }
    done = subprocess.run(
        [*_LIMITED, *git_command(), *_SMALL_STEPS, "index-pack", *options],
        cwd=path,
        env=environment,
        stdin=stream,
        capture_output=True,
        timeout=INDEX_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        return done.stderr.decode("utf-8", "replace").strip()[-500:]
    return _swollen(quarantine)


_LIMITED = ("sh", "-c", f'ulimit -v {INDEX_MEMORY_BYTES // 1024} 2>/dev/null; exec "$@"', "sh")
# Larger files go through git in pieces, and of other packs only pieces are mapped.
_SMALL_STEPS = [
    word
    for setting in ("bigFileThreshold=16m", "packedGitWindowSize=32m", "packedGitLimit=512m")
    for word in ("-c", f"core.{setting}")
]


def _swollen(quarantine: Path) -> str | None:
    """What is wrong with a pack whose trees, commits or tags would fill the memory."""
    odb = pygit2.Odb()
    odb.add_disk_alternate(str(quarantine))
    for oid in odb:
        kind, size = odb.read_header(oid)
        if size > MAX_FOLDER_BYTES and kind != ObjectType.BLOB:
            return f"object {oid} is larger than {MAX_FOLDER_BYTES} bytes and is not a file"
    return None


def git_command() -> list[str]:
    """git without anything of this machine's own configuration."""
    settings = ("safe.directory=*", "core.hooksPath=/dev/null", "core.fsync=all", "gc.auto=0")
    return ["git", *(word for setting in settings for word in ("-c", setting))]


def git_environment() -> dict[str, str]:
    """What a git process of ours may know of its surroundings."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
    }


def _apply(
    core: Core, repo: Repo, actor: Actor, push: Push, quarantine: Path
) -> list[tuple[Command, str]]:
    """(command, why it was refused or '') for each, in order."""
    with core.lock(repo.id):
        git = core.git(repo)
        git.odb.add_disk_alternate(str(quarantine))
        refusals = [_refusal(core, repo, actor, git, command) for command in push.commands]
        if "atomic" in push.capabilities and any(refusals):
            others = "atomic push failed\nPush again without the refs that are refused."
            refusals = [refusal or others for refusal in refusals]
        if not all(refusals):
            _migrate(core.git_path(repo.id) / "objects" / "pack", quarantine / "pack")
        git = core.git(repo)
        for index, command in enumerate(push.commands):
            if not refusals[index]:
                refusals[index] = _move(core, repo, actor, git, command)
        return list(zip(push.commands, refusals, strict=True))


def _refusal(core: Core, repo: Repo, actor: Actor, git: Any, command: Command) -> str:
    try:
        check_command(core, repo, actor, git, command)
        if command.new != NO_COMMIT:
            check_content(core, repo, git, command.new)
    except Refused as refused:
        return f"{_one_line(refused.why)}\n{refused.do}"
    except WireError as error:
        return f"{_one_line(error.message)}\n{_way_out(error.message)}"
    return ""


def _way_out(message: str) -> str:
    """What can be done about a file that no commit may bring, by whichever way it comes."""
    if "LFS pointer" in message:
        return "Send the large files first: git lfs push --all origin; then push again."
    return MEND


def _migrate(target: Path, source: Path) -> None:
    """Take the pack over; the index last, for git looks for that."""
    for suffix in (".rev", ".pack", ".idx"):
        for path in source.glob(f"*{suffix}"):
            os.replace(path, target / path.name)
    sync_folder(target)


def _move(core: Core, repo: Repo, actor: Actor, git: Any, command: Command) -> str:
    """Carry out a checked command; gives back why it failed after all, or ''."""
    try:
        if command.new == NO_COMMIT:
            drop_ref(git, command.ref)
            webhooks.announce_refs(core.store, repo, {command.ref: (command.old, None)})
        elif command.ref.startswith("refs/tags/"):
            clear_stale_locks(git, command.ref)
            git.references.create(command.ref, pygit2.Oid(hex=command.new), force=True)
            webhooks.announce_refs(core.store, repo, {command.ref: (None, command.new)})
        else:
            old = None if command.old == NO_COMMIT else command.old
            advance(core, repo, git, Move(command.ref, old, command.new, actor.name))
    except WireError as error:
        return error.message
    except (ValueError, pygit2.GitError) as error:
        return f"cannot update ref: {error}"
    return ""


def _report(push: Push, fault: str | None, results: list[tuple[Command, str]]) -> bytes:
    if "report-status" not in push.capabilities:
        return b""
    lines = [packet(b"unpack ok\n" if fault is None else b"unpack error\n")]
    for command, refusal in results:
        why = _one_line(refusal.partition("\n")[0])
        line = f"ng {command.ref} {why}" if refusal else f"ok {command.ref}"
        lines.append(packet(f"{line}\n".encode()))
    report = b"".join(lines) + b"0000"
    if "side-band-64k" not in push.capabilities:
        return report
    told = b"".join(packet(b"\x02" + line) for line in _explanations(fault, results))
    pieces = [report[start : start + 60_000] for start in range(0, len(report), 60_000)]
    return told + b"".join(packet(b"\x01" + piece) for piece in pieces) + b"0000"


def _explanations(fault: str | None, results: list[tuple[Command, str]]) -> Iterator[bytes]:
    """What the user reads after `remote:`."""
    if fault is not None:
        yield fault.encode() + b"\nPush again; if it fails again, look at your clone: git fsck\n"
    for refusal in dict.fromkeys(refusal for _, refusal in results if refusal):
        yield refusal.encode() + b"\n"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:400]
