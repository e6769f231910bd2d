"""Functions as a user would write them, served by Google's functions-framework.

The runtime serves one target, so `main` looks at the path: `/function/NAME/…` calls NAME.
"""

import base64
import hashlib
import json
import time
from collections.abc import Iterator

import flask
import functions_framework

BLOCK = 1 << 16
UPLOADS: dict[str, dict[str, object]] = {}


def echo(request: flask.Request) -> flask.Response:
    body = request.get_data()
    return flask.jsonify(
        method=request.method,
        target=request.environ["RAW_URI"],
        query=request.query_string.decode("latin-1"),
        headers=[[name, value] for name, value in request.headers],
        sha256=hashlib.sha256(body).hexdigest(),
        body=base64.b64encode(body).decode(),
    )


def binary(request: flask.Request) -> flask.Response:
    """Bytes that look random, NUL among them, the same for the same count."""
    count = int(request.args.get("bytes", 4096))
    blocks = (hashlib.sha256(str(i).encode()).digest() for i in range(count // 32 + 1))
    data = b"\0\r\n\0" + b"".join(blocks)
    return flask.Response(data[:count], content_type="application/octet-stream")


def status(request: flask.Request) -> flask.Response:
    code = int(request.args.get("code", 200))
    return flask.Response("" if code in (204, 304) else f"status {code}\n", status=code)


def sleep(request: flask.Request) -> flask.Response:
    time.sleep(float(request.args.get("seconds", 0.1)))
    return flask.jsonify(slept=True)


def sse(_: flask.Request) -> flask.Response:
    def events() -> Iterator[str]:
        number = 0
        while True:
            yield f"id: {number}\ndata: tick\n\n"
            number += 1
            time.sleep(0.1)

    return flask.Response(events(), content_type="text/event-stream")


def stream(request: flask.Request) -> flask.Response:
    count = int(request.args.get("bytes", BLOCK))

    def blocks() -> Iterator[bytes]:
        left = count
        while left > 0:
            yield bytes(min(left, BLOCK))
            left -= BLOCK

    return flask.Response(blocks(), content_type="application/octet-stream")


def matrix(request: flask.Request) -> flask.Response:
    """The trace of a matrix of size n times itself."""
    n = int(request.args.get("n") or (request.get_json(force=True, silent=True) or {}).get("n", 32))
    a = [[(i * n + j) % 7 for j in range(n)] for i in range(n)]
    trace = sum(sum(a[i][k] * a[k][i] for k in range(n)) for i in range(n))
    return flask.jsonify(n=n, trace=trace)


def sink(request: flask.Request) -> flask.Response:
    """Counts what comes; `/function/sink/seen?run=R` tells what came in run R."""
    run = request.args.get("run", "")
    if request.path.endswith("/seen"):
        return flask.jsonify(UPLOADS.get(run, {}))
    seen: dict[str, object] = {"bytes": 0, "done": False, "cut": False}
    UPLOADS[run] = seen
    total = 0
    expected = request.content_length
    try:
        while data := request.stream.read(BLOCK):
            total += len(data)
            seen["bytes"] = total
    except Exception:  # whatever the runtime raises for a broken body
        seen["cut"] = True
    if expected is not None and total < expected:
        seen["cut"] = True
    seen["done"] = True
    return flask.jsonify(seen)


FUNCTIONS = {f.__name__: f for f in (echo, binary, status, sleep, sse, stream, matrix, sink)}


@functions_framework.http
def main(request: flask.Request) -> flask.Response:
    parts = request.path.split("/")
    if request.path == "/system/functions":
        names = [{"name": name, "replicas": 1} for name in sorted(FUNCTIONS)]
        return flask.Response(json.dumps(names), content_type="application/json")
    name = parts[2] if len(parts) > 2 and parts[1] in ("function", "async-function") else ""
    if name not in FUNCTIONS:
        return flask.Response(f"no function {name!r}\n", status=404)
    if parts[1] == "async-function":
        return flask.Response(status=202)
    return FUNCTIONS[name](request)
