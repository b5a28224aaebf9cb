"""The rows of the table, with the targets of leno's design."""

from dataclasses import dataclass
from enum import Enum


class Load(Enum):
    KEPT = "requests on kept connections"
    NEW = "a new connection for each request"
    BULK = "one big download after another"
    IDLE = "memory of idle connections"
    FRESH = "memory after the start"
    USED = "memory after the first request"


class Unit(Enum):
    """What a row compares; less is better."""

    CPU = "µs CPU"
    BULK = "s CPU/GB"
    BYTES = "bytes"
    MIB = "MiB"


UNITS = {
    Load.KEPT: Unit.CPU,
    Load.NEW: Unit.CPU,
    Load.BULK: Unit.BULK,
    Load.IDLE: Unit.BYTES,
    Load.FRESH: Unit.MIB,
    Load.USED: Unit.MIB,
}


@dataclass(frozen=True)
class Row:
    name: str
    title: str
    # configs/TOPOLOGY.yaml, or for a pair TOPOLOGY-out.yaml and TOPOLOGY-in.yaml.
    topology: str
    load: Load
    # Of Envoy's figure, or in the row's unit where `absolute`.
    must: float | None = None
    then: float | None = None
    absolute: bool = False
    # Connections: under load, or idle.
    connections: int = 64
    # Requests a second at which latency is measured; 0: not.
    rate: int = 1000
    # Memory is measured on a proxy just started each time, so few times.
    rounds: int | None = None
    # A second Envoy in leno's place.
    noise: bool = False

    @property
    def unit(self):
        return UNITS[self.load]


ROWS = [
    Row("noise", "noise floor: Envoy against Envoy, HTTP/1.1", "http1", Load.KEPT, noise=True),
    Row("noise-pair", "noise floor: Envoy against Envoy, pair", "pair", Load.KEPT, noise=True),
    Row("http1", "HTTP/1.1, 64 keep-alive connections", "http1", Load.KEPT, 0.45, 0.38),
    Row("http1-log", "HTTP/1.1 with the access log on", "http1-log", Load.KEPT, 0.45, 0.38),
    Row("http1-rules", "HTTP/1.1 with 1,000 authorization rules", "http1-rules", Load.KEPT, 0.45, 0.38),
    Row("h2", "h2c both sides, 8 × 8 streams", "h2", Load.KEPT, 0.8, 0.5),
    Row("tcp", "TCP proxy, small messages", "tcp", Load.KEPT, 0.7, 0.63),
    Row("pair", "pair: HTTP/1.1 → mTLS h2 → HTTP/1.1", "pair", Load.KEPT, 0.5, 0.35),
    # From the real leno run on the one side; what leno control sends to Envoy on the other.
    Row("sidecar", "a sidecar pair as leno control sets it up", "sidecar", Load.KEPT, 0.6),
    Row("tcp-mtls", "TCP over mTLS pair, one TLS connection each", "tcp-mtls", Load.KEPT, 0.7),
    Row("conn", "new plaintext connection + request", "http1", Load.NEW, 0.5),
    # A thousand handshakes a second would fill Envoy's core, and then latency says nothing.
    Row("handshake", "mutual TLS 1.3 handshake, both ends", "tcp-mtls", Load.NEW, 0.9, rate=200),
    Row("bulk-tcp", "bulk, TCP", "tcp", Load.BULK, 0.9, rate=0),
    Row("bulk-mtls", "bulk, mTLS pair", "tcp-mtls", Load.BULK, 0.8, rate=0),
    Row("bulk-http1", "bulk, HTTP/1.1", "http1", Load.BULK, 0.9, rate=0),
    Row("rss", "RSS fresh", "http1", Load.FRESH, 8, absolute=True, rate=0, rounds=3),
    Row("rss-used", "RSS, its first request answered", "http1", Load.USED, rate=0, rounds=3),
    Row("idle-http1", "per idle HTTP/1.1 connection", "http1", Load.IDLE, 3000, None, True, 5000, 0, 3),
    Row("idle-tcp", "per idle TCP connection", "tcp", Load.IDLE, 3000, None, True, 5000, 0, 3),
    Row("idle-mtls", "per idle connection, mTLS pair", "tcp-mtls", Load.IDLE, 20000, None, True, 2000, 0, 3),
]
