"""What Prometheus and its own tools make of the metrics."""

import re
from collections.abc import Callable, Iterator

import pytest

from origin import Origin
from support.hopwise import CLIENT, REPOSITORY, Hopwise, single_node
from support.prometheus import Prometheus, promtool
from support.wait import eventually
from support.wire import connect, raw_head

PROTOBUF = (
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def scraped(
    before_origin: Hopwise, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    started = Prometheus(tmp_path_factory.mktemp("prometheus"), before_origin.admin)
    yield started
    started.stop()


def test_the_rules_are_good() -> None:
    promtool("check", "rules", str(REPOSITORY / "config" / "prometheus" / "alerts.yaml"))


def test_promtool_finds_no_fault(before_origin: Hopwise) -> None:
    assert before_origin.call("POST", "/function/linted", body=b"x").status == 200
    assert before_origin.call("GET", "/function/status?code=503").status == 503
    text = before_origin.call("GET", "/metrics", admin=True).body.decode()
    assert 'faas_invoke_duration_seconds_bucket{function_name="linted",le="0.005"}' in text
    promtool("check", "metrics", text=text)


def test_each_scrape_gets_the_format_it_asks_for(before_origin: Hopwise) -> None:
    for accept, media_type in (
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        (f"{PROTOBUF}, text/plain;q=0.5", PROTOBUF),
    ):
        response = before_origin.call("GET", "/metrics", f"Accept: {accept}", admin=True)
        assert response.status == 200
        assert response.value("content-type") == media_type


def test_exemplars_name_a_trace(before_origin: Hopwise) -> None:
    def exemplar() -> str | None:
        # The first call gives the function its place; another second may have its exemplar.
        fields = (f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01",)
        assert before_origin.call("POST", "/function/traced", *fields, body=b"x").status == 200
        accept = "Accept: application/openmetrics-text"
        text = before_origin.call("GET", "/metrics", accept, admin=True).body.decode()
        found = re.search(r'function_name="traced",le="[^"]+"} \d+ # ({[^}]*}) ', text)
        return found and found[1]

    found = eventually(exemplar, "an exemplar")
    assert found == f'{{trace_id="{TRACE}"}}'


def test_native_histograms_arrive(before_origin: Hopwise, scraped: Prometheus) -> None:
    """Half of the calls take 0.1 s and half 0.15 s, which no classic buckets can tell apart."""
    scraped.eventually("up == 1")
    for _ in range(10):
        for seconds in ("0.1", "0.15"):
            target = f"/function/sleep?seconds={seconds}"
            assert before_origin.call("GET", target).status == 200
    of_sleep = '{function_name="sleep"}'
    scraped.eventually(f"histogram_count(faas_invoke_duration_seconds{of_sleep}) >= 20")

    def quantile(q: float) -> float:
        found = scraped.query(f"histogram_quantile({q}, faas_invoke_duration_seconds{of_sleep})")
        return float(found[0]["value"][1])

    # A bucket is 9 % wide, and calls may take longer than they sleep, but never less.
    assert quantile(0.25) >= 0.1 / 1.1
    assert quantile(0.95) >= 0.15 / 1.1
    assert quantile(0.95) > quantile(0.25)
    # The alias has classic buckets, whatever Prometheus prefers.
    (count,) = scraped.query(f"gateway_functions_seconds_count{of_sleep}")
    assert float(count["value"][1]) >= 20
    assert scraped.query('gateway_functions_seconds_bucket{function_name="sleep",le="0.25"}')
    assert not scraped.query(f"faas_invoke_duration_seconds_bucket{of_sleep}")


def test_names_are_bounded(origin: Origin, start_hopwise: Callable[..., Hopwise]) -> None:
    config = single_node(origin.address, limits={"metric_names": 3})
    proxy = start_hopwise(config)
    for i in range(300):
        assert proxy.call("GET", "/function/status?code=404", f"X-Nothing: {i}").status == 404
        assert proxy.call("POST", f"/function/name-{i}", body=b"x").status == 200
    text = proxy.call("GET", "/metrics", admin=True).body.decode()
    names = set(re.findall(r'function_name="([^"]+)"', text))
    assert names == {"name-0", "name-1", "name-2", "_other"}
    assert 'faas_invocations_total{function_name="_other"} 597' in text
    assert 'gateway_function_invocation_total{function_name="_other",code="404"} 300' in text
    assert proxy.metrics()["faas_invocations_total"] == 600


def test_the_caller_who_goes_away_is_counted(before_origin: Hopwise) -> None:
    assert before_origin.call("GET", "/function/sleep?seconds=0").status == 200
    gone = 'gateway_function_invocation_total{function_name="sleep",code="499"}'
    before = before_origin.metrics().get(gone, 0)
    with connect(before_origin.data, CLIENT) as wire:
        wire.send(raw_head("GET", "/function/sleep?seconds=5"))
        in_flight = 'hopwise_function_in_flight{function_name="sleep"}'
        eventually(lambda: before_origin.metrics()[in_flight] == 1, "one in flight")
    eventually(lambda: before_origin.metrics().get(gone, 0) == before + 1, "counted as 499")
