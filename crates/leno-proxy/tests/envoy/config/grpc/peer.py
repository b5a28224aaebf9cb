"""A grpcio server, and the grpcio clients that call it through a proxy.

Says its port first. Then a line of stdin is a call, as JSON, and a line of stdout what came of it: {"id", "text"}.
"""

import json
import queue
import sys
import threading
from concurrent import futures

import grpc

PATIENCE = 15
# Differ from run to run, or are between a case and its server.
HIDDEN = {"user-agent", "x-key", "x-script", "x-envoy-upstream-service-time", "date", "content-length"}
COMPRESSION = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate, None: None}


def shown(metadata):
    pairs = sorted((name, value) for name, value in metadata or [] if name not in HIDDEN)
    return " | ".join(f"{name}: {rounded(name, value)}" for name, value in pairs)


def rounded(name, value):
    if isinstance(value, bytes):
        return value.hex()
    if name == "x-envoy-expected-rq-timeout-ms" and int(value) > 2000:
        return -(-int(value) // 1000) * 1000
    return value


def text(message):
    said = message.decode()
    return json.dumps(said if len(said) < 200 else f"{said[:8]}… ({len(said)} bytes)", ensure_ascii=False)


class Server(grpc.GenericRpcHandler):
    """One, Up, Down and Both: one or many messages on each side.

    x-script is the status of each try: `14 0`; with a + it comes behind a first message.
    """

    def __init__(self):
        self.lock = threading.Lock()
        self.tries = {}
        self.ends = {}

    def service(self, details):
        name = details.method.rpartition("/")[2]
        return {
            "One": grpc.unary_unary_rpc_method_handler(self.one),
            "Up": grpc.stream_unary_rpc_method_handler(self.up),
            "Down": grpc.unary_stream_rpc_method_handler(self.down),
            "Both": grpc.stream_stream_rpc_method_handler(self.both),
            "Wait": grpc.unary_stream_rpc_method_handler(self.wait),
            "Ended": grpc.unary_unary_rpc_method_handler(self.ended),
            "Check": grpc.unary_unary_rpc_method_handler(self.check),
        }.get(name)

    def one(self, message, context):
        came = self.begin(context)
        limit = context.time_remaining()
        late = " with a deadline" if limit is not None and limit < 1e6 else ""
        return f"One{late} gets {text(message)}{came}".encode()

    def check(self, message, context):
        """grpc.health.v1.Health: only the service `one` serves."""
        return b"\x08\x01" if message == b"\x0a\x03one" else b"\x08\x02"

    def up(self, messages, context):
        came = self.begin(context)
        got = [text(message) for message in messages]
        return f"Up gets {' '.join(got)}{came}".encode()

    def down(self, message, context):
        came = self.begin(context)
        yield f"Down gets {text(message)}{came}".encode()
        for number in range(1, 4):
            yield str(number).encode()

    def both(self, messages, context):
        self.begin(context)
        for message in messages:
            yield b"Both gets " + (message if len(message) > 200 else text(message).encode())

    def wait(self, message, context):
        """One message, then none until the caller has gone."""
        key = dict(context.invocation_metadata()).get("x-key")
        gone, end = threading.Event(), self.end(key)
        # Nobody comes back behind a yield to a caller who has gone.
        context.add_callback(lambda: (end.put("gone"), gone.set()))
        yield b"waiting"
        gone.wait(PATIENCE)

    def ended(self, _message, context):
        """What has become of the case's last Wait."""
        key = dict(context.invocation_metadata()).get("x-key")
        return self.end(key).get(timeout=PATIENCE).encode()

    def end(self, key):
        with self.lock:
            return self.ends.setdefault(key.rpartition(" ")[0], queue.Queue())

    def begin(self, context):
        metadata = dict(context.invocation_metadata())
        came = " | " + shown(context.invocation_metadata())
        steps, key = metadata.get("x-script", "").split(), metadata.get("x-key")
        if not steps:
            context.send_initial_metadata((("x-server", "grpcio"),))
            context.set_trailing_metadata((("x-last", "trailer"), ("x-last-bin", b"\0\1")))
            return came
        with self.lock:
            tried = self.tries[key] = self.tries.get(key, 0) + 1
        step = steps[min(tried, len(steps)) - 1]
        if step.startswith("+"):
            context.send_initial_metadata((("x-server", "grpcio"),))
        context.set_trailing_metadata((("x-try", str(tried)),))
        if int(step) != 0:
            status = next(code for code in grpc.StatusCode if code.value[0] == int(step))
            context.abort(status, f"try {tried} wants {step}")
        return f" | try {tried}" + came


class Calls:
    """Messages that are sent each when the one before has been answered, or at once."""

    def __init__(self, messages, in_turn):
        self.left = [message.encode() for message in messages]
        self.turns = threading.Semaphore(1 if in_turn else len(messages))

    def __iter__(self):
        for message in self.left:
            self.turns.acquire()
            yield message


def call(wanted):
    method, messages = wanted["call"], wanted["send"]
    if wanted.get("size"):
        messages = [message * wanted["size"] for message in messages]
    options = [("grpc.default_authority", wanted["host"]), ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    keyword = {
        "metadata": [(name, value.encode() if name.endswith("-bin") else value) for name, value in wanted["metadata"]],
        "timeout": wanted["deadline"] / 1000 if wanted.get("deadline") else PATIENCE,
        "compression": COMPRESSION[wanted.get("compression")],
    }
    lines = []
    with grpc.insecure_channel(wanted["target"], options) as channel:
        path = method if method.startswith("/") else f"/test.Test/{method}"
        if method in ("Up",):
            started = channel.stream_unary(path).future(iter(Calls(messages, False)), **keyword)
        elif method in ("Down", "Wait"):
            started = channel.unary_stream(path)(messages[0].encode(), **keyword)
        elif method in ("Both",):
            calls = Calls(messages, True)
            started = channel.stream_stream(path)(iter(calls), **keyword)
        else:
            started = channel.unary_unary(path).future(messages[0].encode(), **keyword)
        try:
            if method in ("Down", "Wait", "Both"):
                for number, message in enumerate(started, 1):
                    lines.append(text(message))
                    if number == wanted.get("cancel"):
                        started.cancel()
                    if method == "Both":
                        calls.turns.release()
            else:
                lines.append(text(started.result()))
        except grpc.RpcError:
            pass
        except grpc.FutureCancelledError:
            pass
        first = shown(started.initial_metadata())
        if first:
            lines.insert(0, first)
        last = shown(started.trailing_metadata())
        # Whose clock it is that says so is chance.
        late = started.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        details = "" if late else started.details() or ""
        lines.append(started.code().name + (f": {details}" if details else "") + (f" | {last}" if last else ""))
    return "\n".join(f"  {line}" for line in lines)


def main():
    server = grpc.server(futures.ThreadPoolExecutor(128))
    server.add_generic_rpc_handlers([Server()])
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    told = threading.Lock()

    def answer(line):
        wanted = json.loads(line)
        try:
            came = call(wanted)
        except Exception as error:  # It is the case's to say what is wrong with it.
            came = f"  {error!r}"
        with told:
            print(json.dumps({"id": wanted["id"], "text": came}), flush=True)

    for line in sys.stdin:
        threading.Thread(target=answer, args=[line], daemon=True).start()


main()
