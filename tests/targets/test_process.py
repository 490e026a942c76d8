"""Finding a process and holding on to it."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.errors import ProcessRefused
from agent.core.model import PidFile, ProcessName
from agent.core.record import replace
from agent.targets import process
from agent.targets.process import Dispositions, Process, hold, look
from tests.support.length import often
from tests.support.running import PATIENCE, until

CHILD = """
import os, signal, sys
open("/proc/self/comm", "w").write(sys.argv[1])
def hear(*_): os.write(1, b"heard\\n")  # a stream refuses to be entered again from a handler
for word in sys.argv[2:]:
    if word == "catch": signal.signal(signal.SIGHUP, hear)
    if word == "ignore": signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if word == "catch-all":
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}: signal.signal(number, hear)
    if word == "block": signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    if word == "fork":
        for _ in range(2):
            if os.fork() == 0: signal.pause()
    if word == "block-usr1": signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    if word == "nobody": os.setgid(65534); os.setuid(65534)
print("ready", flush=True)
while True: signal.pause()
"""


class Children:
    """Processes of a name that no other test uses."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *words: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, self.name, *words], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.started.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        return child


@pytest.fixture
def children() -> Iterator[Children]:
    children = Children(f"fm-{uuid.uuid4().hex[:12]}")  # as long as the kernel keeps
    yield children
    for child in children.started:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def test_a_lone_thread_that_blocks_a_signal_awaits_it(children: Children) -> None:
    """As the agent's does just after its exec. One that does not would be ended by it."""
    assert process.awaits(children.start("block-usr1").pid, "SIGUSR1")
    assert not process.awaits(children.start().pid, "SIGUSR1")


def refusal(spec: ProcessName | PidFile) -> str:
    with pytest.raises(ProcessRefused) as refused, hold(spec):
        pass
    return str(refused.value)


def test_a_process_is_found_by_name_and_told(children: Children) -> None:
    """It gets the signal, and the right one."""
    child = children.start("catch")
    with hold(ProcessName(children.name)) as held:
        assert (held.process.pid, held.process.name, held.process.uid) == (child.pid, children.name, os.getuid())
        held.send("SIGHUP")
    assert child.stdout is not None
    assert child.stdout.readline() == "heard\n"


def test_a_long_name_is_found_by_what_the_kernel_keeps_of_it() -> None:
    """comm has 15 bytes."""
    children = Children("a-name-of-sixteen")
    child = children.start()
    try:
        with hold(ProcessName("a-name-of-sixteen")) as held:
            assert held.process.pid == child.pid
    finally:
        child.kill()
        child.communicate()


def test_the_top_most_is_meant(children: Children) -> None:
    """nginx's master and not its workers."""
    child = children.start("fork")
    with hold(ProcessName(children.name)) as held:
        assert held.process.pid == child.pid


def test_several_top_most_are_refused_with_what_was_found(children: Children) -> None:
    """Nobody guesses which is meant."""
    pids = [children.start().pid, children.start().pid]
    message = refusal(ProcessName(children.name))
    assert "several" in message and all(f"{pid} ({children.name})" in message for pid in pids)


def test_none_is_refused_with_what_to_check(children: Children) -> None:
    """The usual cause is named."""
    assert "shareProcessNamespace" in refusal(ProcessName(children.name))


def test_a_zombie_does_not_count(children: Children) -> None:
    """What has ended cannot be told."""
    child = children.start()
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert look(child.pid) is None
    assert "no process matches" in refusal(ProcessName(children.name))


@pytest.mark.parametrize("handled", [False, True])
@pytest.mark.parametrize(("word", "survives"), [("catch", True), ("ignore", True), ("block", True), ("none", False)])
def test_who_would_survive_a_signal(children: Children, word: str, survives: bool, handled: bool) -> None:
    """Who catches, ignores or blocks it; its default action would end anyone else, whatever the config says."""
    children.start(word)
    with hold(ProcessName(children.name)) as held:
        objections = {name: held.process.objection(name, handled=handled) for name in ("SIGHUP", "SIGUSR2", "SIGWINCH")}
    assert [objection is None for objection in objections.values()] == [survives, False, True]
    assert "SIGUSR2" in str(objections["SIGUSR2"])


# SigCgt and SigIgn of programs without a handler of their own; whose they are; what ends these or is thrown away.
RUNTIMES = [
    (0xFFFFFFFD7FC1FEFF, 0, "Go", "HUP INT QUIT USR1 USR2 TERM"),
    (0xFFFFFFFE7FC1FEFF, 0, "Go", "HUP INT QUIT USR1 USR2 TERM"),  # without cgo, before 1.19
    (0x101005CCF, 0, "Java", "HUP INT QUIT USR2 TERM"),
    (0x42017E4F, 0, "Ruby", "HUP INT QUIT USR1 USR2 TERM"),
    (0x43817EFB, 0x4, "bash", "HUP INT USR1 USR2 TERM"),
    (0x100004206, 0x11080, "Erlang", "INT QUIT USR1 TERM"),
    (0x100004602, 0x1001000, "Node", "INT USR1 TERM"),
    (0x2, 0x1001000, "Python", "INT"),
    (0x4EA, 0x1001000, "Python", "INT"),  # with faulthandler
]


@pytest.mark.parametrize(("caught", "ignored", "whose", "own"), RUNTIMES)
def test_what_a_runtime_catches_is_no_handler_of_the_program(caught: int, ignored: int, whose: str, own: str) -> None:
    """It takes a word of the config; what the runtime leaves alone takes none."""
    found = replace(seen(), signals=Dispositions(caught, ignored, 0))
    for short in ("HUP", "INT", "QUIT", "USR1", "USR2", "TERM"):
        objection = found.objection(f"SIG{short}", handled=False)
        number = 1 << (signal.Signals[f"SIG{short}"] - 1)
        if short in own.split():
            assert objection and whose in objection and "`handled: true`" in objection
            assert found.objection(f"SIG{short}", handled=True) is None
            program = replace(seen(), signals=Dispositions(caught, ignored | number, 0))
            assert program.objection(f"SIG{short}", handled=False) is None  # as under nohup
        else:
            assert (objection is None) is bool((caught | ignored) & number)
            assert "handled" not in (objection or "")
        if short != "INT":  # Python is known by it
            without = replace(seen(), signals=Dispositions(caught & ~number, ignored & ~number, 0))
            assert "no handler" in str(without.objection(f"SIG{short}", handled=True))


def mask(names: str) -> int:
    return sum(1 << (signal.Signals[f"SIG{name}"] - 1) for name in names.split())


@pytest.mark.parametrize(
    ("caught", "ignored", "names"),
    [
        (0x18016A07, 0x40001000, "HUP INT QUIT USR1 USR2 TERM"),  # nginx 1.22, its master
        (mask("HUP INT QUIT USR1 USR2 TERM TTIN TTOU CHLD"), 0x1001000, "HUP QUIT USR1 USR2 TERM"),  # gunicorn
        (mask("HUP INT ILL ABRT BUS FPE SEGV"), 0x1001000, "HUP"),  # Python with faulthandler and its own handler
        (mask("HUP INT QUIT TERM USR1 USR2 ILL TRAP ABRT BUS FPE SEGV SYS PIPE"), 0, "HUP INT QUIT USR1 USR2 TERM"),
    ],
)
def test_a_handler_of_the_program_is_taken_for_one(caught: int, ignored: int, names: str) -> None:
    """However many others it has; the last reports its own crashes."""
    found = replace(seen(), signals=Dispositions(caught, ignored, 0))
    assert [found.objection(f"SIG{name}", handled=False) for name in names.split()] == [None] * len(names.split())


def seen() -> Process:
    process = look(os.getpid())
    assert process is not None
    return process


class Proc:
    """A directory that stands in for /proc, in which one process is."""

    def __init__(self, home: Path, pid: int) -> None:
        self.home, self.pid = home, pid
        self.directory = home / str(pid)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.heal()

    def heal(self) -> None:
        for name in ("stat", "status", "cmdline"):
            self.write(name, Path(f"/proc/{self.pid}/{name}").read_bytes())

    def write(self, name: str, content: bytes | None) -> None:
        path = self.directory / name
        if content is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(content)

    def without(self, *starts: bytes) -> None:
        """A kernel whose status does not have these lines."""
        lines = (self.directory / "status").read_bytes().splitlines(keepends=True)
        self.write("status", b"".join(line for line in lines if not line.startswith(starts)))


@pytest.fixture
def proc(tmp_path: Path, children: Children, monkeypatch: pytest.MonkeyPatch) -> Proc:
    proc = Proc(tmp_path / "proc", children.start("catch").pid)
    monkeypatch.setattr(process, "_PROC", str(proc.home))
    monkeypatch.setattr(process, "_PROC_LIMIT", 1 << 16)  # or what is huge would be megabytes, hundreds of times
    return proc


def test_a_kernel_that_does_not_tell_is_no_handler(proc: Proc, children: Children) -> None:
    """Neither is one of the three lines enough. The process is found all the same, and the config may vouch for it."""
    for start in (b"Sig", b"SigCgt", b"SigIgn", b"SigBlk"):
        proc.heal()
        proc.without(start)
        with hold(ProcessName(children.name)) as held:
            assert held.process.pid == proc.pid and held.process.signals is None
            objection = held.process.objection("SIGHUP", handled=False)
            assert objection and "SigCgt" in objection and "`handled: true`" in objection
            assert held.process.objection("SIGHUP", handled=True) is None
            assert held.process.objection("SIGWINCH", handled=False) is None
    proc.without(b"Uid")
    with hold(ProcessName(children.name)) as held:
        assert held.process.uid is None


NUMBERS = st.sampled_from([b"", b"-1", b"x", b"9" * 5000, b"0x", b"1e9", b"\xff", b"\n", b"\0", b") Z 1", b"\t"])


KINDS = st.sampled_from(["missing", "cut", "random", "word", "huge", "twice"])
# What is drawn must not depend on what the file has, which differs from look to look.
MUTATIONS = st.tuples(KINDS, st.floats(0, 1), NUMBERS, st.binary(max_size=200))


def mutated(whole: bytes, how: tuple[str, float, bytes, bytes]) -> bytes | None:
    """What may stand in a file of /proc instead of what does."""
    kind, place, word, content = how
    if kind == "missing":
        return None
    if kind == "cut":
        return whole[: round(place * len(whole))]
    if kind == "random":
        return content
    if kind == "word":
        words = re.split(rb"([\s:]+)", whole)
        words[round(place * (len(words) - 1))] = word
        return b"".join(words)
    return whole + b"x" * process._PROC_LIMIT if kind == "huge" else whole + whole


@settings(max_examples=often(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from(["stat", "status", "cmdline"]), MUTATIONS, min_size=1))
def test_whatever_proc_holds_is_a_process_or_a_refusal(
    proc: Proc, children: Children, changes: dict[str, tuple[str, float, bytes, bytes]]
) -> None:
    """Missing, cut short, huge, in no encoding or of another shape; and the next look finds it as it was."""
    proc.heal()
    for name, how in changes.items():
        proc.write(name, mutated((proc.directory / name).read_bytes(), how))
    for spec in (ProcessName(children.name), PidFile(str(proc.home.parent / "pid"))):
        (proc.home.parent / "pid").write_text(str(proc.pid))
        try:
            with hold(spec) as held:
                assert held.process.pid == proc.pid
                held.process.objection("SIGHUP", handled=False)
        except ProcessRefused as refused:
            assert str(proc.pid) in str(refused) or children.name in str(refused)
    proc.heal()
    with hold(ProcessName(children.name)) as held:
        assert held.process.objection("SIGHUP", handled=False) is None


def test_the_end_of_a_process_is_seen_whatever_proc_was_like(
    proc: Proc, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why it is not seen is said, once a reason; the thread goes on and sees it when it can."""
    monkeypatch.setattr(process, "_LONG_REFUSED", 0.0)
    monkeypatch.setattr(process, "_LOOK_AGAIN", 0.01)
    said: queue.Queue[str] = queue.Queue()
    told: list[str] = []

    def trouble(why: str) -> None:
        told.append(why)
        said.put(why)

    proc.write("status", b"")
    awaited = process.when_ended(ProcessName(children.name), said.put, trouble)
    assert children.name in said.get(timeout=PATIENCE)
    loop = proc.home / "1"
    loop.symlink_to(loop)
    assert str(loop) in said.get(timeout=PATIENCE)
    loop.unlink()
    proc.heal()
    until(lambda: awaited.held)
    proc.without(b"Sig")
    os.killpg(proc.pid, signal.SIGKILL)
    children.started[-1].wait()
    assert f"process {proc.pid} " in said.get(timeout=PATIENCE)
    assert len(told) == len(set(told))


def test_start_times_are_on_the_boot_clock(children: Children) -> None:
    """So they can be held against the moment of a publish."""
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    children.start()
    after = time.clock_gettime(time.CLOCK_BOOTTIME)
    with hold(ProcessName(children.name)) as held:
        assert before - 0.02 <= held.process.started <= after


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to run a process as another uid, and to become a third")
def test_another_uid_is_named_with_the_ways_out(children: Children) -> None:
    """EPERM is an answer that a person can act on."""
    child = children.start("catch", "nobody")
    script = (
        "import os, sys; os.setgid(65533); os.setuid(65533)\n"
        "from agent.core.errors import ProcessRefused\nfrom agent.core.model import ProcessName\n"
        "from agent.targets.process import hold\n"
        "try:\n  with hold(ProcessName(sys.argv[1])) as held: held.send('SIGHUP')\n"
        "except ProcessRefused as refused: print(refused)\n"
    )
    # What is imported may lie where another uid cannot look.
    said = subprocess.run(
        [sys.executable, "-c", "import agent.core.model, agent.targets.process\n" + script, children.name],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "uid 65534" in said and "uid 65533" in said and "touch or url" in said
    assert child.poll() is None


def test_a_process_that_ends_while_it_is_held_is_not_mistaken(children: Children) -> None:
    """The pidfd names it or nothing, whoever gets the pid."""
    child = children.start("catch")
    with hold(ProcessName(children.name)) as held:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        with pytest.raises(ProcessRefused, match="ended before SIGHUP"):
            held.send("SIGHUP")


def test_without_a_pidfd_the_start_time_holds_the_identity(children: Children) -> None:
    """Where pidfd is refused (gVisor, seccomp) a pid that was used again is still found out."""
    child = children.start("catch")
    seen = look(child.pid)
    assert seen is not None
    process.Held(seen, None).send("SIGHUP")
    assert child.stdout is not None
    assert child.stdout.readline() == "heard\n"
    with pytest.raises(ProcessRefused, match="ended before"):
        process.Held(replace(seen, started=seen.started - 1), None).send("SIGHUP")


def test_a_pid_file_names_its_process(children: Children, tmp_path: Path) -> None:
    """With or without a newline."""
    child = children.start()
    for text in (f"{child.pid}", f" {child.pid}\n"):
        (tmp_path / "pid").write_text(text)
        with hold(PidFile(str(tmp_path / "pid"))) as held:
            assert held.process.pid == child.pid


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "empty"),
        ("\n", "empty"),
        ("abc", "does not hold a pid"),
        ("-1", "does not hold a pid"),
        ("1 2", "does not hold a pid"),
        ("9" * 100_000, "does not hold a pid"),
        ("4194999", "stale: process 4194999"),
        ("9" * 64, "stale"),
        ("99999999999999999999", "stale"),
        ("1", "never signalled"),
        ("own", "itself"),
    ],
)
def test_a_pid_file_that_names_nobody_is_refused(tmp_path: Path, text: str, part: str) -> None:
    """Each with its own sentence, and without what is in it unless it is a number."""
    (tmp_path / "pid").write_text(str(os.getpid()) if part == "itself" else text)
    message = refusal(PidFile(str(tmp_path / "pid")))
    assert part in message and "abc" not in message


def test_a_pid_file_is_not_followed(tmp_path: Path, children: Children) -> None:
    """A link, a FIFO and a directory are no pid files, and nothing hangs on them."""
    child = children.start()
    (tmp_path / "real").write_text(str(child.pid))
    (tmp_path / "link").symlink_to("real")
    os.mkfifo(tmp_path / "fifo")
    assert "symbolic link" in refusal(PidFile(str(tmp_path / "link")))
    assert "regular file" in refusal(PidFile(str(tmp_path / "fifo")))
    assert "regular file" in refusal(PidFile(str(tmp_path)))
    assert "No such file" in refusal(PidFile(str(tmp_path / "none")))


def test_a_pid_that_was_used_again_is_found_out(tmp_path: Path, children: Children) -> None:
    """A process that started after the file was written did not write it."""
    child = children.start()
    (tmp_path / "pid").write_text(str(child.pid))
    os.utime(tmp_path / "pid", (time.time() - 3600,) * 2)
    assert "stale" in refusal(PidFile(str(tmp_path / "pid")))


PRIVATE = """
import ctypes, os, resource
from agent.launch import keep_private
os.setgid(65534); os.setuid(65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # what a process has that was started as this uid
def neighbour():
    child = os.fork()
    if child == 0:
        try: open(f"/proc/{os.getppid()}/environ", "rb").read(); os._exit(0)
        except PermissionError: os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(neighbour())
keep_private()
print(neighbour(), resource.getrlimit(resource.RLIMIT_CORE), len(os.listdir("/proc/self/fd")) > 2)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another uid")
def test_a_neighbour_of_the_same_uid_cannot_look_into_this_process() -> None:
    """Neither into its environment nor into a core dump of it; it still sees itself."""
    said = subprocess.run([sys.executable, "-c", PRIVATE], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == ["0", "1 (0, 0) True"]
