"""Publishing against a Local Hub: one round is one commit, or one pull request, and never half."""

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from hub_trainer.artifacts import find_artifact
from hub_trainer.errors import HubError, RecipeError, UsageError
from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.lineage import read_record, read_rounds
from hub_trainer.local_hub import LocalHub
from hub_trainer.stages import publish
from tests.cards.evidence import BASE_REPO, DATA_REPO, LABELS, recipe, results
from tests.stages.publish import rounds
from tests.stages.publish.conftest import Publish
from tests.stages.publish.proxy import FAULTS, FaultyHub

FILES = [
    *(".eval_results/support-data.yaml", ".gitattributes", "README.md", "config.json"),
    *("figures/confusion.png", "figures/training.png", "model.safetensors", "round.json"),
    *("tokenizer.json", "tokenizer_config.json"),
]


def paths(hub: Hub, repo: Repo, revision: str) -> list[str]:
    return [file.path for file in hub.list_files(repo, revision)]


def test_publish_when_promoted_then_one_commit_on_main_with_its_tag(
    hub: Hub, repo: Repo, publish_round: Publish
) -> None:
    outputs = publish_round().outputs
    sha = outputs["commit_sha"]
    assert hub.resolve(repo) == sha
    assert len(hub.history(repo)) == 2
    assert hub.tags(repo) == {"round-1": sha}
    assert paths(hub, repo, sha) == FILES
    assert outputs["pull_request"] is None
    assert outputs["verdict"] == "promote"
    assert outputs["url"] == f"{hub.url}/{repo.repo_id}/commit/{sha}"
    assert hub.history(repo)[0].title == "Round 1: accuracy 0.9002"


def test_publish_when_done_then_the_record_tells_what_went_in(
    hub: Hub, repo: Repo, shas: dict[str, str], publish_round: Publish
) -> None:
    sha = publish_round().outputs["commit_sha"]
    record = read_record(hub, repo.repo_id, sha)
    assert record is not None
    assert (record.round, record.parent, record.verdict) == (1, None, "promote")
    assert record.base_model is not None
    assert (record.base_model["repo_id"], record.base_model["commit_sha"]) == (
        BASE_REPO,
        shas[BASE_REPO],
    )
    assert {one.commit_sha for one in record.datasets} == {shas[DATA_REPO]}
    assert record.metrics == results()["metrics"]
    assert record.p_value == results()["comparison"]["p_value"]
    assert record.gate == results()["gate"]
    assert record.seed == 0
    assert record.label_names == LABELS
    assert record.versions["torch"]
    assert record.recipe["publish"]["repo_id"] == repo.repo_id
    assert "history" not in record.train
    assert set(record.files) == set(FILES) - {".gitattributes"}
    files = {file.path: file for file in hub.list_files(repo, sha)}
    assert record.hashes["model.safetensors"] == files["model.safetensors"].lfs_sha256
    assert {"config.json", "tokenizer.json"} < set(record.hashes)
    assert not {"README.md", "round.json"} & set(record.hashes)
    found = hub.identify(repo)
    assert record.repo == {"hub_id": found.hub_id, "owner": repo.repo_id.split("/")[0]}
    assert found.hub_id


def test_publish_when_done_then_the_hub_reads_the_card(
    hub: Hub, repo: Repo, publish_round: Publish
) -> None:
    sha = publish_round().outputs["commit_sha"]
    card = hub.card_data(repo, sha)
    assert card["license"] == "apache-2.0"
    assert card["base_model"] == BASE_REPO
    assert card["language"] == ["en"]
    content = hub.read_file(repo, "README.md", sha)
    assert content is not None
    assert hub.card_problems(content.decode()) == []
    assert "[ada](/ada)" in ModelCard(content.decode()).text


def test_publish_when_repeated_then_nothing_is_sent(
    hub: Hub, repo: Repo, publish_round: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish_round(round_dir=tmp_path / "r")
    monkeypatch.setattr(Hub, "commit", None)
    again = publish_round(round_dir=tmp_path / "r")
    assert again.outputs == first.outputs
    assert len(hub.history(repo)) == 2


def test_publish_when_its_folder_is_lost_then_the_same_commit_is_found(
    hub: Hub, repo: Repo, publish_round: Publish, tmp_path: Path
) -> None:
    first = publish_round(round_dir=tmp_path / "r")
    (tmp_path / "r" / "publish" / "manifest.json").unlink()
    again = publish_round(round_dir=tmp_path / "r")
    assert again.outputs["commit_sha"] == first.outputs["commit_sha"]
    assert len(hub.history(repo)) == 2


@pytest.mark.parametrize("verdict", ["hold", "reject"])
def test_publish_when_not_promoted_then_a_pull_request_with_the_evidence(
    verdict: str, hub: Hub, repo: Repo, publish_round: Publish
) -> None:
    outputs = publish_round(evaluated=results(verdict)).outputs
    assert outputs["verdict"] == verdict
    assert outputs["pull_request"] == 1
    assert paths(hub, repo, "main") == [".gitattributes"]
    assert hub.tags(repo) == {}
    (request,) = hub.pull_requests(repo)
    assert request.head_sha == outputs["commit_sha"]
    assert paths(hub, repo, outputs["commit_sha"]) == FILES
    (author, text), *_ = hub.comments(repo, 1)
    assert author == "ada"
    assert "| **accuracy** |" in text
    assert "not the same" not in text
    (record,) = read_rounds(hub, repo.repo_id)
    assert (record.pull_request, record.verdict) == (1, verdict)


def test_publish_when_held_twice_then_one_pull_request_per_round(
    hub: Hub, repo: Repo, publish_round: Publish, tmp_path: Path
) -> None:
    held = results("hold")
    publish_round(evaluated=held, round_dir=tmp_path / "a")
    (tmp_path / "a" / "publish" / "manifest.json").unlink()
    publish_round(evaluated=held, round_dir=tmp_path / "a")
    assert len(hub.pull_requests(repo, status=None)) == 1
    publish_round(evaluated=held, round_dir=tmp_path / "b")
    assert len(hub.pull_requests(repo, status=None)) == 2


def test_publish_when_a_later_round_writes_less_then_old_files_go_and_those_of_people_stay(
    hub: Hub, repo: Repo, publish_round: Publish
) -> None:
    first = publish_round().outputs["commit_sha"]
    old = json.loads(hub.read_file(repo, "round.json", first) or b"")
    old["files"].append("figures/old.png")
    written = {"figures/old.png": b"old", "round.json": json.dumps(old).encode()}
    first = hub.commit(repo, Changes(written), message="As if", run_id="x").commit_sha
    noted = Changes({"docs/notes.md": b"by a person"})
    parent = hub.commit(repo, noted, message="Notes", run_id="y").commit_sha
    second = publish_round(parent=parent).outputs["commit_sha"]
    assert paths(hub, repo, second) == sorted([*FILES, "docs/notes.md"])
    assert "figures/old.png" in paths(hub, repo, first)


def test_publish_when_a_person_wrote_docs_meanwhile_then_it_goes_on_top(
    hub: Hub, repo: Repo, publish_round: Publish
) -> None:
    parent = publish_round().outputs["commit_sha"]
    hub.commit(repo, Changes({"NOTES.md": b"hello"}), message="Notes", run_id="notes")
    second = publish_round(parent=parent).outputs["commit_sha"]
    assert "NOTES.md" in paths(hub, repo, second)
    assert hub.resolve(repo) == second


def test_publish_when_another_model_was_published_meanwhile_then_nothing_is_sent(
    hub: Hub, repo: Repo, publish_round: Publish
) -> None:
    parent = publish_round().outputs["commit_sha"]
    other = publish_round(parent=parent).outputs["commit_sha"]
    with pytest.raises(HubError, match="its comparison is stale") as caught:
        publish_round(parent=parent)
    assert f"main is at {other[:7]}, the round began with {parent[:7]}" in str(caught.value)
    assert "Run the same command again" in str(caught.value)
    assert hub.resolve(repo) == other


def test_publish_when_a_first_model_came_meanwhile_then_nothing_is_sent(
    hub: Hub, repo: Repo, publish_round: Publish
) -> None:
    publish_round()
    with pytest.raises(HubError, match="its comparison is stale") as caught:
        publish_round(parent=None)
    assert "the round began with no published model" in str(caught.value)
    assert len(hub.history(repo)) == 2


def test_publish_when_written_over_right_after_then_the_same_commit_is_found(
    hub: Hub, repo: Repo, publish_round: Publish, tmp_path: Path
) -> None:
    mine = publish_round(round_dir=tmp_path / "mine").outputs["commit_sha"]
    publish_round(parent=mine)
    (tmp_path / "mine" / "publish" / "manifest.json").unlink()
    assert publish_round(round_dir=tmp_path / "mine").outputs["commit_sha"] == mine
    assert len(hub.history(repo)) == 3


def test_publish_when_a_stage_is_missing_then_it_is_named(
    hub: Hub, shas: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="not ready") as caught:
        publish.run(recipe(), tmp_path, hub)
    assert "collect, prepare, train, evaluate" in str(caught.value)
    rounds.write_pins(tmp_path, shas)
    with pytest.raises(UsageError, match="not ready") as caught:
        publish.run(recipe(), tmp_path, hub)
    assert "hub-trainer run" in str(caught.value)


def test_publish_when_a_source_forbids_the_licence_then_nothing_is_sent(
    hub: Hub, repo: Repo, shas: dict[str, str], publish_round: Publish
) -> None:
    card = b"---\nlicense: cc-by-nc-4.0\n---\n"
    data = Repo(DATA_REPO, "dataset")
    made = hub.commit(data, Changes({"README.md": card}), message="NC", run_id="nc")
    shas[DATA_REPO] = made.commit_sha
    asked = recipe(publish={"repo_id": repo.repo_id, "license": "apache-2.0"})
    with pytest.raises(RecipeError, match="1 problem") as caught:
        publish_round(of=asked)
    assert "publish.license: apache-2.0 will not do: dataset ada/support-data is cc-by-nc" in str(
        caught.value
    )
    assert not hub.exists(repo)


def test_publish_when_the_hub_refuses_the_card_then_nothing_is_sent(
    hub: Hub, repo: Repo, publish_round: Publish
) -> None:
    asked = recipe(publish={"repo_id": repo.repo_id, "license": "no-such-licence"})
    with pytest.raises(HubError, match="refuses the model's card") as caught:
        publish_round(of=asked)
    assert "license" in str(caught.value)
    assert not hub.exists(repo)


def test_publish_when_the_token_may_only_read_then_it_says_so(
    local: LocalHub, repo: Repo, publish_round: Publish, tmp_path: Path
) -> None:
    reader = Hub(local.url, local.add_token("ada", role="read"))
    with pytest.raises(HubError, match="does not allow creating model"):
        publish_round(through=reader)
    assert find_artifact(tmp_path / "round-001" / "publish") is None


UPLOAD_FAULTS = [("promote", "/commit/", fault) for fault in FAULTS]
UPLOAD_FAULTS += [("hold", "/commit/", "500 after"), ("hold", "/commit/", "lost after")]
UPLOAD_FAULTS += [("promote", path, "lost before") for path in ("/preupload/", "/lfs/")]
UPLOAD_FAULTS += [("promote", "/objects/batch", "500 before")]


@pytest.mark.parametrize(("verdict", "where", "fault"), UPLOAD_FAULTS)
def test_publish_when_an_upload_call_fails_once_then_one_commit(
    verdict: str, fault: str, where: str, hub: Hub, publish_round: Publish, patient: None
) -> None:
    with FaultyHub(hub.url) as faulty:
        seen: list[str] = []

        def once(index: int, method: str, path: str) -> str | None:
            if seen or where not in path or method == "GET":
                return None
            seen.append(path)
            return fault

        faulty.arm(once)
        through = Hub(faulty.url, hub._token)
        outputs = publish_round(through=through, evaluated=results(verdict)).outputs
    assert seen
    _assert_published_once(hub, outputs, verdict)


@pytest.mark.parametrize(
    ("verdict", "gone_at"),
    [("promote", "/lfs/"), ("promote", "/commit/"), ("promote", "/tag/"), ("hold", "/preupload/")],
)
def test_publish_when_the_hub_goes_away_then_running_again_goes_on(
    verdict: str, gone_at: str, hub: Hub, publish_round: Publish, patient: None, tmp_path: Path
) -> None:
    with FaultyHub(hub.url) as faulty:
        gone: list[str] = []

        def from_here_on(index: int, method: str, path: str) -> str | None:
            if gone_at in path and method != "GET":
                gone.append(path)
            return "lost before" if gone else None

        faulty.arm(from_here_on)
        about = {"round_dir": tmp_path / "r", "evaluated": results(verdict)}
        through = Hub(faulty.url, hub._token)
        with pytest.raises(HubError, match="does not answer"):
            publish_round(through=through, **about)
        assert find_artifact(tmp_path / "r" / "publish") is None
        faulty.disarm()
        outputs = publish_round(through=through, **about).outputs
    _assert_published_once(hub, outputs, verdict)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("verdict", ["promote", "hold"])
def test_publish_when_any_single_call_fails_then_at_most_a_rerun_and_one_commit(
    verdict: str, hub: Hub, publish_round: Publish, patient: None, tmp_path: Path
) -> None:
    with FaultyHub(hub.url) as faulty:
        through = Hub(faulty.url, hub._token)
        names: list[str] = []
        index = 0
        while not names or index < 60:
            for fault in FAULTS:
                name = f"ada/model-{verdict}-{index}-{fault.replace(' ', '-')}"
                calls = _publish_with_fault(
                    publish_round, faulty, through, name, (index, fault, verdict, tmp_path)
                )
                names.append(name)
                record = read_rounds(hub, name)
                assert len(record) == 1, (index, fault)
                assert len(hub.pull_requests(Repo(name), status=None)) == (verdict == "hold")
                assert len(hub.history(Repo(name))) == (2 if verdict == "promote" else 1)
            index += 1
            if index >= calls:
                break
    print(f"{verdict}: {len(names)} trials, 0 failures")


def _publish_with_fault(
    publish_round: Publish,
    faulty: FaultyHub,
    through: Hub,
    name: str,
    about: tuple[int, str, str, Path],
) -> int:
    index, fault, verdict, tmp_path = about
    asked = recipe(publish={"repo_id": name})
    options: dict[str, Any] = {
        "of": asked,
        "through": through,
        "round_dir": tmp_path / name,
        "evaluated": results(verdict),
    }
    faulty.arm(lambda at, method, path: fault if at == index else None)
    try:
        publish_round(**options)
    except HubError:
        publish_round(**options)
    return len(faulty.calls)


def _assert_published_once(hub: Hub, outputs: dict[str, Any], verdict: str) -> None:
    repo = Repo(outputs["repo_id"])
    assert paths(hub, repo, outputs["commit_sha"]) == FILES
    if verdict == "promote":
        assert [entry.commit_sha for entry in hub.history(repo)][0] == outputs["commit_sha"]
        assert len(hub.history(repo)) == 2
        assert hub.tags(repo) == {"round-1": outputs["commit_sha"]}
    else:
        (request,) = hub.pull_requests(repo, status=None)
        assert request.head_sha == outputs["commit_sha"]
        assert paths(hub, repo, "main") == [".gitattributes"]
