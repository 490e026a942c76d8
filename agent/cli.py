"""From argv to an exit code: 0 done, 1 could not complete, 2 usage or configuration."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING

from agent import __version__
from agent.commands import terminal
from agent.core.errors import ConfigError, FreshmountError

if TYPE_CHECKING:
    import argparse

DEFAULT_CONFIG = "/etc/freshmount/config.yaml"
DEFAULT_TERMINATION_LOG = "/dev/termination-log"
_FORMATS = ("json", "console")
_LEVELS = ("debug", "info", "warning", "error")
_TERMINATION_LIMIT = 4096  # bytes that kubelet reads of it


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command; return the exit code. Usage errors leave through SystemExit(2), as argparse does."""
    args = _going_on(argv) or _without_options(argv, environ) or _parsed(argv, environ)
    try:
        return int(args.command(args))
    except ConfigError as error:
        code, said, reason = 2, str(error), str(error)
    except FreshmountError as error:
        code, said, reason = 1, f"freshmount: {error}", str(error)
    except terminal.OutputFailed:
        raise
    except Exception as error:  # a bug; Python's own traceback would print messages, which may hold a value
        from agent.observe import log

        code, said = 1, f"freshmount: internal error, please report it:\n{log.describe(error)}"
        reason = f"internal error: {type(error).__name__}"
    _complain(said)
    if args.command not in (
        _status,
        _pin,
        _unpin,
        _work,
    ):  # those run beside an agent, and this is not its termination message
        _terminate(environ, reason)
    return code


def _printable(text: str) -> str:
    """The text without anything that a terminal takes for a command: it may quote AWS or a neighbouring process."""
    from agent.observe import report

    return "\n".join(map(report.printable, text.split("\n")))


def entry() -> None:
    """The console script. Ends the process at once: interpreter teardown costs 100 ms and waits for calls in flight.

    Output that nobody reads is not a bug: a reader that has gone, such as `head`, is not reported.
    """
    terminal.prepare()
    try:
        try:
            code = main(sys.argv[1:], os.environ)
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 1
        except KeyboardInterrupt:
            code = 128 + signal.SIGINT
        sys.stdout.flush()
    except terminal.OutputFailed as failed:
        code = 1
        if not failed.reader_gone:
            _complain(f"freshmount: standard output cannot be written: {os.strerror(failed.error.errno or 0)}")
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(code)


def _complain(text: str) -> None:
    """To standard error, if anybody reads it."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr)


def _defaults(environ: Mapping[str, str]) -> dict[str, str | None]:
    return {
        "config": _config_of(environ),
        "log_format": environ.get("FRESHMOUNT_LOG_FORMAT"),
        "log_level": environ.get("FRESHMOUNT_LOG_LEVEL", "info"),
    }


def _config_of(environ: Mapping[str, str]) -> str:
    return environ.get("FRESHMOUNT_CONFIG", DEFAULT_CONFIG)


def _going_on(argv: Sequence[str]) -> SimpleNamespace | None:
    """What `run` becomes and starts: a word, a descriptor, and what `run` was called with. Nobody types this."""
    command = {"rest": _rest, "work": _work}.get(argv[0]) if len(argv) > 1 else None
    return SimpleNamespace(command=command, handle=int(argv[1])) if command and argv[1].isdigit() else None


def _without_options(argv: Sequence[str], environ: Mapping[str, str]) -> SimpleNamespace | None:
    """The arguments of `init` and `run` when there is nothing to parse, as in a pod; argparse would cost such a start 6
    ms."""
    command = {"init": _init, "run": _run}.get(argv[0]) if len(argv) == 1 else None
    args = SimpleNamespace(command=command, **_defaults(environ))
    return args if command and not _wrong_environment(args) else None


def _parsed(argv: Sequence[str], environ: Mapping[str, str]) -> argparse.Namespace:
    parser = _parser(environ)
    if not argv:
        parser.print_help(sys.stderr)
        raise SystemExit(2)
    args = parser.parse_args(argv)
    file = getattr(args, "file", None)
    if file is not None and args.config is not None:
        parser.error(f"give the config once: {file}, or --config {args.config}")
    args.config = next((given for given in (file, args.config) if given is not None), _config_of(environ))
    if wrong := _wrong_environment(args):
        parser.error(wrong)
    return args


def _wrong_environment(args: argparse.Namespace | SimpleNamespace) -> str | None:
    """argparse checks options against their choices, but not the defaults that come from the environment."""
    for name, known in (("log_format", (None, *_FORMATS)), ("log_level", _LEVELS)):
        given = getattr(args, name, known[0])
        if given not in known:
            return f"FRESHMOUNT_{name.upper()} is {given!r}; known are {', '.join(filter(None, known))}"
    return None


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    import argparse

    parser = argparse.ArgumentParser(
        prog="freshmount", description="Keeps the secret files of a Kubernetes pod fresh.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"freshmount {__version__}")
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    # Options may come before the command or after it. One that is missing after it must not undo one given before it.
    for place, absent in ((parser, None), (common, argparse.SUPPRESS)):
        place.add_argument(
            "--config",
            metavar="FILE",
            default=absent,
            help=f"the config file (FRESHMOUNT_CONFIG; default: {DEFAULT_CONFIG})",
        )
        place.add_argument(
            "--log-format",
            choices=_FORMATS,
            default=absent,
            help="json, or console for people (FRESHMOUNT_LOG_FORMAT; default: console on a terminal, else json)",
        )
        place.add_argument("--log-level", choices=_LEVELS, default=absent, help="(FRESHMOUNT_LOG_LEVEL; default: info)")
    parser.set_defaults(**{**_defaults(environ), "config": None})
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, text in (
        ("init", _init, "fill the volume once, then exit"),
        ("run", _run, "fill the volume, then keep it fresh until SIGTERM"),
        ("check", _check, "validate a config, offline"),
        ("status", _status, "show the state of the running agent, or else what its volume holds"),
        ("doctor", _doctor, "check credentials, permissions, network, volume and targets, and say what to do"),
        ("plan", _plan, "say what a config means: files, who is notified, IAM policy, calls and price; offline"),
    ):
        made = commands.add_parser(name, parents=[common], help=text, description=text, allow_abbrev=False)
        made.set_defaults(command=command)
        made.add_argument("file", nargs="?", metavar="FILE", help="the config file, as --config names it")
        if command in (_plan, _status, _doctor):
            made.add_argument("--json", action="store_true", help="for programs")
        if command is _plan:
            made.add_argument("--replicas", type=_replicas, default=1, help="pods to count calls for (default: 1)")
        if command is _doctor:
            made.add_argument(
                "--before-app", action="store_true", help="as in an init container: a target may not be there yet"
            )
        if command is _status:
            made.add_argument("--watch", action="store_true", help="look again every two seconds, until Ctrl-C")
    text = "hold a secret at a version for a while, such as the one before a bad rotation"
    pin = commands.add_parser("pin", parents=[common], help=text, description=text, allow_abbrev=False)
    pin.add_argument("name", help="the secret's name in the config")
    pin.add_argument(
        "--version-id", type=_version_id, required=True, help="as `aws secretsmanager list-secret-version-ids` shows it"
    )
    pin.add_argument(
        "--for",
        dest="seconds",
        metavar="DURATION",
        type=_seconds,
        required=True,
        help="how long, such as 30m, 12h or 7d; 30 days at most",
    )
    pin.set_defaults(command=_pin)
    text = "let a secret follow its stage again"
    unpin = commands.add_parser("unpin", parents=[common], help=text, description=text, allow_abbrev=False)
    unpin.add_argument("name", help="the secret's name in the config")
    unpin.set_defaults(command=_unpin)
    text = "print the JSON Schema of the config, for editors and linters"
    schema = commands.add_parser("schema", help=text, description=text, allow_abbrev=False)
    schema.set_defaults(command=_schema)
    text = "the whole story on an embedded stand-in for AWS, no account needed"
    demo = commands.add_parser("demo", help=text, description=text, allow_abbrev=False)
    demo.add_argument("--keep-running", action="store_true", help="leave everything up at the end, until Ctrl-C")
    demo.set_defaults(command=_demo)
    return parser


# The commands import what they need themselves: `check` starts no boto3, and the demo's stand-in is an extra.


@contextlib.contextmanager
def _importing() -> Iterator[None]:
    """Import an agent's modules with the garbage collector off: everything they make stays, and collecting costs 30 of
    400 ms."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


def _init(args: argparse.Namespace | SimpleNamespace) -> int:
    with _importing():
        from agent.commands import run

        run.imports()
    return run.init(args.config, args.log_format or "auto", args.log_level)


def _run(args: argparse.Namespace | SimpleNamespace) -> int:
    with _importing():
        from agent.commands import run

        run.imports()
    return run.run(args.config, args.log_format or "auto", args.log_level)


def _rest(args: SimpleNamespace) -> int:
    with _importing():
        from agent.commands import rest

        rest.imports()
    return rest.rest(args.handle)


def _work(args: SimpleNamespace) -> int:
    with _importing():
        from agent.commands import run, work

        run.imports_of_worker()
    return work.work(args.handle)


def _check(args: argparse.Namespace) -> int:
    from agent.commands import check

    return check.check(args.config)


def _status(args: argparse.Namespace) -> int:
    from agent.commands import status

    return status.show(args.config, as_json=args.json, watch=args.watch)


def _doctor(args: argparse.Namespace) -> int:
    from agent.commands import doctor

    return doctor.examine(args.config, as_json=args.json, before_app=args.before_app)


def _seconds(text: str) -> float:
    import argparse

    from agent.config import reading
    from agent.core import pins

    days = re.match(r"([0-9]{1,9})d", text)
    rest = text[days.end() :] if days else text
    length = reading.seconds(rest) if rest else 0.0
    found = None if length is None else length + 86400.0 * int(days[1] if days else 0)
    if not found:
        hint = f"; write {text}m for minutes" if text.isdigit() and int(text) else ""
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 30m, 1h30m or 7d{hint}")
    if found > pins.LONGEST:
        raise argparse.ArgumentTypeError(
            f"{text!r} is longer than 30 days; a version that must stay longer belongs in the config, as versionId"
        )
    return found


def _version_id(text: str) -> str:
    import argparse

    if not 32 <= len(text) <= 64:  # according to GetSecretValue's API reference
        raise argparse.ArgumentTypeError(f"{text!r} is not a version id: those have 32 to 64 characters")
    return text


def _pin(args: argparse.Namespace) -> int:
    from agent.commands import pin

    return pin.pin(args.config, args.name, args.version_id, args.seconds)


def _unpin(args: argparse.Namespace) -> int:
    from agent.commands import pin

    return pin.unpin(args.config, args.name)


def _replicas(text: str) -> int:
    import argparse

    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pods from 1 to 1000000")
    return int(text)


def _plan(args: argparse.Namespace) -> int:
    import json

    from agent.commands import plan
    from agent.commands.check import load

    _, config = load(args.config)
    made = plan.plan(config, args.replicas)
    sys.stdout.write(json.dumps(made, indent=2) + "\n" if args.json else plan.render(made, _columns()))
    return 0


def _columns() -> int | None:
    """The width of the terminal that is written to, if it is one."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):
        return None


def _schema(_args: argparse.Namespace) -> int:
    with open(os.path.join(os.path.dirname(__file__), "config", "schema.json"), encoding="utf-8") as handle:
        sys.stdout.write(handle.read())
    return 0


def _demo(args: argparse.Namespace) -> int:
    from agent.demo import story

    return story.run(keep_running=args.keep_running)


def _terminate(environ: Mapping[str, str], reason: str) -> None:
    """Write the reason where `kubectl describe` shows it. Kubelet creates the file; elsewhere there is none to
    write."""
    path = environ.get("FRESHMOUNT_TERMINATION_LOG", DEFAULT_TERMINATION_LOG)
    line = " ".join(reason.split()).encode()[:_TERMINATION_LIMIT]
    try:
        handle = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)
    except OSError:
        pass  # no kubelet here
