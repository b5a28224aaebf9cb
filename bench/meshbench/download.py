"""A cheap client for bulk: reads one big answer after another and throws them away in the kernel.

Run as a program of its own: HOST PORT SECONDS; prints bytes and seconds.
"""

import socket
import sys
import time

CHUNK = 1 << 20


def length(head):
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    sys.exit(f"no length: {head[:100]}")


def main():
    host, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    buffer, total = bytearray(CHUNK), 0
    connection = socket.create_connection((host, port))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    start = time.monotonic()
    end = start + seconds
    while time.monotonic() < end:
        connection.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        while b"\r\n\r\n" not in received:
            data = connection.recv(65536)
            if not data:
                sys.exit("closed")
            received += data
        head, rest = received.split(b"\r\n\r\n", 1)
        left = length(head) - len(rest)
        total += len(rest)
        while left > 0 and time.monotonic() < end:
            count = connection.recv_into(buffer, min(left, CHUNK), socket.MSG_TRUNC)
            if not count:
                sys.exit("short")
            left -= count
            total += count
    print(total, time.monotonic() - start)


if __name__ == "__main__":
    main()
