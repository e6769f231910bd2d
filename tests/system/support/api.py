"""Calls of the HTTP contract, and the shape of its errors."""

import json
from typing import Any

from support.hopwise import Hopwise
from support.wire import Response


def document(response: Response) -> Any:
    return json.loads(response.body)


def assert_error(response: Response, *statuses: int) -> Any:
    """An answer of ours: what is wrong, how to mend it, and by what id the log has it."""
    assert response.status in statuses, (response.start, response.body)
    assert (response.value("content-type") or "").startswith("application/json")
    found = document(response)
    assert {"error", "message", "request_id"} <= set(found)
    assert all(isinstance(found[k], str) and found[k] for k in ("error", "message", "request_id"))
    return found


def enter(proxy: Hopwise, body: object, path: str = "/entry") -> Response:
    """Calls a function by `/entry` or `/schedule`; bytes are sent as they are."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return proxy.call("POST", path, body=data)
