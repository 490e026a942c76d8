"""From argv to an exit code."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent import __version__, cli
from tests.support import warm
from tests.support.configs import document
from tests.support.monitored import free_port
from tests.support.paths import ROOT
from tests.support.running import freshmount

CONFIG = ROOT / "config"


def run(*argv: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """With that environment alone; where it is forked, with what Python has read of this one besides."""
    if env is not None and warm.enabled:
        env = {name: value for name, value in os.environ.items() if name.startswith(warm.AS_STARTED)} | env
    return freshmount(*argv, env=env)


@pytest.mark.parametrize(
    "argv", [(), ("no-such",), ("run", "--no-such"), ("check", "--conf", "x"), ("run", "--log-format", "xml")]
)
def test_wrong_usage_is_two(argv: tuple[str, ...]) -> None:
    """With the usage on standard error, and no abbreviation that a later option could break."""
    done = run(*argv)
    assert done.returncode == 2 and "usage: freshmount" in done.stderr and done.stdout == ""


@pytest.mark.parametrize("argv", [("run",), ("run", "--config", "x")], ids=["without options", "with options"])
@pytest.mark.parametrize("name", ["FRESHMOUNT_LOG_FORMAT", "FRESHMOUNT_LOG_LEVEL"])
def test_a_wrong_environment_is_wrong_usage(name: str, argv: tuple[str, ...]) -> None:
    """It is named with what is known."""
    done = run(*argv, env={name: "loud"})
    assert done.returncode == 2 and f"{name} is 'loud'" in done.stderr


@pytest.mark.parametrize("command", ["init", "run"])
def test_without_options_the_environment_decides(command: str, tmp_path: Path) -> None:
    """As in a pod, where there is nothing to parse; the same as with options, which win."""
    (tmp_path / "bad.yaml").write_text("kind: Nothing\n")
    env = {"FRESHMOUNT_CONFIG": str(tmp_path / "bad.yaml")}
    done, parsed = run(command, env=env), run(command, "--config", str(tmp_path / "bad.yaml"))
    assert (done.returncode, done.stderr) == (parsed.returncode, parsed.stderr)
    assert done.returncode == 2 and done.stderr.startswith(f"{tmp_path}/bad.yaml:1:")
    assert run(command, "--config", "/none", env=env).stderr.startswith("/none:1:1: cannot be read")


def test_without_a_command_all_are_listed() -> None:
    """It is wrong usage, and says what would be right."""
    said = run().stderr
    assert [command for command in ("init", "run", "status", "doctor", "pin", "schema") if command not in said] == []


@pytest.mark.parametrize("argv", [("check", "{}"), ("check", "--config", "{}"), ("--config", "{}", "check")])
def test_the_config_is_named_in_any_way(argv: tuple[str, ...], tmp_path: Path) -> None:
    """As an option on either side of the command, or alone after it; each wins over the environment."""
    path = tmp_path / "c.yaml"
    path.write_text(document())
    done = run(*(word.format(path) for word in argv), env={"FRESHMOUNT_CONFIG": "/none"})
    assert (done.returncode, done.stderr) == (0, "") and str(path) in done.stdout


@pytest.mark.parametrize(
    "argv", [("check", "a.yaml", "--config", "b.yaml"), ("--config", "b.yaml", "check", "a.yaml"), ("check", "a", "b")]
)
def test_one_config_is_named(argv: tuple[str, ...]) -> None:
    """None of two is chosen in silence."""
    done = run(*argv)
    assert done.returncode == 2 and done.stdout == "" and "usage: freshmount" in done.stderr


@pytest.mark.parametrize("command", ["init", "run", "check", "plan", "doctor", "status"])
def test_every_command_that_reads_one_takes_it_alone(command: str) -> None:
    """But for `pin` and `unpin`, which take a name."""
    assert "FILE" in run(command, "--help").stdout.split("options:")[0].replace("--config FILE", "")


def test_ctrl_c_is_no_bug() -> None:
    """The shell's own exit code, and no traceback; also where the test's own shell ignores the signal."""
    ours, theirs = os.pipe()
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)  # less than is written
    argv = ["env", "--default-signal=INT", sys.executable, "-m", "agent", "schema"]
    with subprocess.Popen(argv, stdout=theirs, stderr=subprocess.PIPE) as writing:
        os.close(theirs)
        os.read(ours, 1)
        writing.send_signal(signal.SIGINT)
        while os.read(ours, 4096):
            pass
        assert writing.stderr
        assert writing.stderr.read() == b"" and writing.wait() == 130
    os.close(ours)


def test_help_and_version_are_zero() -> None:
    """Every command is named."""
    assert run("--version").stdout == f"freshmount {__version__}\n"
    said = run("--help")
    assert said.returncode == 0
    assert [
        command for command in ("init", "run", "check", "plan", "schema", "demo") if command not in said.stdout
    ] == []


def test_the_console_script_is_the_module() -> None:
    """`freshmount` and `python -m agent` are one."""
    script = Path(sys.executable).with_name("freshmount")
    done = subprocess.run([str(script), "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == run("--version").stdout


def test_check_says_ok_and_counts(tmp_path: Path) -> None:
    """On standard output, by option or environment."""
    path = tmp_path / "c.yaml"
    path.write_text(document())
    expected = f"{path}: ok: 1 secret, 1 file, 0 targets\n"
    assert run("check", "--config", str(path)).stdout == expected
    assert run("check", env={"FRESHMOUNT_CONFIG": str(path)}).stdout == expected


def test_check_warns_of_what_is_allowed_and_looks_like_a_slip(tmp_path: Path) -> None:
    """After its `ok`, and with the same exit code."""
    partial = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db-master"
    path = tmp_path / "c.yaml"
    path.write_text(document(secret=f"name: db, secretId: '{partial}'"))
    said = run("check", "--config", str(path))
    ok, warning = said.stdout.splitlines()
    assert said.returncode == 0 and ": ok: " in ok
    assert warning.startswith(f"{path}: warning: db: ") and partial in warning


def test_a_bad_config_is_two_and_one_line_in_the_termination_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each problem on a line of its own for the person, all on one for `kubectl describe`."""
    path, log = tmp_path / "c.yaml", tmp_path / "log"
    path.write_text("kind: x\n")
    log.write_text("an older and longer reason " * 50)
    assert cli.main(["check", "--config", str(path)], {"FRESHMOUNT_TERMINATION_LOG": str(log)}) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.startswith(f"{path}:1:") for line in lines)
    assert log.read_text() == " ".join(lines)


@pytest.mark.parametrize(
    ("argv", "terminal"),
    [(["run"], True), (["init", "--log-level=debug"], True), (["status"], False), (["check"], False)],
)
def test_a_mistake_in_the_secrets_of_the_environment_is_two(
    argv: list[str], terminal: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the last word of an agent, not of a command beside it. `wait` at a port has no use for a config."""
    log = tmp_path / "log"
    log.touch()
    environ = {"FRESHMOUNT_TERMINATION_LOG": str(log), "FRESHMOUNT_SECRETS": "a=b,bad"}
    assert cli.main(argv, environ) == 2
    assert "FRESHMOUNT_SECRETS" in (said := capsys.readouterr().err) and "'bad'" in said
    assert ("'bad'" in log.read_text()) is terminal
    args = cli._without_options(["wait", "--port=9105", "--timeout=150s"], environ)
    assert args is not None and args.port == 9105


def test_a_termination_log_is_not_made_and_not_followed(tmp_path: Path) -> None:
    """Kubelet makes it; elsewhere there is none."""
    environ = {"FRESHMOUNT_TERMINATION_LOG": str(tmp_path / "log")}
    assert cli.main(["check", "--config", str(tmp_path / "none")], environ) == 2
    (tmp_path / "log").symlink_to("target")
    (tmp_path / "target").write_text("kept")
    assert cli.main(["check", "--config", str(tmp_path / "none")], environ) == 2
    assert (tmp_path / "target").read_text() == "kept"


def test_a_command_beside_the_agent_leaves_its_last_words_alone(tmp_path: Path) -> None:
    """The termination log is the container's, and its agent still runs."""
    (tmp_path / "log").touch()
    environ = {"FRESHMOUNT_TERMINATION_LOG": str(tmp_path / "log"), "FRESHMOUNT_CONFIG": str(tmp_path / "none")}
    for argv in (["status"], ["unpin", "db"]):
        assert cli.main(argv, environ) != 0
    assert (tmp_path / "log").read_text() == ""


def test_a_bug_is_told_without_its_message(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Python's own traceback would print it, and it may hold a value."""

    def break_down(_path: str) -> object:
        raise ValueError("hunter2")

    monkeypatch.setattr("agent.triggers.config_file.read", break_down)
    assert cli.main(["check"], {}) == 1
    said = capsys.readouterr().err
    assert "internal error" in said and "break_down" in said and "ValueError" in said and "hunter2" not in said


def test_schema_prints_what_lies_beside_the_examples() -> None:
    """It comes with the package, so it is there where no checkout is."""
    done = run("schema", env={})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (CONFIG / "schema.json").read_text()


def imported_by(*arguments: str) -> tuple[set[str], str]:
    """The modules and packages that a command imports, by their first names, and what it says."""
    script = (
        "import sys; before = {*sys.modules}; from agent.cli import main; main(sys.argv[1:], {})\n"
        "print(*{name.partition('.')[0] for name in {*sys.modules} - before})"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    return set(done.stdout.split()), done.stderr


def test_wait_at_a_port_imports_next_to_nothing() -> None:
    """It runs beside the agent's start, on the same processors: no library, no config, no client of HTTP."""
    imported, said = imported_by("wait", f"--port={free_port()}", "--timeout=1s")
    assert "does not answer" in said and "agent" in imported
    assert imported - {"agent"} <= sys.stdlib_module_names
    assert not imported & {"argparse", "asyncio", "http", "logging", "socket", "ssl", "subprocess", "threading"}


@pytest.mark.parametrize("command", ["init", "run"])
def test_what_costs_memory_and_serves_nobody_is_not_imported(command: str, tmp_path: Path) -> None:
    """The running agent stays small. `boto3` brings S3's transfers; a scraper is served later, and not by `init`."""
    imported, said = imported_by(command, "--config", str(tmp_path / "none"))
    assert "name a readable file" in said
    assert {"botocore", "structlog", "yaml"} <= imported
    assert not imported & {"boto3", "s3transfer", "moto", "cryptography", "jsonschema", "requests"}
    assert not imported & {"prometheus_client", "watchdog"}


def test_the_image_has_no_demo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It says where there is one."""
    monkeypatch.setitem(sys.modules, "agent.demo", None)
    assert cli.main(["demo"], {}) == 1
    assert "make demo" in capsys.readouterr().err


def test_check_needs_no_library_of_the_running_agent(tmp_path: Path) -> None:
    """It is quick, and works where boto3 cannot."""
    path = tmp_path / "c.yaml"
    path.write_text(document())
    script = (
        "import sys; from agent.cli import main; main(['check', '--config', sys.argv[1]], {})\n"
        "print([n for n in ('boto3', 'botocore', 'watchdog', 'structlog', 'prometheus_client') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
