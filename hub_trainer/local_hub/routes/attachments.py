"""Routes of the files in comments: people send one, whoever knows its address may look."""

import hashlib
import uuid

from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, Response

from hub_trainer.local_hub import attachments
from hub_trainer.local_hub.errors import not_found, too_large
from hub_trainer.local_hub.intake import pour, sync_file
from hub_trainer.local_hub.sending import SAFE_HEADERS, send
from hub_trainer.local_hub.wire import Call, Entry


async def upload(call: Call) -> Response:
    """POST /uploads: the file as body, its type as content type; the answer is its address."""
    content_type = attachments.check_content_type(call.request.headers.get("content-type", ""))
    most = attachments.most_bytes(call.core.limits, content_type)
    refusal = too_large(f"An attachment of this type may have {most} bytes.")
    path = call.core.temporary() / f"attachment-{uuid.uuid4().hex}"
    assert call.actor.user is not None
    try:
        with path.open("xb") as file:
            await pour(call.request, most, refusal, file.writelines)
            await run_in_threadpool(sync_file, file)
        name = await run_in_threadpool(
            attachments.keep_attachment, call.core, call.actor.user.id, path, content_type
        )
    finally:
        path.unlink(missing_ok=True)
    return PlainTextResponse(f"{call.endpoint}/uploads/{name}")


def show(call: Call) -> Response:
    """GET /uploads/{user}/{file}."""
    name = f"{call.params['user']}/{call.params['file']}"
    path = attachments.find_attachment(call.core, name)
    if path is None:
        raise not_found(f"There is no attachment {name}")
    headers = {
        **SAFE_HEADERS,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=86400, immutable",
        "Content-Disposition": f'attachment; filename="{path.name}"',
        "Content-Type": attachments.CONTENT_TYPES[path.suffix],
        "ETag": f'"{hashlib.sha256(name.encode()).hexdigest()}"',
    }
    return send(call, headers, path, path.stat().st_size)


ROUTES = [
    Entry("POST", "/uploads", upload, "write_token", streams=True),
    Entry("GET", "/uploads/{user}/{file}", show, "anyone"),
]
