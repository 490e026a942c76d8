"""A measured process, from its start to its end, read from /proc."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.place import Place
from bench.stand_in import StandIn

PORT = 9199  # of the endpoint; one process is measured at a time
PATIENCE = 120.0  # seconds until a figure that does not come is a failure
_CREATED, _MOVED_HERE = 0x100, 0x80  # IN_CREATE and IN_MOVED_TO of inotify(7)


class Memory(NamedTuple):
    """MiB resident, and of that what no other process shares (anonymous): what each further pod costs."""

    resident: float
    anonymous: float
    share: float  # of what is resident, pages of others being divided by their number (PSS)


class Measured:
    """A process that was started a moment ago."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        with log.open("wb") as said:
            self.began = time.monotonic()
            self.process = subprocess.Popen(
                argv, env=dict(env), stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, cwd="/"
            )
        self._log = log

    def until_there(self, path: Path) -> float:
        """Seconds from exec until something stands at `path`, whose grandparent exists. Told by the kernel: who looks
        again and again takes a core from what is measured."""
        with _told_of_new() as (tell_of, wait):
            tell_of(path.parent.parent)
            while not os.path.lexists(path):
                if path.parent.exists():
                    tell_of(path.parent)
                    if os.path.lexists(path):  # between the two
                        break
                self.check(self.began)
                wait()
        return time.monotonic() - self.began

    def check(self, since: float) -> None:
        """Raise with the process's own words when it has ended, or something has taken too long since then."""
        if self.process.poll() is not None or time.monotonic() - since > PATIENCE:
            raise RuntimeError(f"{self.process.args!r}: {self._log.read_text()[-2000:]}")

    def memory(self) -> Memory:
        fields = _fields(self.process.pid, "smaps_rollup")
        return Memory(fields["Rss"] / 1024, fields["Anonymous"] / 1024, fields["Pss"] / 1024)

    def peak(self) -> float:
        """MiB resident at most so far."""
        return _fields(self.process.pid, "status")["VmHWM"] / 1024

    def cpu(self) -> float:
        """CPU seconds so far, of all threads, those that have ended included: its clock (clock_getcpuclockid(3))."""
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def cpu_of_all(self) -> float:
        """CPU seconds so far, of all threads and of all workers that have ended; counted by the kernel in 10 ms."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def at_rest(self) -> bool:
        """Whether it is the resting process, with no worker."""
        pid = self.process.pid
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return b"rest" in words and not Path(f"/proc/{pid}/task/{pid}/children").read_text()

    def switches(self) -> int:
        """How often its threads went to sleep so far."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(_fields(int(task.name), "status")["voluntary_ctxt_switches"] for task in tasks)

    def scrape(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def pass_now(self) -> None:
        """Let one pass happen."""
        before, began = _passes(self.scrape()), time.monotonic()
        self.process.send_signal(signal.SIGUSR1)
        while _passes(self.scrape()) == before:
            self.check(began)
            time.sleep(0.002)

    def most(self) -> float:
        """Wait for its end; MiB resident at most in its life."""
        _, self.process.returncode, used = os.wait4(self.process.pid, 0)
        return used.ru_maxrss / 1024

    def wait(self) -> int:
        """The exit code."""
        return self.process.wait(PATIENCE)


@contextmanager
def _told_of_new() -> Iterator[tuple[Callable[[Path], None], Callable[[], None]]]:
    """To have the kernel tell of new names in a directory, and to wait for one, a second at most."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.inotify_init1(os.O_CLOEXEC)

    def tell_of(directory: Path) -> None:
        if libc.inotify_add_watch(handle, os.fsencode(directory), _CREATED | _MOVED_HERE) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch", str(directory))

    def wait() -> None:
        if select.select([handle], [], [], 1.0)[0]:
            os.read(handle, 1 << 16)

    try:
        yield tell_of, wait
    finally:
        os.close(handle)


def _fields(pid: int, name: str) -> dict[str, int]:
    lines = (line.split() for line in Path(f"/proc/{pid}/{name}").read_text(errors="replace").splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) >= 2 and words[1].isdigit()}


def _passes(exposition: str) -> float:
    lines = (line for line in exposition.splitlines() if line.startswith("freshmount_passes_total{"))
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def write_config(
    place: Place, name: str, stand_in: StandIn, secrets: int | str, period: str, *, port: int = PORT
) -> tuple[Path, Path, Path]:
    """A directory with a config of so many secrets, or of these: that directory from here, the config from inside, the
    volume from here."""
    here, inside = place.fresh(name)
    (here / "ca.pem").write_bytes(stand_in.ca.read_bytes())
    (here / "config").mkdir()
    entries = (
        secrets
        if isinstance(secrets, str)
        else "\n".join(
            f"  - {{name: s{n}, secretId: 'arn:aws:secretsmanager:eu-west-1:111122223333:secret:bench/s{n}-AbCdEf', "
            f"files: [{{path: s{n}.json, format: json}}]}}"
            for n in range(secrets)
        )
    )
    (here / "config" / "config.yaml").write_text(
        f"apiVersion: freshmount.dev/v1\nkind: Config\nregion: eu-west-1\nendpointUrl: {stand_in.url}\n"
        f"volume: {{path: {inside}/secrets}}\npoll: {{period: {period}}}\nlisten: 127.0.0.1:{port}\n"
        f"notify: [{{name: marker, touch: {inside}/reload}}, {{name: other, touch: {inside}/other}}, "
        f"{{name: hook, url: 'http://127.0.0.1:1/'}}]\nsecrets:\n{entries}\n"
    )
    return here, inside / "config" / "config.yaml", here / "secrets"


@contextmanager
def started(argv: Sequence[str], config: Path, here: Path, **more: str) -> Iterator[Measured]:
    """A process with nothing of this one's environment but what is given; it is killed at the end."""
    env = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_CA_BUNDLE": str(config.parent.parent / "ca.pem"),
        "FRESHMOUNT_CONFIG": str(config),
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        **more,
    }
    measured = Measured(argv, env, here / "log")
    try:
        yield measured
    finally:
        measured.process.kill()
        measured.wait()
