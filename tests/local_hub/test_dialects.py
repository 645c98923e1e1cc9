"""Ways of saying the same thing that some clients have of their own."""

import httpx
from huggingface_hub import HfApi


def test_revision_when_it_is_head_then_the_tip_of_main(
    http: httpx.Client, api: HfApi, repo_id: str
) -> None:
    """The JavaScript client asks for the info of HEAD."""
    sha = api.repo_info(repo_id).sha
    assert http.get(f"/api/models/{repo_id}/revision/HEAD").json()["sha"] == sha
    assert http.get(f"/{repo_id}/resolve/HEAD/.gitattributes").headers["X-Repo-Commit"] == sha
    assert http.get(f"/api/models/{repo_id}/revision/ORIG_HEAD").status_code == 404


def test_batch_when_the_hash_is_spelled_with_a_bar_then_understood(
    http: httpx.Client, repo_id: str
) -> None:
    """The JavaScript client writes sha_256."""
    wanted = {"operation": "upload", "hash_algo": "sha_256", "objects": []}
    answer = http.post(f"/{repo_id}.git/info/lfs/objects/batch", json=wanted)
    assert answer.status_code == 200
    assert answer.json()["hash_algo"] == "sha256"
