"""Continuity: whether the repos of a round are still those, and hold what, the rounds before saw.

The Hub says who may write, not what is true. What a round published is in its record, what it
stood on are commits; here main of the model repo, the base model and the datasets are held against
both, and against what this machine remembers of its own rounds.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hub_trainer.artifacts import find_artifact
from hub_trainer.errors import HubError, UsageError
from hub_trainer.hub import HistoryEntry, Hub, Repo, RepoFile, RepoIdentity, RepoType
from hub_trainer.lineage.model_contents import WEIGHTS, changed_files
from hub_trainer.lineage.pins import PinnedRepo, Pins, load_pins
from hub_trainer.lineage.records import RECORD, ModelRepo, RoundRecord, parse_record
from hub_trainer.recipe import Recipe
from hub_trainer.recipe.schema import COMMIT_SHA

ROUND_TAG = re.compile(r"round-\d+")
MAX_FOLLOWED = 30
"""Foreign commits that are looked into one by one for who changed what."""
MAX_NAMED = 6
MAX_HASHED_BYTES = 50_000_000
"""Largest file that is hashed here because the Hub does not say its sha256."""


@dataclass(frozen=True)
class Memory:
    """What this machine's round folders say of a model repo."""

    folder: Path
    identities: tuple[RepoIdentity, ...] = ()
    published: tuple[tuple[int, str], ...] = ()
    """(round, commit sha) of those that went to main."""


@dataclass(frozen=True)
class _Look:
    """A model repo under verification."""

    hub: Hub
    recipe: Recipe
    repo: ModelRepo
    memory: Memory

    @property
    def where(self) -> str:
        return f"{self.hub.url}/{self.repo.repo_id}"

    @property
    def place(self) -> dict[str, int]:
        """Commit sha of main -> its place in the history, the tip being 0."""
        return {entry.commit_sha: index for index, entry in enumerate(self.repo.history)}

    @property
    def accepted(self) -> str | None:
        """The commit of main that the recipe vouches for."""
        accepted = self.recipe.publish.accept_commit
        return accepted if accepted in self.place else None

    @property
    def newest(self) -> RoundRecord | None:
        """The round that main holds."""
        place = self.place
        found = [one for one in self.repo.promoted if one.commit_sha in place]
        return min(found, key=lambda one: place[str(one.commit_sha)], default=None)


def remember(folder: Path, repo_id: str) -> Memory:
    """What the round folders in `folder` know of a model repo; damaged ones know nothing."""
    identities, published = [], []
    for round_dir in sorted(folder.glob("round-*")):
        sent = find_artifact(round_dir / "publish")
        try:
            pins = load_pins(round_dir)
        except UsageError:
            continue
        if pins and pins.model_repo and pins.model_repo.repo_id == repo_id:
            identities.append(pins.model_repo)
        if not (pins and sent and sent.outputs.get("repo_id") == repo_id):
            continue
        if sent.outputs.get("repo"):
            identities.append(RepoIdentity(**sent.outputs["repo"]))
        if sent.outputs.get("pull_request") is None:
            published.append((pins.round, str(sent.outputs["commit_sha"])))
    return Memory(folder, tuple(identities), tuple(published))


def assert_continuous(hub: Hub, recipe: Recipe, repo: ModelRepo | None, memory: Memory) -> None:
    """Raise HubError, saying what was seen, unless main is what the rounds have made of it.

    People may write documentation on top of a round; anything else that no round made must be
    accepted in the recipe, by its commit.
    """
    if repo is None:
        _assert_never_published(hub, recipe, memory)
        return
    look = _Look(hub, recipe, repo, memory)
    if recipe.publish.accept_commit and look.accepted is None:
        raise HubError(
            "publish.accept_commit is no commit of main.",
            where=look.where,
            got=f"{recipe.publish.accept_commit}; main is at {_entry(repo.history[0])}",
            do="Name a commit that leads to main, or remove the key.",
        )
    if look.accepted is None:
        _assert_same_repo(look)
        _assert_history_kept(look)
    _assert_contents(look)


def _assert_never_published(hub: Hub, recipe: Recipe, memory: Memory) -> None:
    if not memory.published and not memory.identities:
        return
    sent = [f"round {index} was published there at {sha[:7]}" for index, sha in memory.published]
    # Without a token the Hub answers for a private repo as for one that is not there.
    what, do = (
        ("is gone", "Check the name, the Hub's address and that HF_TOKEN may see it")
        if hub.has_token
        else (
            "is gone, or it is private and no token is set",
            "Set HF_TOKEN to a token that may see it, or log in with hf auth login",
        )
    )
    raise HubError(
        f"The model repo {what}.",
        where=f"{hub.url}/{recipe.publish.repo_id}",
        got=f"no such repo, and {sent[-1] if sent else 'rounds here stood on one'}",
        do=f"{do}. If it was deleted and you begin anew, move {memory.folder} away first.",
    )


def _assert_same_repo(look: _Look) -> None:
    """The name must stand for the repo that it stood for, of the same owner."""
    now = look.repo.identity
    known = [(f"round {r.round}", r.repo) for r in look.repo.rounds if r.repo]
    seen = [(told, one.get("hub_id"), one.get("owner")) for told, one in known]
    seen += [
        (f"this machine ({look.memory.folder})", i.hub_id, i.owner) for i in look.memory.identities
    ]
    for told, hub_id, owner in seen:
        if hub_id and now.hub_id and hub_id != now.hub_id:
            raise HubError(
                "Another repo has taken the model repo's name.",
                where=look.where,
                got=f"the Hub's id {now.hub_id} of {now.owner}; {told} knows {hub_id} of {owner}; "
                f"{_entry(look.repo.history[-1])} began it, its tip is "
                f"{_entry(look.repo.history[0])}",
                do="It was deleted and made anew, or registered by somebody else: trust nothing in "
                "it before you know which. Publish under another name, or, if it is yours, "
                f"{_accept(look)}",
            )
        if owner and now.owner and owner != now.owner:
            raise HubError(
                "The model repo has another owner.",
                where=look.where,
                got=f"{now.repo_id} of {now.owner}; {told} knows it of {owner}",
                do=f"Write publish.repo_id: {now.repo_id} if you moved it, or {_accept(look)}",
            )


def _assert_history_kept(look: _Look) -> None:
    """Each commit that a round stood on, was sent as or was tagged as must still lead to main."""
    place, repo = look.place, look.repo
    stood_on = [(f"round {r.round} stood on", r.parent) for r in repo.rounds if r.parent]
    sent = [(f"round {index} was sent as", sha) for index, sha in look.memory.published]
    tags = look.hub.tags(Repo(repo.repo_id)) if repo.rounds else {}
    tagged = [(f"{n} is the tag of", sha) for n, sha in tags.items() if ROUND_TAG.fullmatch(n)]
    gone = [f"{told} {sha[:7]}" for told, sha in [*sent, *tagged, *stood_on] if sha not in place]
    if gone:
        raise HubError(
            "The history of the model repo was rewritten.",
            where=look.where,
            got=f"{'; '.join(list(dict.fromkeys(gone))[:MAX_NAMED])}: no ancestor of main, whose "
            f"tip is {_entry(repo.history[0])}",
            do="Put main back to the last round's commit (its tag names it), or, if you rewrote "
            f"it, {_accept(look)}",
        )


def _assert_contents(look: _Look) -> None:
    """The files at the tip must be those of the newest round, or of the accepted commit."""
    newest, accepted, place = look.newest, look.accepted, look.place
    since = str(newest.commit_sha) if newest else None
    if accepted and (since is None or place[accepted] <= place[since]):
        since, newest = accepted, None
    if newest:
        _assert_hashes(look, newest)
    files = _files(look, since) if since else []
    found = changed_files(files, _files(look, look.repo.tip))
    if not found:
        return
    got = "; ".join([*_who(look, since, found), *_record_fault(look, found)])
    if newest is None or since is None:
        raise HubError(
            "Main of the model repo holds what no round made.",
            where=look.where,
            got=got,
            do=f"Look at it, then publish to another repo, or {_accept(look)}",
        )
    raise HubError(
        f"Main of the model repo is not what round {newest.round} published.",
        where=look.where,
        got=got,
        do=f"Look at it, then put these files back to what round {newest.round} published (git "
        f"revert, or upload them from {since[:7]}), or {_accept(look)}",
    )


def _assert_hashes(look: _Look, record: RoundRecord) -> None:
    """The weights beside a record must be those that it names."""
    files = {
        file.path: file
        for file in look.hub.list_files(Repo(look.repo.repo_id), str(record.commit_sha))
    }
    wrong = []
    for path, sha256 in record.hashes.items():
        file = files.get(path)
        if path == RECORD or (file and (file.lfs_sha256 or _sha256(look, record, path)) == sha256):
            continue
        wrong.append(f"{path} {'is missing' if file is None else 'has another sha256'}")
    wrong += [
        f"{path} is not named"
        for path in files
        if record.hashes and path.endswith(WEIGHTS) and path not in record.hashes
    ]
    if wrong:
        entry = look.repo.history[look.place[str(record.commit_sha)]]
        raise HubError(
            f"The model of round {record.round} is not the one that its {RECORD} describes.",
            where=f"{look.where}/tree/{record.commit_sha}",
            got=f"{'; '.join(wrong[:MAX_NAMED])}; committed in {_entry(entry)}",
            do="Somebody has put other weights under a round's record. Put main back to a commit "
            f"that you know, or, if you know these, {_accept(look)}",
        )


def _sha256(look: _Look, record: RoundRecord, path: str) -> str:
    content = look.hub.read_file(
        Repo(look.repo.repo_id), path, str(record.commit_sha), max_bytes=MAX_HASHED_BYTES
    )
    return hashlib.sha256(content or b"").hexdigest()


def _files(look: _Look, commit_sha: str) -> list[RepoFile]:
    return look.hub.list_files(Repo(look.repo.repo_id), commit_sha)


def _who(look: _Look, since: str | None, found: dict[str, str]) -> list[str]:
    """The commit after `since` that last changed each of these files, newest first."""
    later = look.repo.history[: look.place[since]] if since else look.repo.history
    if len(later) > MAX_FOLLOWED:
        return [f"{_named(found)} in {len(later)} commits, the last {_entry(later[0])}"]
    left, told, after = dict(found), [], _files(look, look.repo.tip)
    older = [*(entry.commit_sha for entry in later[1:]), since]
    for entry, sha in zip(later, older, strict=True):
        before = _files(look, sha) if sha else []
        here = {path: left.pop(path) for path in changed_files(before, after) if path in left}
        told += [f"{_named(here)} in {_entry(entry)}"] if here else []
        after = before
    return told


def _named(found: dict[str, str]) -> str:
    named = [f"{path} {how}" for path, how in found.items()]
    more = len(named) - MAX_NAMED
    return ", ".join(named[:MAX_NAMED]) + (f" and {more} more files" if more > 0 else "")


def _record_fault(look: _Look, found: dict[str, str]) -> Iterator[str]:
    """What is wrong with the record at the tip, when that was changed."""
    if found.get(RECORD) not in ("added", "changed"):
        return
    content = look.hub.read_file(Repo(look.repo.repo_id), RECORD, look.repo.tip)
    try:
        parse_record(content or b"")
    except ValueError as error:
        yield str(error)


def _entry(entry: HistoryEntry) -> str:
    title = " ".join(entry.title.split())[:60]
    who = ", ".join(entry.authors) or "nobody named"
    return f"{entry.commit_sha[:7]} ({title!r} by {who}, {entry.created_at[:10]})"


def _accept(look: _Look) -> str:
    return f"vouch for what is there now: publish.accept_commit={look.repo.tip}"


def assert_sources_continuous(
    hub: Hub, records: Sequence[RoundRecord], pinned: Sequence[PinnedRepo]
) -> None:
    """Raise HubError when a dataset or base model is another repo than the last round read.

    A revision that is itself a commit sha says that the user has looked at that commit.
    """
    if not records:
        return
    last = records[-1]
    known = {
        ("dataset", one.repo_id): (one.hub_id, one.owner, one.commit_sha) for one in last.datasets
    }
    if base := last.base_model:
        before = (base.get("hub_id"), base.get("owner"), str(base["commit_sha"]))
        known["model", base["repo_id"]] = before
    for one in pinned:
        then = known.get((one.repo_type, one.repo_id))
        if then is None or COMMIT_SHA.fullmatch(one.revision):
            continue
        _assert_same_source(hub, one, then, f"round {last.round}")


def assert_pins_hold(hub: Hub, pins: Pins, round_dir: Path) -> None:
    """Raise HubError when a commit that a begun round stands on is gone, or its repo another."""
    again = "Begin the round anew, with what is there now: --fresh"
    for one in pins.all():
        now = hub.identify(Repo(one.repo_id, one.repo_type))
        is_other = bool(one.hub_id and now.hub_id and one.hub_id != now.hub_id)
        if is_other or not _leads_to(hub, one, one.commit_sha):
            other = f", of the repo with the id {one.hub_id}" if is_other else ""
            raise HubError(
                f"The {_kind(one.repo_type)} that this round was begun with is gone.",
                where=f"{hub.url}/{_page(one)}",
                got=f"{round_dir} was begun with {one.commit_sha[:7]}{other}, which is no ancestor "
                f"of {one.revision}, now {_entry(_tip(hub, one, now.commit_sha))}",
                do=f"{again} (or remove {round_dir}). Look first at who wrote what is there.",
            )


def _assert_same_source(
    hub: Hub, one: PinnedRepo, before: tuple[str | None, str | None, str], told: str
) -> None:
    hub_id, owner, sha = before
    fault = ""
    if hub_id and one.hub_id and hub_id != one.hub_id:
        fault = f"the Hub's id {one.hub_id} of {one.owner}; {told} read {hub_id} of {owner}"
    elif owner and one.owner and owner != one.owner:
        fault = f"it belongs to {one.owner}; {told} read it from {owner}"
    elif one.commit_sha != sha and not _leads_to(hub, one, sha):
        fault = f"{told} read {sha[:7]}, which is no ancestor of {one.revision} any more"
    if fault:
        raise HubError(
            f"The {_kind(one.repo_type)} is not the repo that the rounds before read.",
            where=f"{hub.url}/{_page(one)}",
            got=f"{fault}; {one.revision} is at {_entry(_tip(hub, one, one.commit_sha))}",
            do="It was deleted and made anew, registered by somebody else, or its history was "
            "rewritten. Once you have looked at it, name the commit that you trust: "
            f"revision: {one.commit_sha}",
        )


def _tip(hub: Hub, one: PinnedRepo, commit_sha: str) -> HistoryEntry:
    return hub.history(Repo(one.repo_id, one.repo_type), commit_sha)[0]


def _leads_to(hub: Hub, one: PinnedRepo, commit_sha: str) -> bool:
    """Whether a commit is an ancestor of what the revision names now."""
    history = hub.history(Repo(one.repo_id, one.repo_type), one.revision)
    return commit_sha in {entry.commit_sha for entry in history}


def _kind(repo_type: RepoType) -> str:
    return "base model" if repo_type == "model" else repo_type


def _page(one: PinnedRepo) -> str:
    return one.repo_id if one.repo_type == "model" else f"{one.repo_type}s/{one.repo_id}"
