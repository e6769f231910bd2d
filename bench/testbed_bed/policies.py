"""The ways to decide that are compared, and the sidecars' configuration."""

import json

from . import balancers
from .hosts import NODES

PORT, ADMIN_PORT = 31113, 31114

#: Name here: architecture, selection, rule; name in the simulator.
HOPWISE = {
    "centralized": ("centralized", "predictive", "adaptive"),
    "federated": ("federated", "predictive", "adaptive"),
    "decentralized": ("decentralized", "predictive", "adaptive"),
    "dynamic": ("dynamic", "predictive", "adaptive"),
    "dynamic with turns": ("dynamic", "predictive", "adaptive"),
    "documented rules": ("dynamic", "weighted", "tail_ratio"),
}
#: Where each node runs as many invocations at once as it has cores, and the others wait.
TURNS = ["dynamic with turns"]
FIXED = ["centralized", "federated", "decentralized"]
SIMULATED = {
    "centralized": "centralized+predictive",
    "federated": "federated+predictive",
    "decentralized": "decentralized+predictive",
    "dynamic": "dynamic-adaptive+predictive",
    "dynamic with turns": "dynamic-adaptive+predictive+queue",
    "documented rules": "dynamic-tail_ratio+weighted",
    "clairvoyant": "clairvoyant",
}
ALL = [*HOPWISE, *balancers.NAMES]


def configuration(policy, node, compute=False):
    """As the sidecar of `node` reads it; JSON is YAML."""
    # The documented rules look at the share of CPU in use, which is that of this whole machine
    # where nothing is computed: then only the number in flight counts.
    offload = {"enabled": True} if compute else {"enabled": True, "cpu_thresh": 1.0}
    architecture, selection, rule = HOPWISE[policy]
    return json.dumps({
        "architecture": architecture,
        "selection": selection,
        "dynamic": {"rule": rule},
        "queue": {"enabled": policy in TURNS},
        "node": {"id": node.name},
        "cores": node.cores,
        "listen": {"data": f"0.0.0.0:{PORT}", "admin": f"127.0.0.1:{ADMIN_PORT}"},
        "gateway": f"127.0.0.1:{balancers.GATEWAY_PORT}",
        "topology": [
            {"id": n.name, "role": n.role, "zone": n.zone, "address": n.address,
             "port": PORT, "gateway_port": balancers.GATEWAY_PORT, "offload": offload}
            for n in NODES],
    }, indent=1)
