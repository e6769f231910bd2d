"""The proxies: one worker each, connections kept alive on both sides, no access log."""

from dataclasses import dataclass

from .processes import Process

GATEWAY_PORT = 28112
FAR_PORT = 28140
# Clients must not come from the address of a node, or they would count as that node.
HERE = "127.0.0.9"

NGINX = """
worker_processes 1; daemon off; pid {directory}/pid; error_log {directory}/error.log;
worker_rlimit_nofile 20000;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; tcp_nodelay on;
  client_body_temp_path {directory}/b; proxy_temp_path {directory}/p;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  client_body_buffer_size 128k; client_max_body_size 16m;
  upstream gateway {{
    server 127.0.0.1:{gateway}; keepalive 256; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://gateway; proxy_http_version 1.1;
      proxy_request_buffering off; proxy_buffers 16 16k; proxy_max_temp_file_size 0;
      proxy_read_timeout 300s;
      proxy_set_header Connection ""; proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Proto http; }} }}
}}
"""

HAPROXY = """
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 1s
  timeout client 75s
  timeout server 300s
  timeout http-keep-alive 75s
frontend clients
  bind 127.0.0.1:{port} backlog 4096
  option forwardfor
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Proto http
  default_backend gateway
backend gateway
  http-reuse always
  server gateway 127.0.0.1:{gateway} pool-purge-delay 55s pool-max-conn 256
"""

# Without request ids and headers of its own, as the others make none.
ENVOY = """
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    tcp_backlog_size: 4096
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: clients
          codec_type: HTTP1
          use_remote_address: true
          generate_request_id: false
          common_http_protocol_options: {{ idle_timeout: 75s }}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{ prefix: "/" }}
                route: {{ cluster: gateway, timeout: 300s }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              suppress_envoy_headers: true
  clusters:
  - name: gateway
    type: STATIC
    connect_timeout: 1s
    circuit_breakers: {{ thresholds: [ {{ max_connections: 8192, max_pending_requests: 8192, max_requests: 8192 }} ] }}
    load_assignment:
      cluster_name: gateway
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {gateway} }} }} }}
"""

HOPWISE = """
architecture: {architecture}
node: {{ id: {node} }}
hop_limit: {hop_limit}
workers: {workers}
header_case: {header_case}
gateway: "127.0.0.1:{gateway}"
listen: {{ data: "0.0.0.0:{port}", admin: "127.0.0.1:{admin}"{tls} }}
timeouts: {{ keep_alive_ms: 75000 }}
{peers}
{more}
topology:
{topology}
"""


@dataclass(frozen=True)
class Sidecar:
    """What sets one hopwise apart from another."""

    nodes: int = 5
    workers: int = 1
    node: str = "here"
    architecture: str = "dynamic"
    hop_limit: int = 2
    topology: str = ""
    key_file: str = ""
    tls: str = ""
    header_case: str = "preserve"
    gateway: int = GATEWAY_PORT
    more: str = ""
    environment: tuple = ()
    program: str = "hopwise"

    def config(self, port, directory):
        return HOPWISE.format(
            architecture=self.architecture, node=self.node, hop_limit=self.hop_limit,
            workers=self.workers, header_case=self.header_case,
            gateway=self.gateway, port=port, admin=port + 500,
            tls=f", tls: {self.tls}" if self.tls else "",
            peers=f"peers: {{ key_file: {self.key_file} }}" if self.key_file else "",
            more=self.more.format(directory=directory),
            topology=self.topology or topology_of(self.nodes, port))


def node_line(name, role, zone, address, port):
    return (f"  - {{ id: {name}, role: {role}, zone: {zone}, address: {address}, port: {port}, "
            "offload: { enabled: true } }")


def topology_of(nodes, port):
    """This node, which decides for all and may offload, and others in zones of ten, all far away."""
    lines = [node_line("here", "cloud-controller", "zone0", HERE, port)]
    for number in range(1, nodes):
        role = "edge-controller" if number % 10 == 0 else "worker"
        zone = f"zone{number // 10}"
        lines.append(node_line(f"far{number}", role, zone, f"127.0.1.{number}", FAR_PORT))
    return "\n".join(lines)


class Proxies:
    """Starts proxies by name."""

    def __init__(self, programs, scratch):
        self.programs, self.scratch = programs, scratch
        self.next_port = 28200
        self.running = []

    def start(self, name, cpus, sidecar=None, wrapped=()):
        """`name` may carry a suffix after a colon, which tells processes of one kind apart."""
        kind, port = name.split(":")[0].split("-")[0], self.next_port
        self.next_port += 1
        directory = self.scratch / f"{name.replace(':', '-')}-{port}"
        directory.mkdir()
        if kind == "hopwise":
            command = self.hopwise(directory, port, sidecar or SIDECARS[name.split(":")[0]])
        else:
            command = getattr(self, kind)(directory, port)
        if kind == "nginx" and wrapped:
            # Its worker gives up the right to write what was counted.
            command += ["-g", "master_process off;"]
        process = Process(name, [*wrapped, *command], cpus, directory / "log", port)
        self.running.append(process)
        return process.wait_ready(60 if wrapped else 20)

    def stop(self, process):
        process.stop()
        self.running.remove(process)

    def stop_all(self):
        for process in list(self.running):
            self.stop(process)

    def written(self, directory, name, text, port):
        path = directory / name
        path.write_text(text.format(directory=directory, port=port, gateway=GATEWAY_PORT))
        return path

    def nginx(self, directory, port):
        path = self.written(directory, "nginx.conf", NGINX, port)
        return ["nginx", "-p", directory, "-c", path]

    def haproxy(self, directory, port):
        return ["haproxy", "-db", "-q", "-f", self.written(directory, "haproxy.cfg", HAPROXY, port)]

    def envoy(self, directory, port):
        path = self.written(directory, "envoy.yaml", ENVOY, port)
        return [self.programs["envoy"], "-c", path, "--concurrency", "1", "--disable-hot-restart",
                "-l", "error"]

    def floor(self, directory, port):
        more = [] if directory.name.startswith("floor-proper") else ["--preserve-header-case"]
        return [self.programs["floor"], "--listen", f"127.0.0.1:{port}",
                "--gateway", f"127.0.0.1:{GATEWAY_PORT}", *more]

    def hopwise(self, directory, port, sidecar):
        path = directory / "hopwise.yaml"
        path.write_text(sidecar.config(port, directory))
        command = [self.programs[sidecar.program], "run", "--config", path]
        return ["env", *sidecar.environment, *command] if sidecar.environment else command


# What can be left out, and what can be added: every request logged, a hundredth of them traced.
OFF = """
limits: {{ metric_names: 0, decisions: 0 }}
health: {{ probes: false, lines: 0 }}
"""
LOG = "access_log: {{ format: json, path: '{directory}/access.log' }}\n"
TURNS = """
queue: {{ enabled: true, running: 4096 }}
hedge: {{ enabled: true }}
functions: {{ echo: {{ idempotent: true }} }}
"""
# The gateway takes spans as it takes anything.
TRACES = (f"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:{GATEWAY_PORT}",
          "OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.01")

SIDECARS = {"hopwise": Sidecar(), "hopwise-41": Sidecar(nodes=41),
            "hopwise-proper": Sidecar(header_case="proper"),
            "hopwise-plain": Sidecar(program="plain"),
            "hopwise-off": Sidecar(architecture="decentralized", more=OFF),
            "hopwise-log": Sidecar(more=LOG),
            "hopwise-traces": Sidecar(environment=TRACES),
            "hopwise-traced": Sidecar(environment=TRACES[:1]),
            "hopwise-told": Sidecar(more=LOG, environment=TRACES),
            "hopwise-on": Sidecar(more=LOG + TURNS, environment=TRACES)}
