"""Files in comments: sent by people who are signed in, shown to whoever knows the address."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from huggingface_hub import HfApi
from huggingface_hub.cli.hf import __file__ as hf_command

from hub_trainer.local_hub import Limits, LocalHub, names

PNG = b"\x89PNG\r\n\x1a\n" + bytes(2000)


def send(http: httpx.Client, content: bytes, content_type: str = "image/png") -> httpx.Response:
    return http.post("/uploads", content=content, headers={"Content-Type": content_type})


def test_attachment_when_sent_by_the_client_then_anyone_with_the_address_sees_it(
    hub: LocalHub, api: HfApi, anyone: httpx.Client, tmp_path: Path
) -> None:
    picture = tmp_path / "shot.png"
    picture.write_bytes(PNG)
    url = api.upload_attachment(picture)
    assert re.fullmatch(re.escape(hub.url) + r"/uploads/[0-9a-f]{24}/[\w-]{22}\.png", url)
    shown = anyone.get(url)
    assert (shown.content, shown.headers["content-type"]) == (PNG, "image/png")
    assert shown.headers["content-disposition"].startswith("attachment; filename=")
    assert shown.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in shown.headers["content-security-policy"]
    part = anyone.get(url, headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, PNG[:4])
    assert api.upload_attachment(picture) != url


def test_attachment_when_in_a_comment_then_the_page_shows_the_picture(
    api: HfApi, anyone: httpx.Client, http: httpx.Client, repo_id: str
) -> None:
    url = send(http, PNG).text
    num = api.create_discussion(repo_id, title="Look", description=f"![a shot]({url})").num
    page = anyone.get(f"/{repo_id}/discussions/{num}").text
    assert f'<img src="{httpx.URL(url).path}" alt="a shot">' in page
    elsewhere = "![x](https://example.org/uploads/a.png)"
    api.comment_discussion(repo_id, num, elsewhere)
    assert "example.org" not in anyone.get(f"/{repo_id}/discussions/{num}").text


def test_attachment_when_hf_attaches_it_then_the_comment_holds_its_address(
    hub: LocalHub, api: HfApi, new_repo: Callable[..., str], tmp_path: Path
) -> None:
    repo_id = new_repo()
    num = api.create_discussion(repo_id, title="Look").num
    (tmp_path / "shot.png").write_bytes(PNG)
    command = Path(os.sys.executable).parent / "hf"  # type: ignore[attr-defined]
    assert Path(hf_command).exists()
    words = [str(command), "discussions", "comment", repo_id, str(num), "--attach", "shot.png"]
    environment = {**os.environ, **hub.environment(), "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said = [event for event in api.get_discussion_details(repo_id, num).events if event.content]
    assert re.fullmatch(rf"!\[shot\]\({hub.url}/uploads/\S+\.png\)", said[-1].content)


@pytest.mark.parametrize(
    ("content", "content_type", "status", "message"),
    [
        (b"<script>", "text/html", 400, "cannot be of the type 'text/html'. Use one of image/png"),
        (PNG, "", 400, "cannot be of the type ''"),
        (b"", "image/png", 400, "The attachment is empty"),
        (bytes(3001), "image/png", 413, "of this type may have 3000 bytes"),
        (bytes(5001), "video/mp4", 413, "of this type may have 5000 bytes"),
    ],
)
def test_attachment_when_of_another_type_empty_or_large_then_refused_and_nothing_is_kept(
    tmp_path: Path, content: bytes, content_type: str, status: int, message: str
) -> None:
    limits = Limits(attachment_bytes=3000, video_bytes=5000)
    with (
        LocalHub(tmp_path, limits=limits) as hub,
        httpx.Client(base_url=hub.url, headers={"Authorization": f"Bearer {hub.token}"}) as http,
    ):
        answer = send(http, content, content_type)
        assert send(http, bytes(3001), "video/mp4; codecs=avc1").text.endswith(".mp4")
    assert (answer.status_code, message in answer.json()["error"]) == (status, True)
    kept = [path.suffix for path in (tmp_path / "attachments").glob("*/*")]
    assert (kept, list((tmp_path / "tmp").iterdir())) == ([".mp4"], [])


@pytest.mark.parametrize(
    "name",
    [
        "{user}/none.png",
        "{user}/..%2f..%2f..%2ftoken",
        "{user}/" + "a" * 22 + ".png",
        "..%2f../token",
        "0" * 24 + "/" + "a" * 22 + ".html",
    ],
)
def test_attachment_when_the_name_is_not_one_of_ours_then_404(
    api: HfApi, anyone: httpx.Client, name: str
) -> None:
    answer = anyone.get("/uploads/" + name.replace("{user}", api.whoami()["id"]))
    assert (answer.status_code, "There is no attachment" in answer.text) == (404, True)


def test_attachment_when_sent_by_nobody_or_to_read_only_then_refused(
    hub: LocalHub, anyone: httpx.Client
) -> None:
    assert send(anyone, PNG).status_code == 401
    headers = {"Authorization": f"Bearer {hub.add_token('admin', 'read')}"}
    answer = anyone.post("/uploads", content=PNG, headers={**headers, "Content-Type": "image/png"})
    assert (answer.status_code, "role read" in answer.json()["error"]) == (403, True)
    assert "uploads" in names.RESERVED
