"""A gateway that restarts under load: connections kept to it are closed at any time."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from support.hopwise import Hopwise, single_node
from support.process import Process
from support.wait import accepts, eventually, free_port
from test_lifecycle import under_load

# A reload replaces nginx's workers: the old ones close their idle connections at once, also those
# on which a request is just arriving.
NGINX = """
{user}
worker_processes 2; daemon off; pid {prefix}/nginx.pid; error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 1000000;
    client_body_temp_path {prefix}/b; proxy_temp_path {prefix}/p; fastcgi_temp_path {prefix}/f;
    uwsgi_temp_path {prefix}/u; scgi_temp_path {prefix}/s;
    server {{ listen 127.0.0.1:{port}; location / {{ return 200 "ran"; }} }}
}}
"""
RESTARTS = 30


def test_no_request_is_lost_when_the_gateway_closes_its_connections(
    tmp_path: Path, start_hopwise: Callable[..., Hopwise]
) -> None:
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    config = tmp_path / "nginx.conf"
    config.write_text(NGINX.format(prefix=tmp_path, port=port, user=user))
    command = ["nginx", "-p", str(tmp_path), "-c", str(config), "-e", "stderr"]
    nginx = Process("nginx", command, tmp_path)
    try:
        eventually(lambda: accepts("127.0.0.1", port), "nginx listens")
        proxy = start_hopwise(single_node(("127.0.0.1", port)))
        with under_load(proxy) as seen:
            for _ in range(RESTARTS):
                answered = seen.answered
                connects = proxy.metrics()["hopwise_upstream_connects_total"]
                nginx.signal(signal.SIGHUP)
                eventually(
                    lambda connects=connects: proxy.metrics()["hopwise_upstream_connects_total"]
                    > connects,
                    "connections that were kept are gone",
                )
                eventually(lambda answered=answered: seen.answered > answered + 50, "load goes on")
    finally:
        nginx.stop()
    assert seen.failed == []
    assert seen.answered > RESTARTS * 50
