"""What review leaves to people, merged on a person's word: at one commit, and by value."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hub_trainer.checks.comment import accept_command, marker_of, render_comment
from hub_trainer.checks.opening import Opened
from hub_trainer.checks.verdict import Check, MadeFile, Verdict
from hub_trainer.cli import app
from hub_trainer.errors import HubError, UsageError
from hub_trainer.hub import Changes, Repo
from hub_trainer.stages import review
from tests.stages.review_corpus import CARD
from tests.stages.review_hub import ReviewHub, bench

DOUBT = Check("ranges", False, "size: 1 of 3 rows holds -50", "human", (2,))


@pytest.fixture(scope="module")
def shop() -> Iterator[ReviewHub]:
    with bench() as made:
        yield made


def proposed(shop: ReviewHub, name: str) -> tuple[Repo, int]:
    """A dataset and a pull request of one more file."""
    repo = Repo(f"{shop.local.user}/{name}", "dataset")
    shop.owner.create_repo(repo, private=False)
    content = {"README.md": CARD.encode(), "data/train-0.csv": b"text,label\na,x\n"}
    shop.owner.commit(repo, Changes(files=content), message="Begin", run_id=name)
    made = shop.contributor.commit(
        repo, Changes(files={"data/train-1.csv": b"text,label\nb,y\n"}), message="Rows",
        run_id=f"{name}-rows", pull_request="Rows",
    )  # fmt: skip
    assert made.pull_request is not None
    return repo, made.pull_request


def finds(monkeypatch: pytest.MonkeyPatch, *checks: Check, rows: int = 3, made: Any = ()) -> None:
    """Let the files be opened with these checks as the result."""
    opened = Opened(checks, rows, base_rows=1, made=made)
    monkeypatch.setattr(review, "open_added", lambda *args, **named: opened)


def head_of(shop: ReviewHub, repo: Repo, number: int) -> str:
    return str(shop.owner.pull_request(repo, number).head_sha)


def names(shop: ReviewHub, repo: Repo) -> set[str]:
    return {file.path for file in shop.owner.list_files(repo, "main")}


def test_doubt_when_a_person_accepts_the_commit_then_merged_and_said(
    shop: ReviewHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, number = proposed(shop, "accepted")
    finds(monkeypatch, DOUBT)
    [left] = review.run(shop.owner, repo.repo_id, number=number).verdicts
    assert left.verdict == "human"
    assert "data/train-1.csv" not in names(shop, repo)
    command = accept_command(left, repo.repo_id)
    assert command is not None
    sha = command.split()[-1]
    [done] = review.run(shop.owner, repo.repo_id, number=number, accept=sha).verdicts
    assert (done.verdict, done.accepted) == ("merge", True)
    assert "data/train-1.csv" in names(shop, repo)
    assert shop.owner.pull_request(repo, number).status != "open"
    [comment] = [text for by, text in shop.owner.comments(repo, number) if "Review:" in text]
    assert "Merged by a person, who has looked at: ranges." in comment
    assert "stays open" not in comment
    assert "--accept" not in comment


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (DOUBT, "left this commit to a person"),
        (Check("ranges", False, "no"), "refused this commit"),
    ],
)
def test_commit_when_not_merged_once_then_it_never_merges_by_itself(
    shop: ReviewHub, monkeypatch: pytest.MonkeyPatch, check: Check, said: str
) -> None:
    repo, number = proposed(shop, f"waiting-{check.blocks}")
    finds(monkeypatch, check)
    review.run(shop.owner, repo.repo_id, number=number)
    finds(monkeypatch)  # main has moved towards it: every check passes
    for told in (said, "left this commit to a person"):
        [left] = review.run(shop.owner, repo.repo_id).verdicts
        assert left.verdict == "human"
        assert left.reasons == [
            f"earlier review: an earlier review {told}; all checks pass by now, as main or the "
            "rules have changed"
        ]
    assert "data/train-1.csv" not in names(shop, repo)
    sha = head_of(shop, repo, number)[:7]
    [done] = review.run(shop.owner, repo.repo_id, number=number, accept=sha).verdicts
    assert (done.verdict, done.accepted) == ("merge", True)


def test_commit_when_a_stranger_writes_a_verdict_then_it_counts_for_nothing(
    shop: ReviewHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, number = proposed(shop, "slandered")
    sha = head_of(shop, repo, number)
    shop.contributor.comment(repo, number, f"**Review: human.** {marker_of(sha)}")
    finds(monkeypatch)
    [done] = review.run(shop.owner, repo.repo_id, number=number).verdicts
    assert done.verdict == "merge"


def test_rows_when_accepted_then_those_that_were_checked_are_merged(
    shop: ReviewHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    repo, number = proposed(shop, "converted")
    file = tmp_path / "made.csv"
    file.write_bytes(b"text,label\nc,x\n")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    finds(monkeypatch, DOUBT, made=(MadeFile("data/train-made.csv", file, digest),))
    sha = head_of(shop, repo, number)[:7]
    review.run(shop.owner, repo.repo_id, number=number, accept=sha)
    assert "data/train-made.csv" in names(shop, repo)
    assert "data/train-1.csv" not in names(shop, repo)


@pytest.mark.parametrize("sha", ["0000000", "abc", ""])
def test_commit_when_it_is_another_then_nothing_is_accepted(
    shop: ReviewHub, monkeypatch: pytest.MonkeyPatch, sha: str
) -> None:
    repo, number = proposed(shop, f"moved-{sha or 'none'}")
    finds(monkeypatch, DOUBT)
    with pytest.raises(UsageError, match="not at the commit that was looked at") as caught:
        review.run(shop.owner, repo.repo_id, number=number, accept=sha)
    assert f"--accept {head_of(shop, repo, number)[:7]}" in str(caught.value.do)
    assert "data/train-1.csv" not in names(shop, repo)


@pytest.mark.parametrize(
    ("checks", "rows"),
    [
        ((DOUBT, Check("secrets", False, "1 token")), 3),
        ((Check("download", False, "gone", "human"),), 0),
        ((Check("left out", False, "cannot be written", "human"),), 3),
    ],
)
def test_pull_request_when_refused_or_unread_then_nobody_can_accept_it(
    shop: ReviewHub, monkeypatch: pytest.MonkeyPatch, checks: tuple[Check, ...], rows: int
) -> None:
    repo, number = proposed(shop, f"refused-{checks[-1].name.replace(' ', '-')}")
    finds(monkeypatch, *checks, rows=rows)
    sha = head_of(shop, repo, number)
    with pytest.raises(UsageError, match="Nobody can accept what review refuses") as caught:
        review.run(shop.owner, repo.repo_id, number=number, accept=sha)
    assert checks[-1].detail in str(caught.value.got)
    assert "data/train-1.csv" not in names(shop, repo)


def test_comment_when_a_person_decides_then_the_command_stands_in_it() -> None:
    verdict = Verdict(4, "a" * 40, "b" * 40, "human", (DOUBT,), rows=3)
    told = "    hub-trainer review org/data --pr 4 --accept aaaaaaa"
    assert told in render_comment(verdict, dataset_id="org/data").splitlines()


def test_accept_when_no_pull_request_is_named_then_refused() -> None:
    told = CliRunner().invoke(app, ["review", "org/data", "--all", "--accept", "abcdef0", "--json"])
    assert told.exit_code == 2
    assert "one pull request at a time" in json.loads(told.stdout.splitlines()[-1])["error"]["what"]


def test_dataset_when_it_is_not_there_then_told_before_models_are_listed(
    shop: ReviewHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        type(shop.owner), "models_trained_on", lambda *args, **named: pytest.fail("it was asked")
    )
    with pytest.raises(HubError, match="admin/nowhere"):
        review.run(shop.owner, "admin/nowhere", number=1)
