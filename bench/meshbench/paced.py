"""A client that sends at an even pace and prints p50 and p99 in µs (h2load --rps sends in bursts).

Latency runs from the send, or from when the request was due if no connection was free: a stall is not hidden.
Run as a program of its own: ADDRESS PORT HOST RATE SECONDS CONNECTIONS h1|h2|new
"""

import ctypes
import select
import socket
import struct
import sys
import time

PR_SET_TIMERSLACK = 29
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK = 1, 1
# A request that goes out later than this is counted from when it was due.
LATE = 0.0005
now = time.perf_counter


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class Http1:
    def __init__(self, target, host):
        self.socket = socket.create_connection(target)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        self.received = b""
        self.since = 0.0

    def send(self, since):
        self.since = since
        self.socket.sendall(self.request)

    def read(self):
        """True: the response is complete."""
        data = self.socket.recv(65536)
        if not data:
            sys.exit("closed")
        self.received += data
        return self.complete()

    def complete(self):
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self.received[:end].lower()
        if b" 200 " not in head[:16]:
            sys.exit(f"not 200: {head[:60]}")
        at = head.find(b"content-length:") + len(b"content-length:")
        if len(self.received) < end + 4 + int(head[at:].split(b"\r\n")[0]):
            return False
        self.received = b""
        return True


class Http2(Http1):
    def __init__(self, target, host):
        super().__init__(target, host)
        authority = host.encode()
        # HPACK's static table: GET, http, /; then the authority.
        self.headers = b"\x82\x86\x84\x41" + bytes([len(authority)]) + authority
        self.stream = -1
        window = frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30))
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, b"") + window)

    def send(self, since):
        self.since = since
        self.stream += 2
        self.socket.sendall(frame(HEADERS, END_STREAM | 4, self.stream, self.headers))

    def complete(self):
        ended = False
        while len(self.received) >= 9:
            length = int.from_bytes(self.received[:3], "big")
            if len(self.received) < 9 + length:
                break
            kind, flags = self.received[3], self.received[4]
            payload, self.received = self.received[9 : 9 + length], self.received[9 + length :]
            if kind == SETTINGS and not flags & ACK:
                self.socket.sendall(frame(SETTINGS, ACK, 0, b""))
            elif kind == PING and not flags & ACK:
                self.socket.sendall(frame(PING, ACK, 0, payload))
            elif kind in (RESET, GOAWAY):
                sys.exit("reset")
            elif kind == HEADERS and b"\x88" not in payload[:4]:
                sys.exit("not 200")
            ended = ended or (kind in (DATA, HEADERS) and bool(flags & END_STREAM))
        return ended


def kept(connections, rate, seconds):
    """Latencies over connections that are kept."""
    free = list(connections)
    by_descriptor = {each.socket.fileno(): each for each in connections}
    step, total, sent, due, latencies = 1 / rate, rate * seconds, 0, [], []
    start = now() + 0.05
    while len(latencies) < total:
        while sent < total and start + sent * step <= now():
            due.append(start + sent * step)
            sent += 1
        while due and free:
            when, at = due.pop(0), now()
            free.pop(0).send(at if at - when < LATE else when)
        pause = max(0, start + sent * step - now()) if sent < total else 1
        for descriptor in select.select(list(by_descriptor), [], [], pause)[0]:
            connection = by_descriptor[descriptor]
            if connection.read():
                latencies.append(now() - connection.since)
                free.append(connection)
        if now() - start > seconds * 3 + 10:
            sys.exit("too slow")
    return latencies


def fresh(target, host, rate, seconds):
    """Latencies of connect, request and response, each on a connection of its own."""
    latencies = []
    start = now() + 0.05
    for number in range(rate * seconds):
        due = start + number / rate
        while (at := now()) < due:
            time.sleep(due - at)
        connection = Http1(target, host)
        connection.send(at if at - due < LATE else due)
        while not connection.read():
            pass
        latencies.append(now() - connection.since)
        connection.socket.close()
        if now() - start > seconds * 3 + 10:
            sys.exit("too slow")
    return latencies


def main():
    target, host, mode = (sys.argv[1], int(sys.argv[2])), sys.argv[3], sys.argv[7]
    rate, seconds, count = map(int, sys.argv[4:7])
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    if mode == "new":
        latencies = fresh(target, host, rate, seconds)
    else:
        client = Http2 if mode == "h2" else Http1
        latencies = kept([client(target, host) for _ in range(count)], rate, seconds)
    # The first requests open connections upstream.
    latencies = sorted(latencies[count * 2 :])
    print(int(latencies[len(latencies) // 2] * 1e6), int(latencies[int(len(latencies) * 0.99)] * 1e6))


if __name__ == "__main__":
    main()
