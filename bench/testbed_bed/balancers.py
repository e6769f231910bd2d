"""What hopwise is compared with: balancers at the entry, before the same five gateways.

nginx and HAProxy are told how many cores a node has, as weights. Envoy is not: with unequal weights
its least request is a weighted round robin, no more the better of two.
"""

from peers_report import tools

from .hosts import NODES

PORT = 31180
GATEWAY_PORT = 31112

NGINX = """
worker_processes 1; daemon off; pid {directory}/pid; error_log {directory}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; tcp_nodelay on;
  client_body_temp_path {directory}/b; proxy_temp_path {directory}/p;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  upstream gateways {{ {method};
    {servers}
    keepalive 256; keepalive_requests 1000000000; }}
  server {{ listen {port};
    location / {{ proxy_pass http://gateways; proxy_http_version 1.1; proxy_connect_timeout 1s;
      proxy_set_header Connection ""; proxy_set_header Host $http_host; }} }}
}}
"""

HAPROXY = """
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 1s
  timeout client 75s
  timeout server 300s
  option redispatch
frontend clients
  bind 0.0.0.0:{port}
  default_backend gateways
backend gateways
  balance leastconn
  http-reuse always
  option httpchk GET /healthz
  {servers}
"""

ENVOY = """
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 0.0.0.0, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: clients
          codec_type: HTTP1
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{ prefix: "/" }}
                route: {{ cluster: gateways, timeout: 300s, retry_policy: {{ retry_on: connect-failure, num_retries: 2 }} }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  clusters:
  - name: gateways
    type: STATIC
    connect_timeout: 1s
    lb_policy: LEAST_REQUEST
    load_assignment:
      cluster_name: gateways
      endpoints:
      - lb_endpoints:
        {servers}
"""

NGINX_METHODS = {"nginx least_conn": "least_conn", "nginx random two": "random two least_conn"}
NAMES = [*NGINX_METHODS, "haproxy leastconn", "envoy least_request"]


def _each(form, between):
    return between.join(
        form.format(name=n.name, address=n.address, port=GATEWAY_PORT, cores=n.cores)
        for n in NODES)


def command(name, directory, programs):
    """Writes the configuration, and says how to start it."""
    directory.mkdir(parents=True, exist_ok=True)
    kind = name.split()[0]
    path = directory / f"{kind}.conf"
    if kind == "nginx":
        servers = _each("server {address}:{port} weight={cores};", "\n    ")
        path.write_text(NGINX.format(directory=directory, port=PORT, servers=servers,
                                     method=NGINX_METHODS[name]))
        return ["nginx", "-p", directory, "-c", path]
    if kind == "haproxy":
        servers = _each("server {name} {address}:{port} weight {cores} check inter 1s", "\n  ")
        path.write_text(HAPROXY.format(port=PORT, servers=servers))
        return ["haproxy", "-db", "-q", "-f", path]
    servers = _each("- endpoint: {{ address: {{ socket_address: "
                    "{{ address: {address}, port_value: {port} }} }} }}", "\n        ")
    path = path.with_suffix(".yaml")
    path.write_text(ENVOY.format(port=PORT, servers=servers))
    return [programs["envoy"], "-c", path, "--concurrency", "1", "--disable-hot-restart",
            "-l", "error"]


def install(names, root):
    """Where Envoy is, and versions of all."""
    kinds = sorted({name.split()[0] for name in names})
    tools.install([kind for kind in kinds if kind != "envoy"])
    programs = {"envoy": tools.envoy(root / "target/peers")} if "envoy" in kinds else {}
    return programs, tools.versions(kinds, programs)
