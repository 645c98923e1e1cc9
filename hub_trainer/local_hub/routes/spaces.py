"""Routes of Spaces: variables, secrets, runtime."""

from typing import Any

from starlette.responses import Response

from hub_trainer.local_hub import spaces
from hub_trainer.local_hub.errors import bad_request
from hub_trainer.local_hub.wire import Call, Entry, reply


def _is_secret(call: Call) -> bool:
    path: str = call.request.scope["path"]
    return path.endswith("/secrets")


def get_settings(call: Call) -> Response:
    """GET variables or secrets."""
    return reply(spaces.settings(call.core.store, call.repo, secret=_is_secret(call)))


def set_setting(call: Call) -> Response:
    """POST variables or secrets."""
    spaces.set_setting(call.core.store, call.repo, call.json(), secret=_is_secret(call))
    return get_settings(call)


def delete_setting(call: Call) -> Response:
    """DELETE variables or secrets."""
    spaces.delete_setting(
        call.core.store, call.repo, call.json().get("key"), secret=_is_secret(call)
    )
    return get_settings(call)


def get_runtime(call: Call) -> Response:
    """GET runtime."""
    return reply(spaces.runtime(call.core, call.repo))


def set_hardware(call: Call) -> Response:
    """POST hardware."""
    return _change(
        call, hardware=call.text("flavor"), gcTimeout=call.json().get("sleepTimeSeconds")
    )


def set_sleep_time(call: Call) -> Response:
    """POST sleeptime."""
    seconds = call.json().get("seconds")
    if not isinstance(seconds, int):
        raise bad_request("seconds must be a whole number.")
    return _change(call, gcTimeout=None if seconds < 0 else seconds)


def pause(call: Call) -> Response:
    """POST pause."""
    return _change(call, stage="PAUSED")


def restart(call: Call) -> Response:
    """POST restart."""
    return _change(call, stage="STOPPED")


def set_dev_mode(call: Call) -> Response:
    """POST dev-mode."""
    return _change(call, devMode=bool(call.json().get("enabled")))


def set_storage(call: Call) -> Response:
    """POST storage."""
    return _change(call, storage=call.text("tier"))


def drop_storage(call: Call) -> Response:
    """DELETE storage."""
    return _change(call, storage=None)


def _change(call: Call, **changes: Any) -> Response:
    return reply(spaces.change_runtime(call.core, call.repo, changes))


_SPACE = "/api/{kind:space}/{ns}/{name}"

ROUTES = [
    Entry("GET", _SPACE + "/variables", get_settings, "write"),
    Entry("POST", _SPACE + "/variables", set_setting, "write"),
    Entry("DELETE", _SPACE + "/variables", delete_setting, "write"),
    Entry("GET", _SPACE + "/secrets", get_settings, "write"),
    Entry("POST", _SPACE + "/secrets", set_setting, "write"),
    Entry("DELETE", _SPACE + "/secrets", delete_setting, "write"),
    Entry("GET", _SPACE + "/runtime", get_runtime, "see"),
    Entry("POST", _SPACE + "/hardware", set_hardware, "write"),
    Entry("POST", _SPACE + "/sleeptime", set_sleep_time, "write"),
    Entry("POST", _SPACE + "/pause", pause, "write"),
    Entry("POST", _SPACE + "/restart", restart, "write"),
    Entry("POST", _SPACE + "/dev-mode", set_dev_mode, "write"),
    Entry("POST", _SPACE + "/storage", set_storage, "write"),
    Entry("DELETE", _SPACE + "/storage", drop_storage, "write"),
]
