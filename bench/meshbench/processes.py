"""The processes of a run: started here, accounted for here, ended by id."""

import ctypes
import glob
import os
import re
import signal
import socket
import subprocess
import time

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1


class Failed(Exception):
    """Something that this run started did not do what it was started for."""


class Processes:
    """What was started. A context: leaving it, however that comes about, ends all of them."""

    def __init__(self, nice=0):
        self.running = []
        self.nice = nice

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop(list(self.running))

    def start(self, argv, cpus, log, env=None, cwd=None):
        with open(log, "ab") as out:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: settle(cpus, self.nice),
                env={**os.environ, **(env or {})},
                cwd=cwd,
            )
        process.log = log
        self.running.append(process)
        return process

    def stop(self, processes):
        for process in processes:
            if process.poll() is None:
                process.terminate()
        for process in processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self.running.remove(process)

    def run(self, argv, cpus, timeout):
        """Runs a client to its end and gives what it printed."""
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: settle(cpus, self.nice),
        )
        self.running.append(process)
        try:
            out, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise Failed(f"{argv[0]} has not ended after {timeout} s") from None
        finally:
            self.stop([process])
        if process.returncode:
            raise Failed(f"{argv[0]} ended with {process.returncode}: {out[-300:].strip()}")
        return out


def settle(cpus, nice):
    """In the child: a group of its own, so that Ctrl-C is this program's alone to handle, and its death with ours."""
    os.setpgid(0, 0)
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if cpus:
        os.sched_setaffinity(0, cpus)
    if nice:
        os.setpriority(os.PRIO_PROCESS, 0, nice)


def tree(pid):
    """The process and its live descendants."""
    found, todo = [], [pid]
    while todo:
        pid = todo.pop()
        found.append(pid)
        for children in glob.glob(f"/proc/{pid}/task/*/children"):
            try:
                with open(children) as file:
                    todo += [int(child) for child in file.read().split()]
            except OSError:
                pass
    return found


def cpu_seconds(pids):
    """User and system time of processes, all threads, in the scheduler's own nanoseconds (clock_getcpuclockid(3))."""
    total = 0.0
    for pid in pids:
        try:
            total += time.clock_gettime((~pid << 3) | 2)
        except OSError:
            pass
    return total


def thread_ticks(pids):
    """{thread id: user and system time in clock ticks}."""
    ticks = {}
    for path in [path for pid in pids for path in glob.glob(f"/proc/{pid}/task/*/stat")]:
        try:
            with open(path) as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        ticks[int(path.split("/")[4])] = int(fields[11]) + int(fields[12])
    return ticks


def rss_bytes(pids):
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/status") as file:
                total += int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) * 1024
        except (OSError, TypeError):
            pass
    return total


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port, process, seconds=15):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), 0.3).close()
            return
        except OSError:
            time.sleep(0.02)
    ended = "has ended" if process.poll() is not None else f"does not listen on port {port}"
    with open(process.log, errors="replace") as log:
        said = log.read()[-1500:].strip()
    raise Failed(f"{' '.join(process.args[:2])} {ended}: {said}")
