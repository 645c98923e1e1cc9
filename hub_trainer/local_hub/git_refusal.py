"""Refusals as git shows them: plain text, line by line after `remote:`, with what can be done."""

from starlette.requests import Request
from starlette.responses import Response

from hub_trainer.local_hub.errors import WireError
from hub_trainer.local_hub.wire import header_text

ADVICE = {
    401: "Sign in with any user name and, as the password, a token of this Hub: let git ask for\n"
    "both, or write {scheme}://USER:TOKEN@{host}/... Who runs the Hub gives tokens.",
    403: "Use a token that may write here, or have the repo's owner add you. Anybody with a token\n"
    "of the role write can open a pull request: hf upload {repo} . --create-pr",
    404: "Check the address: OWNER/NAME is a model, datasets/OWNER/NAME a dataset and\n"
    "spaces/OWNER/NAME a Space. Make a repo before the first push (hf repos create). Where it is\n"
    "private, use a token of somebody who may see it.",
    413: "Push fewer commits at a time, and large files by git-lfs or hf upload.",
}
"""Status -> what somebody can do who has called git."""


def git_refusal(request: Request, error: WireError) -> Response:
    """An error of one of git's own addresses."""
    params = request.path_params
    repo = f"{params.get('prefix', '')}{params.get('ns', '')}/{params.get('name', '')}"
    if params.get("prefix"):
        kind = params["prefix"].rstrip("/").removesuffix("s")
        repo = f"{params['ns']}/{params['name']} --repo-type {kind}"
    scheme, host = request.url.scheme, request.url.netloc
    told = error.message
    # To read, nobody needs a token that writes, and a gate says itself where to ask for access.
    pushes = "git-receive-pack" in f"{request.url.path} {request.url.query}"
    if error.status in ADVICE and (pushes or error.status != 403):
        told += f"\n{ADVICE[error.status].format(repo=repo, scheme=scheme, host=host)}"
    headers = {"X-Error-Message": header_text(error.message), **error.headers}
    headers |= {"X-Error-Code": error.code} if error.code else {}
    # git shows a body only if it is of exactly this type.
    return Response(f"{told}\n", error.status, headers, media_type="text/plain")
