"""Asks a ClientStatusDiscoveryService as gRPC's own tools do: a line in is a method and a question, a line out is the answer
or the status. Messages are hexadecimal."""

import sys

import grpc

SERVICE = "/envoy.service.status.v3.ClientStatusDiscoveryService/"
same = {"request_serializer": lambda message: message, "response_deserializer": lambda message: message}

with grpc.insecure_channel(sys.argv[1]) as channel:
    for line in sys.stdin:
        method, question = line.split(" ")
        question = bytes.fromhex(question)
        try:
            if method.startswith("Stream"):
                first, second = channel.stream_stream(SERVICE + method, **same)(iter([question, question]), timeout=20)
                assert len(first) == len(second)
                answer = first
            else:
                answer = channel.unary_unary(SERVICE + method, **same)(question, timeout=20)
            print("answer", answer.hex(), flush=True)
        except grpc.RpcError as error:
            print("status", error.code().name, flush=True)
