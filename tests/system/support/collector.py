"""A collector of spans that speaks OTLP as HTTP with protobuf, and keeps what it gets."""

import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from support.wait import eventually

# Kinds of spans, by their numbers.
INTERNAL, SERVER, CLIENT = 1, 2, 3


@dataclass(frozen=True)
class Span:
    service: str
    instance: str
    resource: dict[str, Any]
    name: str
    kind: int
    trace: str
    id: str
    parent: str
    state: str
    start: int
    end: int
    failed: bool
    attributes: dict[str, Any]


def value_of(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))


def attributes_of(pairs: Any) -> dict[str, Any]:
    return {pair.key: value_of(pair.value) for pair in pairs}


def spans_of(request: ExportTraceServiceRequest) -> list[Span]:
    found = []
    for of_resource in request.resource_spans:
        resource = attributes_of(of_resource.resource.attributes)
        for of_scope in of_resource.scope_spans:
            assert of_scope.scope.name == "hopwise" and of_scope.scope.version
            for span in of_scope.spans:
                found.append(
                    Span(
                        resource.get("service.name", ""),
                        resource.get("service.instance.id", ""),
                        resource,
                        span.name,
                        span.kind,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        span.trace_state,
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                        span.status.code == 2,
                        attributes_of(span.attributes),
                    )
                )
    return found


class Collector:
    def __init__(self, port: int = 0) -> None:
        self.spans: list[Span] = []
        self.requests: list[dict[str, str]] = []
        self.delay = 0.0
        self.status = 200
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                time.sleep(collector.delay)
                if collector.status == 200:
                    request = ExportTraceServiceRequest.FromString(body)
                    collector.spans.extend(spans_of(request))
                fields = {name.lower(): value for name, value in self.headers.items()}
                collector.requests.append({"path": self.path, **fields})
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(collector.status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def environment(self, **more: str) -> dict[str, str]:
        """What tells a process to send its spans here, and soon."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            **more,
        }

    def of_trace(self, trace: str, servers: int = 1) -> list[Span]:
        """The spans of a trace, once so many sidecars have sent theirs."""

        def found() -> list[Span]:
            spans = [span for span in list(self.spans) if span.trace == trace]
            # That of the request itself comes last.
            return spans if sum(span.kind == SERVER for span in spans) >= servers else []

        return eventually(found, f"spans of {trace} from {servers}", timeout=10)

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
