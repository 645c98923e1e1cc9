import httpx
import pytest


def test_request_when_it_names_itself_then_the_answer_does_too(anyone: httpx.Client) -> None:
    for name in ("X-Request-Id", "X-Amzn-Trace-Id"):
        answer = anyone.get("/api/models", headers={name: "my-id"})
        assert answer.headers["X-Request-Id"] == "my-id"
    assert anyone.get("/api/models").headers["X-Request-Id"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_host_when_it_is_not_ours_then_refused(anyone: httpx.Client, host: str) -> None:
    answer = anyone.get("/api/models", headers={"Host": host})
    assert answer.status_code == 400
    assert "does not answer to the name" in answer.json()["error"]


def test_host_when_it_is_an_address_or_localhost_then_served(anyone: httpx.Client) -> None:
    for host in ("127.0.0.1:1", "localhost", "hub.localhost:80", "[::1]:80", "10.0.0.7"):
        assert anyone.get("/api/models", headers={"Host": host}).status_code == 200


def test_origin_when_another_site_wants_a_change_then_refused(http: httpx.Client) -> None:
    answer = http.post(
        "/api/repos/create", json={"name": "x"}, headers={"Origin": "http://evil.example"}
    )
    assert answer.status_code == 403
    assert "another site" in answer.json()["error"]


def test_error_when_answered_then_json_and_headers_agree(http: httpx.Client) -> None:
    answer = http.get("/api/models/admin/none")
    assert answer.status_code == 404
    assert answer.headers["X-Error-Code"] == "RepoNotFound"
    assert answer.headers["X-Error-Message"] == answer.json()["error"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_path_when_unknown_then_404_that_names_it(http: httpx.Client) -> None:
    assert http.get("/api/nothing/here").json()["error"] == "Cannot GET /api/nothing/here"


def test_method_when_wrong_then_405(http: httpx.Client) -> None:
    assert http.put("/api/repos/create").status_code == 405


@pytest.mark.parametrize("header", ["Bearer nope", "Basic !!!", "Digest x", "Basic bm9wZTpub3Bl"])
def test_credentials_when_wrong_then_401_that_clients_know(
    anyone: httpx.Client, header: str
) -> None:
    answer = anyone.get("/api/models", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["X-Error-Message"] == "Invalid credentials in Authorization header"


def test_body_when_not_json_then_400(http: httpx.Client) -> None:
    for body in (b"{", b"[1]", b"\xff", b"[" * 100_000):
        answer = http.post("/api/repos/create", content=body)
        assert answer.status_code == 400
        assert "The body" in answer.json()["error"]


def test_path_when_it_is_not_utf8_then_400(http: httpx.Client) -> None:
    for part in ("%ff", "%00", "a%ed%a0%80"):
        answer = http.get(f"/api/models/admin/{part}")
        assert answer.status_code == 400
        assert answer.json()["error"] == "The path is not valid UTF-8."
