import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from hub_trainer.checks import inspection
from hub_trainer.checks.comment import MARKER, marker_of
from hub_trainer.checks.opening import Opened
from hub_trainer.checks.verdict import Check, Verdict
from hub_trainer.errors import HubError, UsageError
from hub_trainer.hub import Changes, Commit, Hub, Repo
from hub_trainer.local_hub import LocalHub
from hub_trainer.stages import review
from tests.stages.review_corpus import CARD, draw, kinds, make_case, parquet
from tests.stages.review_hub import ReviewHub, bench, call_here


@pytest.fixture(scope="module")
def shop() -> Iterator[ReviewHub]:
    with bench() as made:
        yield made


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open files in this process: what the checks say is tested, not the sandbox."""
    monkeypatch.setattr(inspection, "run_sandboxed", call_here)


@pytest.fixture
def unopened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every file pass: what is merged is tested, not the checks."""
    monkeypatch.setattr(
        review, "open_added", lambda *args, **named: Opened((Check("rows", True, "3"),), 3)
    )


def _new_dataset(bench: ReviewHub, name: str, files: dict[str, bytes] | None = None) -> Repo:
    repo = Repo(f"{bench.local.user}/{name}", "dataset")
    bench.owner.create_repo(repo, private=False)
    content = {"README.md": CARD.encode(), "data/train-0.csv": b"text,label\na,x\n"}
    bench.owner.commit(repo, Changes(files=files or content), message="Begin", run_id=name)
    return repo


def _propose(bench: ReviewHub, repo: Repo, files: dict[str, bytes], run_id: str) -> int:
    made = bench.contributor.commit(
        repo, Changes(files=files), message="Rows", run_id=run_id, pull_request="Rows"
    )
    assert made.pull_request is not None
    return made.pull_request


def _push(bench: ReviewHub, repo: Repo, number: int, files: dict[str, bytes]) -> None:
    HfApi(bench.url, token=bench.contributor._token).create_commit(
        repo.repo_id,
        [CommitOperationAdd(path, content) for path, content in files.items()],
        commit_message="More",
        repo_type="dataset",
        revision=f"refs/pr/{number}",
    )


def _comments(bench: ReviewHub, repo: Repo, number: int) -> list[str]:
    return [text for author, text in bench.owner.comments(repo, number) if author != "alice"]


def test_pull_requests_when_reviewed_in_the_sandbox_then_clean_merged_flipped_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_this_must_not_reach_the_child")
    with bench() as shop:
        repo, clean = shop.open(make_case("clean", "requests", 0))
        _, flipped = shop.open(make_case("flip 30 %", "requests", 1))
        _, outside = shop.open(make_case("card: absolute path", "requests", 2))
        before = shop.owner.resolve(repo)
        answer = review.run(shop.owner, repo.repo_id).to_dict()
        verdicts = {v["number"]: v["verdict"] for v in answer["pull_requests"]}
        assert verdicts == {clean: "merge", flipped: "refuse", outside: "refuse"}
        assert json.loads(json.dumps(answer)) == answer
        listed = {file.path for file in shop.owner.list_files(repo, "main")}
        assert "data/train-new.parquet" in listed
        entry = shop.owner.history(repo)[0]
        assert entry.title == f"Add 120 rows of pull request {clean} by alice"
        assert "Co-authored-by: alice <alice@" in entry.message
        assert shop.owner.history(repo)[1].commit_sha == before
        open_ones = [n for n in verdicts if shop.owner.pull_request(repo, n).status == "open"]
        assert open_ones == [flipped]
        assert entry.commit_sha in _comments(shop, repo, clean)[-1]
        reason = next(v for v in answer["pull_requests"] if v["number"] == flipped)["reasons"]
        assert any(line.startswith("label quality:") for line in reason)


def test_run_when_pull_requests_are_settled_then_nothing_is_left(shop: ReviewHub) -> None:
    repo = _new_dataset(shop, "settled")
    assert review.run(shop.owner, repo.repo_id).to_dict()["pull_requests"] == []


def test_undecided_when_reviewed_twice_then_commented_once_and_left_open(
    shop: ReviewHub, unopened: None
) -> None:
    repo = _new_dataset(shop, "undecided")
    number = _propose(shop, repo, {"README.md": CARD.encode() + b"more"}, "undecided-1")
    for _ in range(2):
        answer = review.run(shop.owner, repo.repo_id, number=number).to_dict()
        assert [v["verdict"] for v in answer["pull_requests"]] == ["human"]
    sha = answer["pull_requests"][0]["sha"]
    assert sum(marker_of(sha) in text for text in _comments(shop, repo, number)) == 1
    assert shop.owner.pull_request(repo, number).status == "open"


def test_pull_request_when_it_gets_a_push_then_its_comment_is_written_anew(
    shop: ReviewHub, unopened: None
) -> None:
    repo = _new_dataset(shop, "pushed")
    number = _propose(shop, repo, {"README.md": CARD.encode() + b"more"}, "pushed-1")
    review.run(shop.owner, repo.repo_id)
    first = shop.owner.pull_request(repo, number).head_sha
    _push(shop, repo, number, {"README.md": CARD.encode() + b"and more"})
    review.run(shop.owner, repo.repo_id)
    [text] = [text for text in _comments(shop, repo, number) if MARKER in text]
    assert marker_of(str(first)) not in text
    assert marker_of(str(shop.owner.pull_request(repo, number).head_sha)) in text


def test_closed_pull_request_when_named_then_error_says_so(shop: ReviewHub, unopened: None) -> None:
    repo = _new_dataset(shop, "closed")
    number = _propose(shop, repo, {"data/x.py": b"1"}, "closed-1")
    review.run(shop.owner, repo.repo_id)
    head = str(shop.owner.pull_request(repo, number).head_sha)
    shop.contributor.comment(repo, number, f"**Review: merge.** Merged.\n\n{marker_of(head)}")
    with pytest.raises(UsageError) as caught:
        review.run(shop.owner, repo.repo_id, number=number)
    assert caught.value.what == f"Pull request {number} is not open."
    assert (caught.value.got, caught.value.do) == (
        "closed",
        "Only open pull requests are reviewed; open it again on its page first.",
    )


def test_base_when_main_moved_since_then_only_the_pull_requests_own_changes_count(
    shop: ReviewHub, unopened: None
) -> None:
    repo = _new_dataset(shop, "moved")
    number = _propose(shop, repo, {"data/train-1.csv": b"text,label\nb,x\n"}, "moved-1")
    later = {"data/train-2.csv": b"text,label\nc,x\n", "README.md": CARD.encode() + b"new"}
    shop.owner.commit(repo, Changes(files=later), message="Later", run_id="later")
    answer = review.run(shop.owner, repo.repo_id).to_dict()["pull_requests"][0]
    assert (answer["number"], answer["verdict"]) == (number, "merge")
    listed = {file.path for file in shop.owner.list_files(repo, "main")}
    assert {"data/train-0.csv", "data/train-1.csv", "data/train-2.csv"} <= listed
    card = shop.owner.read_file(repo, "README.md", "main")
    assert card is not None
    assert card.endswith(b"new")
    with pytest.raises(UsageError, match="a review wrote its rows to main and closed it") as caught:
        review.run(shop.owner, repo.repo_id, number=number)
    assert str(caught.value.got).endswith("with the comment of admin that it was merged")
    assert caught.value.do == "Nothing is left to review; --all reviews those that are open."


def test_files_when_the_hub_does_not_give_them_then_a_person_decides(
    shop: ReviewHub, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = _new_dataset(shop, "lacking")
    _propose(shop, repo, {"data/train-1.csv": b"text,label\nb,x\n"}, "lacking-1")

    def lost(*args: Any, **named: Any) -> Path:
        raise HubError("The Hub has no such object.")

    monkeypatch.setattr(shop.owner, "download", lost, raising=False)
    [answer] = review.run(shop.owner, repo.repo_id).to_dict()["pull_requests"]
    assert answer["verdict"] == "human"
    assert answer["reasons"] == ["download: The Hub has no such object."]


def test_card_when_huge_then_a_person_decides_and_the_others_are_reviewed(
    shop: ReviewHub, unopened: None
) -> None:
    repo = _new_dataset(shop, "huge")
    _propose(shop, repo, {"README.md": CARD.encode() + b"x" * 300_000}, "huge-1")
    _propose(shop, repo, {"data/train-1.csv": b"text,label\nb,x\n"}, "huge-2")
    answers = review.run(shop.owner, repo.repo_id).to_dict()["pull_requests"]
    assert [answer["verdict"] for answer in answers] == ["human", "merge"]
    assert answers[0]["reasons"] == ["commit: README.md is larger than 200,000 bytes."]


def test_history_when_unrelated_to_main_then_a_person_decides(
    shop: ReviewHub, unopened: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = _new_dataset(shop, "orphan")
    _propose(shop, repo, {"data/train-1.csv": b"text,label\nb,x\n"}, "orphan-1")
    main = shop.owner.resolve(repo)
    real = shop.owner.history

    def forget(repo: Repo, revision: str = "main") -> Any:
        return real(repo, revision)[:1] if revision != main else real(repo, revision)

    monkeypatch.setattr(shop.owner, "history", forget, raising=False)
    [answer] = review.run(shop.owner, repo.repo_id).to_dict()["pull_requests"]
    assert answer["reasons"] == ["commit: The pull request shares no commit with main."]
    assert answer["verdict"] == "human"


def test_name_when_taken_on_main_meanwhile_then_a_person_decides(
    shop: ReviewHub, unopened: None
) -> None:
    repo = _new_dataset(shop, "taken")
    _propose(shop, repo, {"data/train-1.csv": b"text,label\nb,x\n"}, "taken-1")
    mine = {"data/train-1.csv": b"text,label\nother,x\n"}
    shop.owner.commit(repo, Changes(files=mine), message="Mine", run_id="mine")
    answer = review.run(shop.owner, repo.repo_id).to_dict()["pull_requests"][0]
    assert answer["verdict"] == "human"
    assert "'data/train-1.csv' is on main by now" in " ".join(answer["reasons"])


def test_comment_when_a_label_is_unknown_and_texts_are_odd_then_a_person_can_mend_both(
    shop: ReviewHub, here: None
) -> None:
    """Read on the Hub, as the contributor reads it."""
    known = "".join(
        f"where is my {'card' if n % 2 else 'parcel'} number {n},{'ham' if n % 2 else 'spam'}\n"
        for n in range(80)
    )
    odd = "".join(f"{'zqx jvk wqz xqj ' * 20}{n},spam\n" for n in range(30))
    rows = f"text,label\nmy card {1e6:.0f},spamm\nwhere @all is it,[x](http://evil.com)\n{odd}"
    begun = {"README.md": CARD.encode(), "data/train-0.csv": f"text,label\n{known}".encode()}
    repo = _new_dataset(shop, "unreadable", begun)
    number = _propose(shop, repo, {"data/train-1.csv": rows.encode()}, "unreadable-1")
    [answer] = review.run(shop.owner, repo.repo_id).to_dict()["pull_requests"]
    assert answer["verdict"] in ("human", "refuse")
    [comment] = _comments(shop, repo, number)
    lines = comment.splitlines()
    [labels] = [line for line in lines if "**known labels**" in line]
    assert "'spamm' in 1 row, nearest to 'spam'" in labels
    assert labels.endswith("it has 'ham', 'spam'. Rows 1, 2.")
    [ranges] = [line for line in lines if "**ranges**" in line]
    assert "length of the text: half of the new rows hold at least " in ranges
    assert " characters; the dataset's rows hold " in ranges
    assert " times rarer than is usual in the dataset" in ranges
    assert not re.search(r"-\d+\.\d", ranges)
    assert "Rows 1, 2, 3," in ranges
    assert f"    hub-trainer contribute {repo.repo_id} FILE --pr {number}" in lines
    assert not re.search(r"@|://|evil\.com|(?<!\\)\]\(", comment)


def test_comment_when_rows_do_not_fit_the_schema_then_all_faults_are_told_by_their_rows(
    shop: ReviewHub,
) -> None:
    known = "".join(
        json.dumps({"age": n, "day": f"2024-01-{n % 28 + 1:02}", "label": "ab"[n % 2]}) + "\n"
        for n in range(60)
    )
    begun = {
        "README.md": CARD.replace("train-*", "train-*.jsonl").encode(),
        "data/train-0.jsonl": known.encode(),
    }
    repo = _new_dataset(shop, "unfit", begun)
    rows = "age,day,label\n3,2024-02-02,a\nold,2024-02-03,b\n5,2024-02-31,a\nx,2024-02-02,b\n"
    number = _propose(shop, repo, {"data/more.csv": rows.encode()}, "unfit-1")
    [answer] = review.run(shop.owner, repo.repo_id).to_dict()["pull_requests"]
    assert answer["verdict"] == "refuse"
    [comment] = _comments(shop, repo, number)
    ages, days = [line for line in comment.splitlines() if "**conversion**" in line]
    assert "Column 'age' cannot be written as the dataset has it" in ages
    assert ages.endswith("write the values so. Rows 2, 4.")
    assert days.endswith("write the values so. Row 3.")


def test_dates_when_a_few_of_many_are_none_then_a_person_is_told_which(shop: ReviewHub) -> None:
    """Reading makes gaps of them, as of ten rows nine are right."""
    days = [f"20{n // 300 + 20}-{n % 12 + 1:02}-{n % 28 + 1:02}" for n in range(120)]
    lines = [f"{n * 7919 % 1000 / 10},{day},{'ab'[n % 2]}\n" for n, day in enumerate(days)]
    begun = {
        "README.md": CARD.encode(),
        "data/train-0.csv": f"x,day,label\n{''.join(lines[:90])}".encode(),
    }
    repo = _new_dataset(shop, "days", begun)
    odd = "".join(lines[90:]).replace(days[95], "2021-02-30").replace(days[100], "soon")
    _propose(shop, repo, {"data/train-1.csv": f"x,day,label\n{odd}".encode()}, "days-1")
    [answer] = review.run(shop.owner, repo.repo_id).to_dict()["pull_requests"]
    [ranges] = [one for one in answer["checks"] if one["name"] == "ranges"]
    assert (ranges["outcome"], ranges["rows"]) == ("human", [6, 11])
    assert "2 texts cannot be read as a date, and would be gaps" in ranges["detail"]


def test_recorded_sizes_when_rows_join_then_they_leave_the_card(
    shop: ReviewHub, unopened: None
) -> None:
    sizes = "dataset_info:\n  splits:\n  - name: train\n    num_examples: 1\n---\n# A"
    card = CARD.replace("---\n# A", sizes).encode()
    files = {"README.md": card, "data/train-0.csv": b"text,label\na,x\n"}
    repo = _new_dataset(shop, "sized", files)
    _propose(shop, repo, {"data/train-1.csv": b"text,label\nb,x\n"}, "sized-1")
    review.run(shop.owner, repo.repo_id)
    merged = shop.owner.read_file(repo, "README.md", "main")
    assert merged is not None
    assert b"num_examples" not in merged
    assert b"license: cc-by-4.0" in merged


class _Racing:
    """The reviewer's hub, on which a contributor pushes just before the n-th call of a method."""

    def __init__(self, hub: Hub, method: str, attack: Any) -> None:
        self._hub, self._method, self._attack = hub, method, attack

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._hub, name)
        if name != self._method:
            return found

        def attacked(*args: Any, **named: Any) -> Any:
            attack, self._attack = self._attack, lambda: None
            attack()
            return found(*args, **named)

        return attacked


@pytest.mark.parametrize(
    "method", ["list_files", "rewrite_comment", "commit", "read_file", "close"]
)
def test_contributor_when_pushing_during_the_review_then_unvetted_rows_are_never_merged(
    shop: ReviewHub, unopened: None, method: str
) -> None:
    vetted, evil = b"text,label\ngood,x\n", b"text,label\nevil,x\n"
    for trial in range(4):
        repo = _new_dataset(shop, f"race-{method.replace('_', '-')}-{trial}")
        number = _propose(shop, repo, {"data/train-1.csv": vetted}, f"race-{method}-{trial}")
        head = shop.owner.pull_request(repo, number).head_sha
        policy = review.find_policy(shop.owner, repo.repo_id)

        def attack(repo: Repo = repo, number: int = number) -> None:
            _push(shop, repo, number, {"data/train-1.csv": evil, "data/train-9.csv": evil})

        with tempfile.TemporaryDirectory() as work:
            verdict = review.review_pull_request(
                shop.owner, repo.repo_id, number, policy, Path(work)
            )
        assert verdict.sha == head
        racing: Any = _Racing(shop.owner, method, attack)
        if method == "list_files":
            attack()
        review.apply_verdict(racing, repo.repo_id, verdict)
        main = {f.path for f in shop.owner.list_files(repo, "main")}
        assert "data/train-9.csv" not in main
        merged = shop.owner.read_file(repo, "data/train-1.csv", "main")
        assert merged in (None, vetted)
        assert (merged is None) == (method == "list_files")


def test_verdict_when_head_moved_then_void_and_the_review_starts_over(
    shop: ReviewHub, unopened: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = _new_dataset(shop, "again")
    number = _propose(shop, repo, {"data/train-1.csv": b"text,label\nb,x\n"}, "again-1")
    reviewed: list[str] = []
    real = review.review_pull_request

    def slow(*args: Any, **named: Any) -> Verdict:
        verdict = real(*args, **named)
        if not reviewed:
            _push(shop, repo, number, {"data/train-1.csv": b"text,label\nc,x\n"})
        reviewed.append(verdict.sha)
        return verdict

    monkeypatch.setattr(review, "review_pull_request", slow)
    review.run(shop.owner, repo.repo_id)
    assert len(set(reviewed)) == len(reviewed) == 2
    assert shop.owner.read_file(repo, "data/train-1.csv", "main") == b"text,label\nc,x\n"


def test_main_when_moved_before_the_commit_then_the_verdict_is_void(
    shop: ReviewHub, unopened: None
) -> None:
    repo = _new_dataset(shop, "raced")
    number = _propose(shop, repo, {"data/train-1.csv": b"text,label\nb,x\n"}, "raced-1")
    policy = review.find_policy(shop.owner, repo.repo_id)
    verdict = review.review_pull_request(shop.owner, repo.repo_id, number, policy, Path("unused"))
    shop.owner.commit(repo, Changes(files={"a.md": b"x"}), message="Move", run_id="move")
    assert not review.apply_verdict(shop.owner, repo.repo_id, verdict)
    assert shop.owner.pull_request(repo, number).status == "open"
    assert _comments(shop, repo, number) == []


def test_pull_request_when_it_never_stands_still_then_error_says_so(
    shop: ReviewHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review, "apply_verdict", lambda *args: False)
    monkeypatch.setattr(review, "review_pull_request", lambda *args: None)
    with pytest.raises(HubError) as caught:
        review.settle(shop.owner, "o/d", 3, review.find_policy(shop.owner, "o/d"))
    assert caught.value.what == "Pull request 3 or main moved during each of 5 reviews."


def test_merge_when_the_reply_was_lost_then_no_second_commit(
    shop: ReviewHub, unopened: None
) -> None:
    """A reviewer that died after the commit and before the comment finishes the same merge."""
    repo = _new_dataset(shop, "lost")
    number = _propose(shop, repo, {"data/train-1.csv": b"text,label\nb,x\n"}, "lost-1")
    policy = review.find_policy(shop.owner, repo.repo_id)
    verdict = review.review_pull_request(shop.owner, repo.repo_id, number, policy, Path("unused"))
    first = review._merge(shop.owner, repo, verdict, author="alice")
    assert isinstance(first, Commit)
    assert review.apply_verdict(shop.owner, repo.repo_id, verdict)
    assert shop.owner.resolve(repo) == first.commit_sha
    assert shop.owner.pull_request(repo, number).status == "closed"


@pytest.mark.parametrize("lost", ["rewrite_comment", "close"])
def test_review_when_killed_after_the_merge_then_the_next_one_finishes_it(
    shop: ReviewHub, unopened: None, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    repo = _new_dataset(shop, f"killed-{lost[:5]}")
    number = _propose(shop, repo, {"data/train-1.csv": b"text,label\nb,x\n"}, f"killed-{lost[:5]}")

    def die(*args: Any, **named: Any) -> None:
        raise HubError("The reviewer was killed.")

    with monkeypatch.context() as patch:
        patch.setattr(shop.owner, lost, die, raising=False)
        with pytest.raises(HubError, match="was killed"):
            review.run(shop.owner, repo.repo_id)
    assert shop.owner.pull_request(repo, number).status == "open"
    [merged, base] = shop.owner.history(repo)[:2]
    later = {"data/train-2.csv": b"text,label\nc,x\n"}
    shop.owner.commit(repo, Changes(files=later), message="Later", run_id="later")
    main = shop.owner.resolve(repo)
    seen: list[Verdict] = []
    review.watch(shop.owner, repo.repo_id, on_verdict=seen.append, wait=lambda seconds: False)
    [verdict] = seen
    assert (verdict.verdict, verdict.rows, verdict.base_sha) == ("merge", 3, base.commit_sha)
    assert shop.owner.resolve(repo) == main
    assert shop.owner.pull_request(repo, number).status == "closed"
    comment, note = _comments(shop, repo, number)
    assert "Review: merge" in comment
    if lost == "rewrite_comment":
        detail = f"merged as {merged.commit_sha} by a review that did not finish"
        assert verdict.checks == (Check("earlier review", True, detail),)
        assert detail in comment
    assert note == f"Merged: main holds these rows from {merged.commit_sha} on. Thank you."


def test_reader_token_when_merging_then_the_hubs_refusal_is_raised(
    shop: ReviewHub, unopened: None
) -> None:
    repo = _new_dataset(shop, "forbidden")
    _propose(shop, repo, {"data/train-1.csv": b"text,label\nb,x\n"}, "forbidden-1")
    with pytest.raises(HubError) as caught:
        review.run(shop.contributor, repo.repo_id)
    assert "does not allow" in caught.value.what


def test_watch_when_pull_requests_come_then_each_commit_is_reviewed_once(
    shop: ReviewHub, unopened: None
) -> None:
    repo = _new_dataset(shop, "watched")
    changed = CARD.encode() + b"more"
    number = _propose(shop, repo, {"README.md": changed}, "watched-1")
    seen: list[Verdict] = []
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        if len(waits) == 2:
            _push(shop, repo, number, {"README.md": changed + b"!"})
        return len(waits) < 4

    review.watch(shop.owner, repo.repo_id, on_verdict=seen.append, wait_seconds=5.0, wait=wait)
    assert [v.number for v in seen] == [number, number]
    assert seen[0].sha != seen[1].sha
    again: list[Verdict] = []
    review.watch(shop.owner, repo.repo_id, on_verdict=again.append, wait=lambda seconds: False)
    assert again == []


def test_watch_when_the_hub_is_gone_then_waits_longer_each_time() -> None:
    with LocalHub() as local:
        hub = Hub(local.url, local.token)
        hub.user()
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) < 6

    os.environ["HF_HUB_DOWNLOAD_TIMEOUT"] = "1"
    review.watch(hub, "o/d", wait_seconds=60.0, wait=wait)
    assert waits == [120.0, 240.0, 480.0, 600.0, 600.0, 600.0]


def test_sealed_rows_when_in_a_private_repo_then_the_reviewer_compares_with_them(
    shop: ReviewHub, here: None
) -> None:
    verdict = shop.review(make_case("leak, exact", "requests", 0))
    failed = {check.name: check for check in verdict.checks if not check.passed}
    assert "5 exact" in failed["test leakage"].detail
    sealed = {row["text"] for row in draw("requests", 0).sealed}
    assert not any(text in check.detail for check in verdict.checks for text in sealed)


def test_rows_when_over_the_limit_then_refused(shop: ReviewHub, here: None) -> None:
    repo = shop.dataset("requests")
    rows = draw("requests", 0).fresh[:30]
    number = _propose(
        shop, repo, {"data/train-30.parquet": parquet(kinds()["requests"], rows)}, "limit"
    )
    with tempfile.TemporaryDirectory() as work:
        policy = shop.policy(repo, max_rows=20)
        verdict = review.review_pull_request(shop.owner, repo.repo_id, number, policy, Path(work))
    assert verdict.verdict == "refuse"
    assert np.any(["too many rows" in r or "of at most 20" in r for r in verdict.reasons])
