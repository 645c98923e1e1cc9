"""Routes of webhooks: each user has their own."""

from typing import Any
from urllib.parse import urlsplit

from starlette.responses import Response

from hub_trainer.local_hub import jobs, webhook_jobs, webhooks
from hub_trainer.local_hub.errors import bad_request, not_found
from hub_trainer.local_hub.permissions import is_member, require_namespace
from hub_trainer.local_hub.routes.jobs import runner_of
from hub_trainer.local_hub.webhooks import Webhook, known_domain
from hub_trainer.local_hub.wire import Call, Entry, nothing, reply

WATCHED_TYPES = ("user", "org", "model", "dataset", "space")


def list_all(call: Call) -> Response:
    """GET /api/settings/webhooks."""
    found = webhooks.list_webhooks(call.core.store, _user_id(call))
    return reply([_show(call, each) for each in found])


def create(call: Call) -> Response:
    """POST /api/settings/webhooks."""
    wanted = call.json()
    fields, source = _fields(wanted), _source(call, wanted)
    if ("url" in fields) == (source is not None):
        raise bad_request("A webhook needs a url or a jobSourceId, and not both.")
    fields = {"domains": ["repo", "discussion"], **fields}
    with call.core.store.write():
        made = webhooks.insert_webhook(call.core.store, _user_id(call), fields)
        if source is not None:
            webhook_jobs.set_job(call.core.store, made.id, source, _secrets(wanted))
    return _answer(call, made)


def get(call: Call) -> Response:
    """GET /api/settings/webhooks/{id}."""
    return _answer(call, _find(call))


def update(call: Call) -> Response:
    """POST /api/settings/webhooks/{id}."""
    wanted = call.json()
    fields, source = _fields(wanted), _source(call, wanted)
    if "url" in fields and source is not None:
        raise bad_request("A webhook has a url or a jobSourceId, and not both.")
    with call.core.store.write():
        if source is not None:
            fields["url"] = ""
            webhook_jobs.set_job(call.core.store, _find(call).id, source, _secrets(wanted))
        elif "url" in fields:
            webhook_jobs.delete_job(call.core.store, _find(call).id)
        return _update(call, fields)


def enable(call: Call) -> Response:
    """POST /api/settings/webhooks/{id}/enable."""
    return _update(call, {"disabled": 0})


def disable(call: Call) -> Response:
    """POST /api/settings/webhooks/{id}/disable."""
    return _update(call, {"disabled": 1})


def delete(call: Call) -> Response:
    """DELETE /api/settings/webhooks/{id}."""
    webhooks.delete_webhook(call.core.store, _find(call).id)
    return nothing()


def _update(call: Call, fields: dict[str, Any]) -> Response:
    found = _find(call)
    return _answer(call, webhooks.update_webhook(call.core.store, found.user_id, found.id, fields))


def _source(call: Call, wanted: dict[str, Any]) -> jobs.Job | None:
    """The job to start again and again; else 400 or 404, as for jobs."""
    job_id = wanted.get("jobSourceId")
    if job_id is None:
        if wanted.get("secrets") is not None:
            raise bad_request("secrets go with a jobSourceId.")
        return None
    runner_of(call)
    source = jobs.find_job_by_id(call.core.store, str(job_id))
    if not is_member(call.actor, source.namespace):
        raise not_found(f"Job {job_id} does not exist.")
    require_namespace(call.core.store, call.actor, source.namespace)
    return source


def _secrets(wanted: dict[str, Any]) -> dict[str, str]:
    return jobs.read_variables(wanted, "secrets")


def _find(call: Call) -> Webhook:
    found = webhooks.find_webhook(call.core.store, _user_id(call), call.params["webhook"])
    if found is None:
        raise not_found(f"Webhook {call.params['webhook']} does not exist.")
    return found


def _user_id(call: Call) -> str:
    assert call.actor.user is not None
    return call.actor.user.id


def _fields(wanted: dict[str, Any]) -> dict[str, Any]:
    """The columns to set; what was not sent stays as it is."""
    fields: dict[str, Any] = {}
    if wanted.get("url") is not None:
        fields["url"] = _checked_url(wanted["url"])
    if wanted.get("watched") is not None:
        fields["watched"] = _checked_watched(wanted["watched"])
    if wanted.get("domains") is not None:
        domains = wanted["domains"]
        known = (
            [known_domain(str(each)) for each in domains] if isinstance(domains, list) else [None]
        )
        if None in known:
            raise bad_request(f"domains must be a list of repo and discussion, not {domains!r}.")
        fields["domains"] = [each for each in known if each is not None]
    if wanted.get("secret") is not None:
        fields["secret"] = str(wanted["secret"])
    return fields


def _checked_url(url: Any) -> str:
    parts = urlsplit(url) if isinstance(url, str) and url.isprintable() else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise bad_request(f"A webhook's url must be http or https, not {url!r}.")
    return str(url)


def _checked_watched(watched: Any) -> list[dict[str, str]]:
    usable = isinstance(watched, list) and all(_is_watched(each) for each in watched)
    if not usable:
        kinds = ", ".join(WATCHED_TYPES)
        raise bad_request(f"watched must be a list of {{type, name}} with a type of {kinds}.")
    return [{"type": each["type"], "name": each["name"]} for each in watched]


def _is_watched(each: Any) -> bool:
    if not isinstance(each, dict) or each.get("type") not in WATCHED_TYPES:
        return False
    return isinstance(each.get("name"), str)


def _answer(call: Call, found: Webhook) -> Response:
    return reply({"webhook": _show(call, found)})


def _show(call: Call, found: Webhook) -> dict[str, Any]:
    return {
        "id": found.id,
        "url": found.url or None,
        "job": webhook_jobs.show_job(call.core.store, found.id),
        "watched": found.watched,
        "domains": found.domains,
        "secret": found.secret or None,
        "disabled": found.disabled,
    }


_ALL = "/api/settings/webhooks"
_ONE = _ALL + "/{webhook}"

ROUTES = [
    Entry("GET", _ALL, list_all, "write_token"),
    Entry("POST", _ALL, create, "write_token"),
    Entry("GET", _ONE, get, "write_token"),
    Entry("POST", _ONE, update, "write_token"),
    Entry("DELETE", _ONE, delete, "write_token"),
    Entry("POST", _ONE + "/enable", enable, "write_token"),
    Entry("POST", _ONE + "/disable", disable, "write_token"),
]
