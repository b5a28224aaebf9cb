"""Makes configs/sidecar-{out,in}.yaml: what `leno control` sends to an Envoy beside each of two workloads.

  PYTHONPATH=bench python3 -m meshbench.envoy_sidecar target/release/leno     (pip install grpcio pyyaml)

Asks over ADS as Envoy would, has Envoy turn the answer into text (/config_dump), and changes only what a mesh
around it would bring: listeners have ports of their own instead of an original destination, endpoints and routes are
in place instead of discovered, keys and certificates come from files.
"""

import json
import os
import queue
import re
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

# Programs are started beside it.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
import grpc
import yaml

from . import machine
from .processes import Failed, Processes, free_port, wait_for_port
from .proxies import CONFIGS

TYPE = "type.googleapis.com/"
LISTENER = f"{TYPE}envoy.config.listener.v3.Listener"
ROUTES = f"{TYPE}envoy.config.route.v3.RouteConfiguration"
CLUSTER = f"{TYPE}envoy.config.cluster.v3.Cluster"
ENDPOINTS = f"{TYPE}envoy.config.endpoint.v3.ClusterLoadAssignment"
MANAGER = f"{TYPE}envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = f"{TYPE}envoy.extensions.filters.http.router.v3.Router"
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
PORT = 8080
# Clusters that discovery names.
SERVERS = ("control-plane", "sds-grpc")


def main():
    leno = sys.argv[1]
    machine.enter_own_network()
    with tempfile.TemporaryDirectory() as directory, Processes() as processes:
        port = control_plane(processes, leno, directory)
        near = Ads(port, "127.0.0.1", "client", labels(app="client"))
        behind = labels(app="backend", version="v1")
        standing = Ads(port, "127.0.0.2", "backend-v1", behind)
        # An Envoy that says which ports its workload has: leno control does not gather them from services yet.
        far = Ads(port, "127.0.0.3", "backend-v1-inbound", behind + entry("LENO", ports(PORT)))
        received = [far.ask_until(CLUSTER, f"inbound|{PORT}||"), far.ask(LISTENER)]
        names = [f"outbound|{PORT}|{subset}|backend.default.svc.cluster.local" for subset in ("", "v1", "v2")]
        sent = [near.ask(CLUSTER), near.ask(LISTENER), near.ask(ROUTES, [str(PORT)])]
        sent.append(near.ask_until(ENDPOINTS, "127.0.0.2", names))
        # Its stream held the endpoint up to here.
        standing.channel.close()
        inbound = text_of(processes, directory, *received)
        outbound = text_of(processes, directory, *sent)
    write("sidecar-out", near_bootstrap(outbound))
    write("sidecar-in", far_bootstrap(inbound))


def control_plane(processes, leno, directory):
    mesh = f"{directory}/mesh"
    subprocess.run(["cp", "-r", f"{CONFIGS}/sidecar-mesh", mesh], check=True)
    with open(f"{mesh}/mesh.yaml", "w") as file:
        file.write("accessLogFile: ${LOG}\n")
    port = free_port()
    argv = [leno, "control", "--config", mesh, "--state", f"{directory}/state", "--plaintext-port", str(port)]
    argv += ["--rendezvous", f"{directory}/control.json"]
    wait_for_port(port, processes.start(argv, None, f"{directory}/control.log"))
    return port


# --- protobuf's wire format, as much as is needed


def field(number, payload):
    """A length-delimited field."""
    if isinstance(payload, str):
        payload = payload.encode()
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def fields(message):
    """[(number, bytes)] of the length-delimited fields; others are passed over."""
    at = 0

    def read():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    found = []
    while at < len(message):
        tag = read()
        if tag & 7 == 2:
            size = read()
            found.append((tag >> 3, message[at : at + size]))
            at += size
        elif tag & 7 == 0:
            read()
        else:
            raise ValueError(f"wire type {tag & 7}")
    return found


def entry(key, value):
    """Of a google.protobuf.Struct."""
    return field(1, field(1, key) + field(2, value))


def labels(**named):
    return entry("LABELS", field(5, b"".join(entry(key, field(3, value)) for key, value in named.items())))


def ports(port):
    number = varint(2 << 3 | 1) + struct.pack("<d", port)
    declared = field(5, entry("port", number) + entry("protocol", field(3, "http")))
    return field(5, entry("ports", field(6, field(1, declared))))


class Ads:
    """State-of-the-world ADS, as the Envoy beside this workload speaks it. Its first stream registers the workload."""

    def __init__(self, port, address, name, metadata):
        id_ = f"sidecar~{address}~{name}.default~default.svc.cluster.local"
        self.node = field(1, id_) + field(2, name) + field(3, entry("NAMESPACE", field(3, "default")) + metadata)
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.open = []
        self.ask(CLUSTER)

    def ask(self, type_url, names=()):
        """Resources, encoded."""
        request = field(2, self.node) + b"".join(field(3, name) for name in names) + field(4, type_url)
        call = self.channel.stream_stream(METHOD, request_serializer=bytes, response_deserializer=bytes)
        requests = queue.SimpleQueue()
        requests.put(request)
        stream = call(iter(requests.get, None))
        self.open.append(stream)
        # DiscoveryResponse.resources are 2, each an Any with its value in 2.
        resources = [dict(fields(each))[2] for number, each in fields(next(stream)) if number == 2]
        return resources

    def ask_until(self, type_url, word, names=()):
        """Until a resource has this in it: the mesh hears of a workload a little later."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            resources = self.ask(type_url, names)
            if any(word.encode() in each for each in resources):
                return resources
            time.sleep(0.1)
        raise Failed(f"leno control sends no {word}")


# --- to text


def text_of(processes, directory, clusters, listeners, routes=(), endpoints=()):
    """{listeners, clusters, routes, endpoints} as Envoy prints them."""
    for number, body in enumerate(routes):
        listeners.append(listener_of(f"routes {number}", body))
    for number, body in enumerate(endpoints):
        clusters.append(field(1, f"endpoints {number}") + field(33, body))
    resources = b"".join(field(1, each) for each in listeners) + b"".join(field(2, each) for each in clusters)
    with open(f"{directory}/bootstrap.pb", "wb") as file:
        file.write(field(2, resources))
    admin = free_port()
    argv = [machine.envoy(), "-c", f"{directory}/bootstrap.pb", "--config-yaml", around(admin)]
    envoy = processes.start(argv + ["--disable-hot-restart"], None, f"{directory}/envoy.log")
    try:
        wait_for_port(admin, envoy)
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/config_dump") as answer:
            dump = json.load(answer)
    finally:
        processes.stop([envoy])
    static = dump["configs"][0]["bootstrap"]["static_resources"]
    found = {"listeners": [], "clusters": [], "routes": {}, "endpoints": {}}
    for listener in static["listeners"]:
        if listener["name"].startswith("routes "):
            routes = listener["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]
            found["routes"][routes["name"]] = routes
        else:
            found["listeners"].append(listener)
    for cluster in static["clusters"]:
        if cluster["name"].startswith("endpoints "):
            found["endpoints"][cluster["load_assignment"]["cluster_name"]] = cluster["load_assignment"]
        elif cluster["name"] not in SERVERS:
            found["clusters"].append(cluster)
    return found


def listener_of(name, routes):
    """A place for a route configuration where Envoy prints it."""
    router = field(5, field(1, "router") + field(4, field(1, ROUTER)))
    manager = field(1, MANAGER) + field(2, field(2, "routes") + field(4, routes) + router)
    chain = field(3, field(3, field(1, "manager") + field(4, manager)))
    port = varint(3 << 3) + varint(free_port())
    return field(1, name) + field(2, field(1, field(2, "127.0.0.1") + port)) + chain


def around(admin):
    """What Envoy must have to read a configuration that discovers the rest."""
    server = {
        "type": "STATIC",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{TYPE}envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }
    ads = {"api_type": "GRPC", "transport_api_version": "V3"}
    ads["grpc_services"] = [{"envoy_grpc": {"cluster_name": "control-plane"}}]
    return json.dumps(
        {
            "node": {"id": "bench", "cluster": "bench"},
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
            "dynamic_resources": {"ads_config": ads},
            "static_resources": {"clusters": [{"name": name, **server} for name in SERVERS]},
        }
    )


# --- to a bootstrap for the bench


def near_bootstrap(found):
    """The outbound listener of the service's port, and all clusters."""
    (listener,) = [each for each in found["listeners"] if each["name"] == f"0.0.0.0_{PORT}"]
    listener.pop("bind_to_port", None)
    # Passes on to the original destination, which here is the listener itself.
    listener.pop("default_filter_chain", None)
    for chain in chains(listener):
        for manager in managers(chain):
            manager["route_config"] = found["routes"][manager.pop("rds")["route_config_name"]]
    listener["address"] = address("${LISTEN_A}")
    listener.pop("additional_addresses", None)
    return bootstrap("a", listener, found)


def far_bootstrap(found):
    """The inbound listener, reached at a port of its own."""
    (listener,) = [each for each in found["listeners"] if each["name"] == "virtualInbound"]
    listener["address"] = address("${LISTEN_B}")
    listener.pop("additional_addresses", None)
    originals = "envoy.filters.listener.original_dst"
    listener["listener_filters"] = [each for each in listener["listener_filters"] if each["name"] != originals]
    for chain in chains(listener):
        match = chain.get("filter_chain_match", {})
        if match.get("destination_port") == PORT:
            match["destination_port"] = "${LISTEN_B}"
    (cluster,) = [each for each in found["clusters"] if each["name"] == f"inbound|{PORT}||"]
    move(cluster["load_assignment"], "${BACKEND_H1}")
    return bootstrap("b", listener, found)


def in_place(cluster, endpoints):
    """Endpoints with the cluster, instead of by EDS."""
    name = cluster.pop("eds_cluster_config")["service_name"]
    cluster["type"] = "STATIC"
    cluster["load_assignment"] = endpoints.get(name, {"cluster_name": name})
    move(cluster["load_assignment"], "${LISTEN_B}")


def move(load_assignment, port):
    for group in load_assignment.get("endpoints", []):
        for endpoint in group.get("lb_endpoints", []):
            endpoint["endpoint"]["address"] = address(port)


def chains(listener):
    return listener["filter_chains"] + [each for each in [listener.get("default_filter_chain")] if each]


def managers(chain):
    return [each["typed_config"] for each in chain["filters"] if each["typed_config"]["@type"] == MANAGER]


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def bootstrap(role, listener, found):
    for cluster in found["clusters"]:
        if "eds_cluster_config" in cluster:
            in_place(cluster, found["endpoints"])
    whole = {
        "admin": {"address": address("${ADMIN_" + role.upper() + "}")},
        "static_resources": {"listeners": [listener], "clusters": found["clusters"]},
    }
    with_files(whole, role)
    return whole


def with_files(node, role):
    """Secrets from files instead of SDS, and nothing of where this was made."""
    for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else []:
        with_files(each, role)
    if not isinstance(node, dict):
        return
    # Where leno found the route in the user's files.
    if "leno" in node.get("filter_metadata", {}):
        node["filter_metadata"].pop("leno")
    trusted = {"trusted_ca": {"filename": "${CERTS}/ca.crt"}}
    if node.pop("tls_certificate_sds_secret_configs", None):
        certificate = {"filename": "${CERTS}/" + f"{role}.crt"}
        key = {"filename": "${CERTS}/" + f"{role}.key"}
        node["tls_certificates"] = [{"certificate_chain": certificate, "private_key": key}]
    if node.pop("validation_context_sds_secret_config", None):
        node["validation_context"] = trusted
    combined = node.pop("combined_validation_context", None)
    if combined:
        context = combined.get("default_validation_context", {})
        for matcher in context.get("match_typed_subject_alt_names", []):
            matcher["matcher"] = {"exact": "spiffe://bench/b"}
        node["validation_context"] = context | trusted


def write(name, found):
    text = yaml.safe_dump(found, sort_keys=False, width=120)
    # A port is a number; what will be put in its place is not yet.
    text = re.sub(r"'(\$\{(?:LISTEN|ADMIN|BACKEND)_\w+\})'", r"\1", text)
    with open(f"{CONFIGS}/{name}.yaml", "w") as file:
        file.write(f"# Made by meshbench/envoy_sidecar.py: what leno control sends to Envoy. Do not edit.\n{text}")


if __name__ == "__main__":
    main()
