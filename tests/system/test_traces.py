"""Traces: spans that a real collector takes, joined from the client to the gateway."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from conftest import StartHopwise
from origin import Origin, Received, answer, read_body
from support.cluster import Cluster
from support.collector import CLIENT, INTERNAL, SERVER, Collector, Span
from support.exchange import new_run
from support.hopwise import Config, Hopwise, single_node
from support.wait import eventually, free_port
from support.wire import Wire, request
from support.wire import connect as connect_wire

ECHO = "/function/echo"
STRANGER = "127.0.0.99"
PARENT = "00f067aa0ba902b7"
NUMBERS = itertools.count(1)


def new_trace() -> str:
    return f"{time.time_ns():024x}{next(NUMBERS):08x}"


def parent_field(trace: str, flags: str = "01") -> str:
    return f"traceparent: 00-{trace}-{PARENT}-{flags}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    started = Collector()
    yield started
    started.stop()


StartTraced = Callable[..., Hopwise]


@pytest.fixture
def start(origin: Origin, start_hopwise: StartHopwise, collector: Collector) -> StartTraced:
    def begin(config: Config | None = None, **env: str) -> Hopwise:
        config = config or single_node(origin.address, workers=1)
        return start_hopwise(config, env=collector.environment(**env))

    return begin


def call(hopwise: Hopwise, origin: Origin, *fields: str, target: str = ECHO) -> Received:
    """What the gateway got."""
    run = new_run()
    response = hopwise.call("POST", target, f"X-Run: {run}", *fields, body=b"x")
    assert response.status == 200, response.body
    return origin.seen(run)


def sent_on(received: Received) -> tuple[str, str, str]:
    """Trace, parent and flags, as the gateway got them."""
    version, trace, parent, flags = (received.value("traceparent") or "").split("-")
    assert version == "00"
    return trace, parent, flags


def one(spans: list[Span], name: str, **of: str) -> Span:
    found = [
        span for span in spans
        if span.name == name and all(getattr(span, key) == value for key, value in of.items())
    ]  # fmt: skip
    assert len(found) == 1, (name, of, [(span.name, span.instance) for span in spans])
    return found[0]


def assert_nested(spans: list[Span]) -> None:
    by_id = {span.id: span for span in spans}
    for span in spans:
        assert span.start <= span.end, span
        if parent := by_id.get(span.parent):
            assert parent.instance != span.instance or parent.start <= span.start, (parent, span)
            assert parent.instance != span.instance or parent.end >= span.end, (parent, span)


def test_a_request_has_a_span_and_below_it_what_took_its_time(
    origin: Origin, start: StartTraced, collector: Collector
) -> None:
    hopwise, trace = start(), new_trace()
    received = call(hopwise, origin, parent_field(trace), "User-Agent: test/1", "X-Call-Id: c7")
    spans = collector.of_trace(trace)
    assert {span.name for span in spans} == {"POST /function/{name}", "decide", "connect", "upstream"}
    whole, upstream = one(spans, "POST /function/{name}"), one(spans, "upstream")
    assert (whole.kind, whole.parent, whole.failed) == (SERVER, PARENT, False)
    assert sent_on(received) == (trace, upstream.id, "01")
    assert (whole.service, whole.instance) == ("hopwise", "edge1")
    expected = {
        "http.request.method": "POST", "url.path": ECHO, "url.scheme": "http",
        "http.route": "/function/{name}", "http.response.status_code": 200,
        "network.protocol.version": "1.1", "client.address": STRANGER,
        "user_agent.original": "test/1", "faas.invoked_name": "echo", "hopwise.call_id": "c7",
        "hopwise.node": "edge1", "hopwise.architecture": "decentralized",
        "hopwise.target": "edge1", "hopwise.hop": 0,
    }  # fmt: skip
    assert {key: whole.attributes.get(key) for key in expected} == expected
    assert whole.attributes["hopwise.reason"]
    expected = {
        "http.request.method": "POST", "server.address": origin.host, "server.port": origin.port,
        "http.response.status_code": 200, "faas.invoked_name": "echo", "hopwise.target": "edge1",
    }  # fmt: skip
    assert upstream.kind == CLIENT and upstream.attributes == expected
    decide, connect = one(spans, "decide"), one(spans, "connect")
    assert decide.kind == connect.kind == INTERNAL
    assert decide.attributes["hopwise.target"] == "edge1" and decide.attributes["hopwise.reason"]
    assert connect.attributes["server.port"] == origin.port
    assert {span.parent for span in (decide, connect, upstream)} == {whole.id}
    assert decide.end <= connect.start and connect.end <= upstream.start
    assert_nested(spans)
    assert collector.requests[0]["path"] == "/v1/traces"
    assert collector.requests[0]["content-type"] == "application/x-protobuf"


def test_a_trace_leads_from_the_client_over_two_sidecars_to_the_gateway(
    make_cluster: Callable[..., Cluster], collector: Collector
) -> None:
    cluster = make_cluster(architecture="centralized", env=collector.environment())
    trace, run = new_trace(), new_run()
    response = cluster.call("edge2", ECHO, parent_field(trace), "tracestate: a=1", f"X-Run: {run}")
    assert response.status == 200
    (gateway, received), *more = cluster.started(run)
    assert not more
    path = 2 if gateway == "cloud" else 3
    spans = collector.of_trace(trace, servers=path)
    entry, controller = (
        one(spans, "POST /function/{name}", instance=id) for id in ("edge2", "cloud")
    )
    assert entry.parent == PARENT
    first = one(spans, "upstream", instance="edge2")
    assert (first.parent, controller.parent) == (entry.id, first.id)
    assert first.attributes["hopwise.target"] == "cloud"
    assert (entry.attributes["hopwise.hop"], controller.attributes["hopwise.hop"]) == (0, 1)
    last = one(spans, "upstream", instance=gateway)
    assert sent_on(received) == (trace, last.id, "01")
    assert received.value("tracestate") == "a=1"
    assert {span.state for span in spans} == {"a=1"}
    assert_nested(spans)


def test_what_waits_has_a_span_for_that(
    origin: Origin, start: StartTraced, collector: Collector
) -> None:
    queue = {"enabled": True, "running": 1}
    hopwise = start(single_node(origin.address, workers=1, queue=queue))
    seen = len(origin.received)
    other = threading.Thread(
        target=hopwise.call, args=("POST", "/function/sleep?seconds=0.5"), kwargs={"body": b"x"}
    )
    other.start()
    eventually(lambda: len(origin.received) > seen, "one runs")
    trace = new_trace()
    call(hopwise, origin, parent_field(trace))
    other.join()
    spans = collector.of_trace(trace)
    queued = one(spans, "queue")
    assert queued.end - queued.start > 100_000_000
    assert one(spans, "decide").end <= queued.start <= queued.end <= one(spans, "upstream").start
    assert_nested(spans)


def test_failures_are_told_attempt_by_attempt(
    start: StartTraced, origin: Origin, collector: Collector
) -> None:
    nobody = single_node(("127.0.0.1", free_port()), workers=1, retries={"attempts": 2})
    hopwise, trace = start(nobody), new_trace()
    response = hopwise.call("PUT", ECHO, parent_field(trace), body=b"x")
    assert response.status == 502
    spans = collector.of_trace(trace)
    whole = one(spans, "PUT /function/{name}")
    assert whole.failed and whole.attributes["error.type"].startswith("UF")
    asked = [span for span in spans if span.name == "upstream"]
    assert len(asked) == 2 and all(span.failed for span in asked)
    assert {span.attributes["error.type"] for span in asked} == {"connection_failure"}
    assert sorted(span.attributes.get("http.request.resend_count", 0) for span in asked) == [0, 1]
    assert len({span.id for span in spans}) == len(spans)


def test_methods_and_names_of_strangers_make_no_names_of_spans(
    origin: Origin, start: StartTraced, collector: Collector
) -> None:
    hopwise, trace = start(), new_trace()
    hopwise.call("BREW", "/function/a.b-c_d/x?q=1", parent_field(trace))
    spans = collector.of_trace(trace)
    whole = one(spans, "HTTP /function/{name}")
    assert whole.attributes["http.request.method"] == "_OTHER"
    assert whole.attributes["http.request.method_original"] == "BREW"
    passed = new_trace()
    hopwise.call("GET", "/system/functions", parent_field(passed))
    spans = collector.of_trace(passed)
    assert {span.name for span in spans} == {"GET", "upstream"}
    assert "http.route" not in one(spans, "GET").attributes
    entry = new_trace()
    body = b'{"fn_name": "echo", "payload": "x"}'
    assert hopwise.call("POST", "/entry", parent_field(entry), body=body).status == 200
    whole = one(collector.of_trace(entry), "POST /entry")
    assert whole.attributes["faas.invoked_name"] == "echo"


def test_what_is_not_sampled_is_passed_on_as_it_came_and_sent_nowhere(
    origin: Origin, start: StartTraced, collector: Collector
) -> None:
    hopwise, quiet, loud = start(), new_trace(), new_trace()
    received = call(hopwise, origin, parent_field(quiet, "00"), "tracestate: a=1")
    assert sent_on(received) == (quiet, PARENT, "00") and received.value("tracestate") == "a=1"
    call(hopwise, origin, parent_field(loud))
    collector.of_trace(loud)
    assert quiet not in {span.trace for span in collector.spans}


@pytest.mark.parametrize(
    ("sampler", "argument", "least", "most"),
    [
        ("parentbased_traceidratio", "0.25", 20, 80),
        ("parentbased_always_off", "", 0, 0),
        ("traceidratio", "0.5", 60, 140),
        ("always_on", "", 200, 200),
    ],
)
def test_new_traces_are_sampled_as_the_variables_say(
    origin: Origin, start: StartTraced, collector: Collector,
    sampler: str, argument: str, least: int, most: int,
) -> None:  # fmt: skip
    hopwise = start(OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG=argument)
    run = new_run()
    with connect_wire(hopwise.data, STRANGER) as wire:
        for _ in range(200):
            wire.send(request("GET", ECHO, f"X-Run: {run}"))
            assert wire.response().status == 200
    got = [sent_on(received) for received in origin.by_run[run]]
    assert len({trace for trace, _, _ in got}) == 200
    sampled = {trace for trace, _, flags in got if flags == "01"}
    assert least <= len(sampled) <= most
    # Whoever comes next must know that a trace is not sampled, or would begin to sample it.
    assert {flags for _, _, flags in got} <= {"00", "01"}
    assert hopwise.stop() == 0
    assert {span.trace for span in collector.spans} == sampled


BAD = [
    "00-{}-00f067aa0ba902b7-01-more",
    "ff-{}-00f067aa0ba902b7-01",
    "00-{}-0000000000000000-01",
    "00-{}-00F067AA0BA902B7-01",
    "00-{}-00f067aa0ba902b7",
    "00_{}_00f067aa0ba902b7_01",
    "é-{}",
]


def test_an_invalid_parent_begins_another_trace(
    origin: Origin, start: StartTraced, collector: Collector
) -> None:
    hopwise = start()
    for bad in BAD:
        trace = new_trace()
        field = f"traceparent: {bad.format(trace)}"
        received = call(hopwise, origin, field, "tracestate: a=1")
        new, parent, flags = sent_on(received)
        assert new != trace and flags == "01" and received.value("tracestate") is None
        spans = collector.of_trace(new)
        assert one(spans, "POST /function/{name}").parent == ""
        assert one(spans, "upstream").id == parent
    twice = new_trace()
    received = call(hopwise, origin, parent_field(twice), parent_field(new_trace()))
    assert sent_on(received)[0] != twice
    later = new_trace()
    received = call(hopwise, origin, f"traceparent: cc-{later}-{PARENT}-01-what-may-come")
    assert sent_on(received)[0] == later


def test_a_state_is_kept_as_it_came_or_removed_if_it_makes_no_sense(
    origin: Origin, start: StartTraced
) -> None:
    hopwise = start()
    kept = call(hopwise, origin, parent_field(new_trace()), "tracestate: a=1, b@c=2", "tracestate: d=3")
    states = [value for name, value in kept.headers if name.lower() == b"tracestate"]
    assert states == [b"a=1, b@c=2", b"d=3"]
    bad = call(hopwise, origin, parent_field(new_trace()), "tracestate: no pair")
    assert bad.value("tracestate") is None


def test_without_variables_headers_pass_as_they_came(
    origin: Origin, start_hopwise: StartHopwise, collector: Collector
) -> None:
    for env in ({}, {**collector.environment(), "OTEL_SDK_DISABLED": "true"},
                {**collector.environment(), "OTEL_TRACES_EXPORTER": "none"}):  # fmt: skip
        hopwise = start_hopwise(single_node(origin.address), env=env)
        received = call(hopwise, origin, "traceparent: nonsense", "tracestate: nonsense")
        assert received.value("traceparent") == received.value("tracestate") == "nonsense"
        assert call(hopwise, origin).value("traceparent") is None
        assert hopwise.stop() == 0
    assert not collector.requests


def test_the_variables_say_who_this_is(
    origin: Origin, start: StartTraced, collector: Collector
) -> None:
    hopwise = start(
        OTEL_SERVICE_NAME="edge-proxy",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment=test,service.instance.id=mine",
        OTEL_EXPORTER_OTLP_HEADERS="x-tenant=t1",
    )
    trace = new_trace()
    call(hopwise, origin, parent_field(trace))
    span = collector.of_trace(trace)[0]
    assert (span.service, span.instance) == ("edge-proxy", "mine")
    assert span.resource["deployment.environment"] == "test"
    assert collector.requests[0]["x-tenant"] == "t1"


@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:4318", "no plain HTTP"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "write otlp"),
    ],
)
def test_what_cannot_be_had_is_told_and_nothing_else_suffers(
    origin: Origin, start: StartTraced, variable: str, value: str, part: str
) -> None:
    hopwise = start(**{variable: value})
    assert part in hopwise.output()
    assert call(hopwise, origin).value("traceparent") is None


def test_a_collector_that_is_away_or_slow_does_no_harm(
    origin: Origin, start: StartTraced, collector: Collector
) -> None:
    hopwise = start(OTEL_EXPORTER_OTLP_TIMEOUT="300", OTEL_BSP_MAX_QUEUE_SIZE="600")
    collector.delay = 30

    def burst() -> float:
        began = time.monotonic()
        with connect_wire(hopwise.data, STRANGER) as wire:
            for _ in range(20):
                wire.send(request("GET", ECHO) * 50)
                for _ in range(50):
                    assert wire.response().status == 200
        return time.monotonic() - began

    slow = burst()
    told = "the collector does not take spans"
    eventually(lambda: told in hopwise.output(), "it is told once")
    collector.delay, collector.status = 0, 503
    refused = burst()
    port = collector.server.server_port
    collector.stop()
    away = burst()
    assert hopwise.output().count(told) == 1
    assert max(slow, refused, away) < 10
    again = Collector(port)

    def arrives() -> bool:
        # As long as the queue is full of what nobody took, spans are lost.
        call(hopwise, origin, parent_field(new_trace()))
        return "takes spans again" in hopwise.output() and bool(again.spans)

    try:
        eventually(arrives, "spans come again", poll=0.1)
    finally:
        again.stop()
    began = time.monotonic()
    assert hopwise.stop() == 0
    assert time.monotonic() - began < 6


def test_the_last_spans_are_sent_at_the_end(
    origin: Origin, start: StartTraced, collector: Collector
) -> None:
    hopwise, trace = start(OTEL_BSP_SCHEDULE_DELAY="60000"), new_trace()
    call(hopwise, origin, parent_field(trace))
    assert not collector.requests
    assert hopwise.stop() == 0
    assert len(collector.of_trace(trace)) == 4


def test_a_client_that_leaves_and_an_answer_that_breaks_off_have_spans_too(
    origin: Origin, start: StartTraced, collector: Collector
) -> None:
    hopwise, left = start(), new_trace()
    with connect_wire(hopwise.data, STRANGER) as wire:
        wire.send(request("POST", "/function/sleep?seconds=5", parent_field(left), body=b"x"))
        time.sleep(0.2)
    spans = collector.of_trace(left)
    whole = one(spans, "POST /function/{name}")
    assert whole.attributes["hopwise.flags"] == "DC"
    assert "http.response.status_code" not in whole.attributes
    assert_nested(spans)

    def part(wire: Wire, received: Received) -> bool:
        read_body(wire, received)
        wire.send(answer("200 OK", body=b"all of it")[:-3])
        return False

    broken, run = new_trace(), new_run()
    origin.scripts[run] = part
    with connect_wire(hopwise.data, STRANGER) as wire:
        wire.send(request("POST", ECHO, parent_field(broken), f"X-Run: {run}", body=b"x"))
        wire.rest()
    whole = one(collector.of_trace(broken), "POST /function/{name}")
    assert whole.failed and whole.attributes["hopwise.flags"] == "UC"
