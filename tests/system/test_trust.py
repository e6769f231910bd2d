"""Who is taken for whom: certificates, signatures, and everything a stranger may try."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from origin import Origin
from support import certificates
from support.certificates import Authority, Certificate
from support.cluster import IDS, Cluster
from support.command import hopwise
from support.exchange import new_run
from support.hopwise import CLIENT, Hopwise, resident_bytes, single_node
from support.wait import eventually
from support.wire import Closed, Response, connect, request

MakeCluster = Callable[..., Cluster]
StartHopwise = Callable[..., Hopwise]

# What edge2 says of an invocation that it hands to edge1. Honoured, it would be hop 2 of 2 at once.
CLAIMS = ("hopwise-call: hop=1, stage=execute, via=edge2",)
PEER_PROTOCOL = ("hopwise/2",)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def issued(authority: Authority) -> dict[str, Certificate]:
    return {id: authority.issue(id) for id in IDS}


def own_certificates(issued: dict[str, Certificate]) -> dict[str, Any]:
    return {id: {"peers": {"tls": issued[id].section()}} for id in issued}


@pytest.fixture(scope="module")
def mutual(
    tmp_path_factory: pytest.TempPathFactory, issued: dict[str, Certificate]
) -> Iterator[Cluster]:
    """Five nodes that know each other by certificate."""
    directory = tmp_path_factory.mktemp("mutual") / "cluster"
    started = Cluster(directory, architecture="centralized", own=own_certificates(issued))
    yield started
    started.stop()


def honoured(cluster: Cluster, run: str) -> bool:
    """Whether an invocation began with internal headers of a caller, or was answered as to a peer."""
    return any(
        name.lower().startswith((b"hopwise-", b"hopwise_"))
        for _, received in cluster.started(run)
        for name, _ in received.headers
    )


def assert_not_honoured(response: Response, cluster: Cluster, run: str) -> None:
    assert not [n for n, _ in response.headers if n.lower() == b"hopwise-report"], response.headers
    assert not honoured(cluster, run)


def test_sidecars_work_together_by_certificate(mutual: Cluster) -> None:
    before = mutual.nodes["cloud"].metrics()["hopwise_connections_accepted_total"]
    for _ in range(20):
        response = mutual.call("edge2", "/function/echo")
        assert response.status == 200
        assert response.value("hopwise-architecture") == "centralized"
    metrics = mutual.nodes["cloud"].metrics()
    assert metrics["hopwise_tls_handshake_failures_total"] == 0
    assert metrics["hopwise_peer_rejections_total"] == 0
    accepted = metrics["hopwise_connections_accepted_total"] - before
    assert 1 <= accepted <= 6, "connections are kept"
    assert mutual.nodes["edge2"].metrics().get("hopwise_fallbacks_total", 0) == 0


def test_large_bodies_pass_between_sidecars(mutual: Cluster) -> None:
    body = bytes(range(256)) * 1024
    run = new_run()
    assert mutual.call("edge4", "/function/echo", f"X-Run: {run}", body=body).status == 200
    ((_, received),) = mutual.started(run)
    assert received.body == body


def test_plain_callers_are_strangers_where_there_are_certificates(mutual: Cluster) -> None:
    """Not even a node's address helps, nor a signature."""
    run = new_run()
    for more in ((), ("hopwise-signature: " + "0" * 32,)):
        response = mutual.call(
            "edge1", "/function/echo", *CLAIMS, *more, f"X-Run: {run}", source="127.0.0.3"
        )
        assert response.status == 200
        assert not honoured(mutual, run)
        assert response.value("hopwise-hop") != "1" or response.value("hopwise-node") != "edge1"
    assert mutual.nodes["edge1"].metrics()["hopwise_stripped_requests_total"] >= 2


def forge(
    cluster: Cluster, context: ssl.SSLContext, run: str, *claims: str, name: str = "edge1"
) -> Response:
    fields = (*claims, f"X-Run: {run}")
    address = cluster.nodes["edge1"].data
    return certificates.fetch(
        address, context, name, "POST", "/function/echo", *fields, body=b"x", source=CLIENT
    )


def test_a_node_may_speak_for_itself_alone(
    mutual: Cluster, authority: Authority, issued: dict[str, Certificate]
) -> None:
    for protocols in (PEER_PROTOCOL, ("http/1.1",)):
        run = new_run()
        context = authority.context(issued["edge2"], protocols)
        response = forge(mutual, context, run, *CLAIMS)
        assert response.status == 200
        assert (response.value("hopwise-report") or "").startswith("node=edge1, hop=1, ")
        for other in ("edge3", "edge1"):
            run = new_run()
            response = forge(mutual, authority.context(issued[other], protocols), run, *CLAIMS)
            assert response.status == 403 and b"peer_rejected" in response.body
            assert response.value("connection") == "close"
            assert not mutual.started(run)


def test_a_certificate_of_no_node_is_a_strangers(mutual: Cluster, authority: Authority) -> None:
    for id in ("edge9", "*.edge2", "EDGE2"):
        run = new_run()
        guest = authority.issue(id, file=f"guest-{ord(id[0])}")
        response = forge(mutual, authority.context(guest), run, *CLAIMS)
        assert response.status == 200
        assert_not_honoured(response, mutual, run)


@pytest.mark.parametrize("kind", ["none", "another CA", "expired", "self-signed"])
def test_no_handshake_without_a_good_certificate(
    kind: str, mutual: Cluster, authority: Authority, tmp_path: Path
) -> None:
    shown = None
    if kind == "another CA":
        shown = Authority(tmp_path, "another").issue("edge2")
    elif kind == "expired":
        shown = authority.issue("edge2", days=-1, file="expired")
    elif kind == "self-signed":
        itself = Authority(tmp_path, "itself")
        shown = Certificate(itself.ca, itself.ca_key, itself.ca)
    run = new_run()
    before = mutual.nodes["edge1"].metrics()["hopwise_tls_handshake_failures_total"]
    with pytest.raises((ssl.SSLError, Closed, ConnectionError)):
        forge(mutual, authority.context(shown), run, *CLAIMS)
    assert not mutual.started(run)

    def counted() -> bool:
        now = mutual.nodes["edge1"].metrics()["hopwise_tls_handshake_failures_total"]
        return now == before + 1

    eventually(counted, "the failure is counted")


def test_a_sidecar_sends_nothing_to_another_node(
    make_cluster: MakeCluster, authority: Authority, issued: dict[str, Certificate], tmp_path: Path
) -> None:
    """The cloud's address answers with the certificate of edge3: nobody hands it an invocation."""
    own = own_certificates(issued)
    cluster = make_cluster(architecture="centralized", own=own)
    assert cluster.call("edge2", "/function/echo").value("hopwise-architecture") == "centralized"
    cluster.nodes["cloud"].stop()
    imposter = cluster.config("cloud")
    imposter["node"] = {"id": "edge3"}
    cloud = imposter["topology"][0]
    imposter["topology"] = [{**cloud, "id": "edge3", "role": "edge-controller"}]
    imposter["peers"] = {"tls": issued["edge3"].section()}
    cluster.nodes["cloud"].write(imposter)
    cluster.nodes["cloud"].start()
    for _ in range(5):
        response = cluster.call("edge2", "/function/echo")
        assert response.status == 200
        assert response.value("hopwise-architecture") != "centralized"
    metrics = cluster.nodes["cloud"].metrics()
    assert metrics["hopwise_connections_accepted_total"] >= 1
    assert metrics.get("hopwise_decisions_total", 0) == 0


def test_certificates_are_replaced_without_losing_a_call(
    make_cluster: MakeCluster, authority: Authority, tmp_path: Path
) -> None:
    """First edge2's certificate, then the CA of all; bad files change nothing."""
    issued = {id: authority.issue(id, file=f"mine-{id}") for id in IDS}
    cluster = make_cluster(architecture="centralized", own=own_certificates(issued))
    node = cluster.nodes["edge2"]

    def call() -> None:
        response = cluster.call("edge2", "/function/echo")
        assert response.status == 200
        assert response.value("hopwise-architecture") == "centralized"

    def generation() -> int:
        return int(node.json("GET", "/configuration")["generation"])

    with connect(node.data, CLIENT) as kept:
        kept.send(request("GET", "/function/echo"))
        assert kept.response().status == 200
        # A key that does not go with its certificate.
        key = issued["edge2"].key
        good = key.read_bytes()
        key.write_bytes(issued["edge3"].key.read_bytes())
        eventually(
            lambda: node.metrics()["hopwise_config_last_reload_successful"] == 0,
            "the bad key is noticed",
        )
        assert "peers.tls.key_file" in node.output()
        assert generation() == 1
        call()
        key.write_bytes(good)
        issued["edge2"].replace_by(authority.issue("edge2", file="new"))
        eventually(lambda: generation() == 2, "the new certificate is followed")
        node.reload_by_signal()
        eventually(lambda: generation() == 3, "SIGHUP reads it again")
        call()
        kept.send(request("GET", "/function/echo"))
        assert kept.response().status == 200, "the connection has been kept"
    assert cluster.nodes["cloud"].metrics()["hopwise_tls_handshake_failures_total"] == 0


def test_a_connection_ends_with_the_trust_in_its_certificate(
    start_hopwise: StartHopwise, origin: Origin, authority: Authority, tmp_path: Path
) -> None:
    own = authority.issue("edge1", file="trusting")
    config = single_node(origin.address, peers={"tls": own.section()})
    config["topology"].append(
        {"id": "edge2", "role": "worker", "zone": "edge-A", "address": "192.0.2.2"}
    )
    proxy = start_hopwise(config)
    context = authority.context(authority.issue("edge2", file="trusted"), PEER_PROTOCOL)
    asked = request("POST", "/function/echo", *CLAIMS, body=b"x")
    with certificates.connect(proxy.data, context, "edge1", CLIENT) as wire:
        wire.send(asked)
        assert (wire.response().value("hopwise-report") or "").startswith("node=edge1, ")
        another = Authority(tmp_path, "next")
        config["peers"] = {"tls": another.issue("edge1").section()}
        proxy.write(config)
        assert proxy.json("POST", "/reload")["generation"] == 2
        wire.send(asked)
        assert wire.response().status == 403
        assert wire.is_closed_by_peer()


@pytest.fixture(scope="module")
def encrypted(
    tmp_path_factory: pytest.TempPathFactory, origin: Origin, authority: Authority
) -> Iterator[Hopwise]:
    """TLS for clients and for operators, beside plain HTTP."""
    issued = authority.issue("gateway.example")
    public = {key: issued.section()[key] for key in ("certificate_file", "key_file")}
    config = single_node(origin.address)
    config["listen"]["tls"] = public
    config["peers"] = {"tls": authority.issue("edge1", file="beside").section()}
    config["admin"] = {"tls": issued.section()}
    started = Hopwise(config, tmp_path_factory.mktemp("encrypted"))
    yield started
    started.stop()


def test_clients_call_by_tls_and_plain_on_one_port(
    encrypted: Hopwise, origin: Origin, authority: Authority
) -> None:
    context = authority.context()
    for scheme in ("https", "http", "https"):
        run = new_run()
        if scheme == "https":
            response = certificates.fetch(
                encrypted.data, context, "gateway.example", "GET", "/function/echo",
                f"X-Run: {run}", source=CLIENT,
            )  # fmt: skip
        else:
            response = encrypted.call("GET", "/function/echo", f"X-Run: {run}")
        assert response.status == 200
        assert origin.seen(run).value("x-forwarded-proto") == scheme


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_clients_choose_their_protocol(
    protocol: str, encrypted: Hopwise, authority: Authority
) -> None:
    context = authority.context(protocols=(protocol,))
    with certificates.connect(encrypted.data, context, "gateway.example", CLIENT) as wire:
        assert isinstance(wire.sock, ssl.SSLSocket)
        assert wire.sock.selected_alpn_protocol() == protocol
        if protocol == "h2":
            wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
            assert wire.exactly(9)[3] == 4, "the server's settings"


def test_peers_are_answered_by_the_certificate_for_peers(
    encrypted: Hopwise, authority: Authority
) -> None:
    shown = authority.issue("edge1", file="itself")
    context = authority.context(shown, PEER_PROTOCOL)
    with certificates.connect(encrypted.data, context, "edge1", CLIENT) as wire:
        assert isinstance(wire.sock, ssl.SSLSocket)
        assert wire.sock.selected_alpn_protocol() == PEER_PROTOCOL[0]
    with pytest.raises(ssl.SSLCertVerificationError):
        certificates.connect(encrypted.data, authority.context(), "edge1", CLIENT)


def test_half_a_handshake_holds_nothing_for_ever(
    start_hopwise: StartHopwise, origin: Origin, authority: Authority
) -> None:
    issued = authority.issue("gateway.example", file="half")
    config = single_node(origin.address, timeouts={"request_header_ms": 300})
    config["listen"]["tls"] = {
        key: issued.section()[key] for key in ("certificate_file", "key_file")
    }
    proxy = start_hopwise(config)
    before = resident_bytes(proxy.process.pid)
    for first in (b"\x16", b"\x16\x03\x01\x40\x00" + b"\x01" * 100, b"\x16" * 300):
        with connect(proxy.data, CLIENT) as wire:
            wire.send(first)
            eventually(wire.is_closed_or_alerted, "the connection is closed", timeout=10)
    assert resident_bytes(proxy.process.pid) < before + (8 << 20)


def test_operators_are_known_by_certificate(
    encrypted: Hopwise, authority: Authority, tmp_path: Path
) -> None:
    operator = authority.issue("operator.example")
    response = certificates.fetch(
        encrypted.admin, authority.context(operator), "gateway.example", "GET", "/configuration"
    )
    assert response.status == 200
    assert b"PRIVATE" not in response.body and b".key" not in response.body
    stranger = Authority(tmp_path, "stranger").issue("operator.example")
    for shown in (None, stranger):
        with pytest.raises((ssl.SSLError, Closed, ConnectionError)):
            certificates.fetch(
                encrypted.admin, authority.context(shown), "gateway.example", "GET", "/ready"
            )


def test_the_command_line_speaks_tls(
    encrypted: Hopwise, authority: Authority, tmp_path: Path
) -> None:
    operator = authority.issue("operator.example", file="command-line")
    files = {
        "HOPWISE_CA_FILE": str(operator.ca),
        "HOPWISE_CERTIFICATE_FILE": str(operator.certificate),
        "HOPWISE_KEY_FILE": str(operator.key),
        "HOPWISE_SERVER_NAME": "gateway.example",
    }
    admin, data = ("https://%s:%d" % address for address in (encrypted.admin, encrypted.data))
    assert hopwise("mode", "--admin", admin, **files) == "decentralized\n"
    assert "edge1" in hopwise("explain", "echo", "--at", data, **files)
    for changes, said in [
        ({"HOPWISE_CA_FILE": ""}, "--ca-file"),
        ({"HOPWISE_CA_FILE": str(operator.key)}, "holds no certificate"),
        ({"HOPWISE_CA_FILE": str(Authority(tmp_path, "other").ca)}, "invalid peer certificate"),
        ({"HOPWISE_SERVER_NAME": "elsewhere.example"}, "not valid for name"),
        ({"HOPWISE_CERTIFICATE_FILE": str(tmp_path / "none")}, "--certificate-file"),
    ]:
        given = {name: value for name, value in {**files, **changes}.items() if value}
        assert said in hopwise("mode", "--admin", admin, code=None, **given)
    for names, said, code in [
        (("CERTIFICATE_FILE", "KEY_FILE"), "--certificate-file and --key-file", 4),
        (("SERVER_NAME",), "give the name it has by --server-name", 3),
    ]:
        given = {name: file for name, file in files.items() if name[len("HOPWISE_") :] not in names}
        told = hopwise("mode", "--admin", admin, code=code, **given)
        assert said in told and "nobody" not in told
    # A token would be shown to whoever answers.
    plain = admin.removeprefix("https://")
    assert f"write {admin}" in hopwise("mode", "--admin", plain, code=None, **files)
