"""The real agent, forked from a process that has imported it already.

On two cores the suite's time is CPU time, and most of what a test's agent takes of it are imports: 0.25 s, where a fork
takes 0.02. What is forked runs the same lines with its own descriptors, environment, arguments and memory; what it
starts or becomes by itself is started as ever, by the image's launcher. Not so with --full, where every process is
started, by `python -m agent`; nor where a test asks for something of the start itself (see `may_be`).
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import pkgutil
import select
import signal
import socket
import struct
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple

from tests.support import models

enabled = False  # set by conftest; what uses this without pytest (benchmarks) starts as a pod does

_MESSAGE = 1 << 17  # bytes; less than a socket's buffer
_ALONE = 60_000  # milliseconds without any worker
# What Python, C and coverage have read before our first line.
AS_STARTED = ("PYTHON", "LC_", "LANG", "TZ", "COVERAGE", "MALLOC", "LD_", "GLIBC")
_ENCODING = "PYTHONIOENCODING"  # of the streams, which are opened anew


class Forked:
    """A forked process as `subprocess.Popen` shows it, as far as tests look. Its streams are text."""

    def __init__(self, args: Sequence[str], status: socket.socket, stdout: int = -1, stderr: int = -1) -> None:
        self.args = args
        self.stdin: IO[str] | None = None
        self.stdout: IO[str] | None = None if stdout < 0 else os.fdopen(stdout, encoding="utf-8")
        self.stderr: IO[str] | None = None if stderr < 0 else os.fdopen(stderr, encoding="utf-8")
        self.returncode: int | None = None
        self._status = status
        said, handles, _, _ = socket.recv_fds(status, _MESSAGE, 1)
        self.pid = int(said)
        self._handle = handles[0]  # a signal by it can reach no other process that got the pid since

    def poll(self) -> int | None:
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._look(None if timeout is None else int(timeout * 1000))
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def _look(self, milliseconds: int | None) -> int | None:
        if self.returncode is None:
            poll = select.poll()
            poll.register(self._status, select.POLLIN)
            if poll.poll(milliseconds):
                said = self._status.recv(_MESSAGE)
                assert said, f"what forked {self.pid} has ended itself"
                self.returncode = os.waitstatus_to_exitcode(int(said))
                self._status.close()
                os.close(self._handle)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has just ended, and its status is on the way
                signal.pidfd_send_signal(self._handle, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Asked(NamedTuple):
    """What a process is forked for; sent as JSON, with its three streams and the socket for its status."""

    argv: list[str]  # after `python -m agent`
    env: dict[str, str]
    cwd: str
    session: bool
    closed: list[int]  # of the three, those that it has not


def may_be(env: Mapping[str, str], popen: Mapping[str, Any]) -> bool:
    """Whether a process with that environment and those options of Popen may be forked: Python has read no other."""
    read = {name for name in {*env, *os.environ} if name.startswith(AS_STARTED)}
    if ":" not in env.get(_ENCODING, ""):  # then it is an encoding alone
        read.discard(_ENCODING)
    same = all(env.get(name) == os.environ.get(name) for name in read)
    return enabled and same and popen.keys() <= {"cwd", "start_new_session"}


def start(argv: Sequence[str], env: Mapping[str, str], **popen: Any) -> Forked:
    """`python -m agent` with these arguments, without input, both outputs in pipes."""
    pipes = os.pipe(), os.pipe()
    with open(os.devnull) as nothing:
        forked = _start(argv, env, [nothing.fileno(), *(theirs for _, theirs in pipes)], popen)
    for _, theirs in pipes:
        os.close(theirs)
    return Forked(*forked, *(ours for ours, _ in pipes))


def run(
    argv: Sequence[str],
    env: Mapping[str, str],
    given: str,
    stdout: int = subprocess.PIPE,
    closed: Sequence[int] = (),
    **popen: Any,
) -> subprocess.CompletedProcess[str]:
    """`python -m agent` with these arguments until it has ended: what `subprocess.run` returns."""
    with TemporaryFile("w+") as stdin, TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        stdin.write(given)
        stdin.seek(0)
        elsewhere = stdout != subprocess.PIPE
        streams = [stdin.fileno(), stdout if elsewhere else out.fileno(), err.fileno()]
        forked = Forked(*_start(argv, env, streams, popen, closed))
        try:
            forked.wait()
        finally:
            forked.kill()
        out.seek(0)
        err.seek(0)
        said = None if elsewhere else out.read(), err.read()
    return subprocess.CompletedProcess(forked.args, forked.wait(), *said)


def _start(
    argv: Sequence[str],
    env: Mapping[str, str],
    streams: Sequence[int],
    popen: Mapping[str, Any],
    closed: Sequence[int] = (),
) -> tuple[list[str], socket.socket]:
    """Have a process forked on these descriptors; its words, and the socket that tells its pid and its status."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    session = bool(popen.get("start_new_session"))
    asked = _Asked(list(argv), dict(env), str(popen.get("cwd") or os.getcwd()), session, list(closed))
    with theirs:
        socket.send_fds(_server(), [json.dumps(asked).encode()], [*streams, theirs.fileno()])
    return [sys.executable, "-m", "agent", *argv], ours


@functools.cache
def _server() -> socket.socket:
    """The process that forks, one for all workers of a run of pytest: who comes first starts it. It ends with the last
    of them."""
    address = f"\0freshmount-tests-{os.environ.get('PYTEST_XDIST_TESTRUNUID', uuid.uuid4())}"
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # Alone: else another one connects between bind and listen, or to a server that is about to end.
    with open(__file__) as alone, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        fcntl.flock(alone, fcntl.LOCK_EX)
        with suppress(OSError):  # another worker has the address, and started the server
            listening.bind(address)
            listening.listen()
            subprocess.Popen(
                [sys.executable, "-m", "tests.support.warm", str(listening.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[listening.fileno()],
            )
        server.connect(address)
    return server


def _serve(listening: socket.socket) -> _Asked:
    """Fork for each message, and tell each one's pid and in the end its status. Returns in what is forked."""
    controls: dict[int, socket.socket] = {}  # of each worker
    children: dict[int, tuple[int, socket.socket, int]] = {}  # by the handle of each: pid, status, its worker's control
    poll = select.poll()
    poll.register(listening, select.POLLIN)
    while True:
        ready_now = poll.poll(None if controls else _ALONE)
        if not ready_now:
            sys.exit()  # the first of them died before it connected
        for ready, _ in ready_now:
            if ready == listening.fileno():
                control = listening.accept()[0]
                _, uid, _ = struct.unpack("3i", control.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
                if uid == os.getuid():  # such an address is everybody's
                    controls[control.fileno()] = control
                    poll.register(control, select.POLLIN)
                continue
            if ready in children:
                pid, status, _ = children.pop(ready)
                poll.unregister(ready)
                os.close(ready)
                code = os.waitpid(pid, 0)[1]
                with status, suppress(OSError):  # nobody waits for it any more
                    status.send(str(code).encode())
                continue
            message, streams, _, _ = socket.recv_fds(controls[ready], _MESSAGE, 4)
            if not message:
                for pid, _, of in children.values():
                    if of == ready:
                        os.kill(pid, signal.SIGKILL)
                poll.unregister(ready)
                controls.pop(ready).close()
                if not controls:
                    with open(__file__) as alone:
                        fcntl.flock(alone, fcntl.LOCK_EX)  # by which who connects is here already, or starts another
                        if not select.select([listening], [], [], 0)[0]:
                            listening.close()
                            sys.exit()
                continue
            status = socket.socket(fileno=streams.pop())
            pid = os.fork()
            if not pid:
                for other in (listening, status, *controls.values(), *(status for _, status, _ in children.values())):
                    other.detach()  # whose number is soon another file's
                for number, stream in enumerate(streams):
                    os.dup2(stream, number)
                os.closerange(3, 1 + max(map(int, os.listdir("/proc/self/fd"))))
                return _Asked(*json.loads(message))
            for stream in streams:
                os.close(stream)
            handle = os.pidfd_open(pid)
            children[handle] = pid, status, ready
            poll.register(handle, select.POLLIN)
            with suppress(OSError):  # who asked has died since
                socket.send_fds(status, [str(pid).encode()], [handle])


def _import() -> None:
    """Have all that a start imports and reads: the package, and what botocore knows of services."""
    import agent

    for module in pkgutil.walk_packages(agent.__path__, "agent."):
        if not module.name.endswith("__main__") and not module.name.startswith("agent.demo"):
            with suppress(ModuleNotFoundError):  # of an extra that is not installed here
                __import__(module.name)
    import botocore.session

    models.read_once()
    for service in ("secretsmanager", "ssm", "sts"):
        botocore.session.Session().create_client(service, region_name="eu-west-1")


def _become(asked: _Asked) -> None:
    """Be as a process that was started so is at its first line."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    encoding = asked.env.get(_ENCODING)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        was = getattr(sys, name)
        errors = "strict" if encoding and name != "stderr" else was.errors
        stream = open(number, mode, encoding=encoding or was.encoding, errors=errors, closefd=False)  # noqa: SIM115
        stream.reconfigure(line_buffering=was.line_buffering)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
        if number in asked.closed:
            os.close(number)
            setattr(sys, name, None)
            setattr(sys, f"__{name}__", None)
    if asked.session:
        os.setsid()
    os.chdir(asked.cwd)
    os.environ.clear()
    os.environ.update(asked.env)
    sys.orig_argv[:] = [sys.executable, "-c", "from image.start.launcher import entry; entry()", *asked.argv]
    sys.argv[:] = ["-c", *asked.argv]


if __name__ == "__main__":
    import gc

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the tests tidy up, and end this by ending
    _import()
    gc.collect()
    gc.freeze()
    _become(_serve(socket.socket(fileno=int(sys.argv[1]))))
    from agent import launch

    launch.entry()
