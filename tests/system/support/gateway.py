"""A real gateway as in the reference deployment: nginx before a function runtime."""

import os
import sys
import threading
from pathlib import Path

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from support.process import Process
from support.wait import accepts, eventually, free_port

FUNCTIONS = Path(__file__).resolve().parent.parent / "functions" / "main.py"

NGINX_CONFIG = """
{user}
worker_processes 2;
daemon off;
pid {prefix}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {prefix}/body;
    proxy_temp_path {prefix}/proxy;
    fastcgi_temp_path {prefix}/fastcgi;
    uwsgi_temp_path {prefix}/uwsgi;
    scgi_temp_path {prefix}/scgi;
    client_max_body_size 0;
    merge_slashes off;
    ignore_invalid_headers off;
    underscores_in_headers on;
    large_client_header_buffers 8 32k;
    keepalive_requests 1000000;
    map $http_x_call_id $call_id {{ default $http_x_call_id; "" $request_id; }}
    upstream runtime {{ server 127.0.0.1:{runtime}; }}
    upstream websocket {{ server 127.0.0.1:{websocket}; }}
    proxy_http_version 1.1;
    proxy_buffering off;
    proxy_request_buffering off;
    proxy_read_timeout 300s;
    server {{
        listen {host}:{port};
        location /function/ {{
            proxy_set_header Host $http_host;
            proxy_set_header Connection "";
            proxy_set_header X-Call-Id $call_id;
            add_header X-Call-Id $call_id always;
            add_header X-Duration-Seconds $request_time always;
            add_header X-Start-Time $msec always;
            proxy_pass http://runtime;
        }}
        location /async-function/ {{
            proxy_set_header Host $http_host;
            proxy_set_header Connection "";
            add_header X-Call-Id $call_id always;
            proxy_pass http://runtime;
        }}
        location /system/ {{ proxy_set_header Host $http_host; proxy_pass http://runtime; }}
        location = /healthz {{ return 200 "OK\\n"; }}
        location /ui/ {{
            default_type text/html;
            return 200 "<!doctype html><title>Gateway</title><h1>Gateway</h1>\\n";
        }}
        location = /metrics {{ return 200 "gateway_up 1\\n"; }}
        location /ws {{
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_pass http://websocket;
        }}
    }}
}}
"""


def echo_messages(connection: ServerConnection) -> None:
    try:
        for message in connection:
            connection.send(message)
    except ConnectionClosed:
        pass


class WebSocketEcho:
    """Sends every message back."""

    def __init__(self) -> None:
        self.port = free_port()
        self.server: Server = serve(echo_messages, "127.0.0.1", self.port)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()


class Gateway:
    """nginx -> functions-framework, and a WebSocket echo at /ws."""

    def __init__(self, directory: Path, host: str = "127.0.0.1", preferred: int = 31112) -> None:
        self.host = host
        self.port = free_port(host, preferred)
        self.runtime_port = free_port()
        self.websocket = WebSocketEcho()
        self.runtime = Process(
            "functions",
            [
                str(Path(sys.executable).with_name("functions-framework")),
                *("--source", str(FUNCTIONS), "--target", "main"),
                *("--host", "127.0.0.1", "--port", str(self.runtime_port)),
            ],
            directory,
            env={"THREADS": "32", "WORKERS": "1"},
        )
        config = directory / "nginx.conf"
        config.write_text(
            NGINX_CONFIG.format(
                user="user root;" if os.geteuid() == 0 else "",
                prefix=directory,
                runtime=self.runtime_port,
                websocket=self.websocket.port,
                host=host,
                port=self.port,
            )
        )
        self.nginx = Process(
            "nginx", ["nginx", "-p", str(directory), "-c", str(config), "-e", "stderr"], directory
        )
        try:
            for process, port in ((self.runtime, self.runtime_port), (self.nginx, self.port)):
                eventually(lambda port=port: accepts(host, port), f"{process.name} listens", 30)
        except AssertionError:
            self.stop()
            raise AssertionError(self.nginx.output() + self.runtime.output()) from None

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    def stop(self) -> None:
        self.nginx.stop()
        self.runtime.stop()
        self.websocket.stop()
