"""From argv to an exit code: 0 done, 1 could not complete, 2 usage or configuration."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING

from agent import __version__
from agent.commands import terminal
from agent.core.errors import ConfigError, FreshmountError, StartError

if TYPE_CHECKING:
    import argparse

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

DEFAULT_CONFIG = "/etc/freshmount/config.yaml"
DEFAULT_TERMINATION_LOG = "/dev/termination-log"
_FORMATS = ("json", "console")
_LEVELS = ("debug", "info", "warning", "error")
_PLAIN_WAIT = (
    "--port=([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
    " --timeout=([1-9][0-9]{0,4})s"
)
_FLAGS = ("secrets", "volume", "period", "signals", "touches", "urls")
_TERMINATION_LIMIT = 4096  # bytes; kubelet reads no more


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command and return the exit code. Raises SystemExit(2) for usage errors, like argparse."""
    try:
        args = _going_on(argv) or _without_options(argv, environ) or _parsed(argv, environ)
    except ConfigError as error:  # of what the environment names instead of a config
        _complain(str(error))
        if {"init", "run"} & {*argv}:
            _terminate(environ, str(error))
        return 2
    try:
        return int(args.command(args))
    except ConfigError as error:
        code, said, reason = 2, str(error), str(error)
    except FreshmountError as error:
        code, said, reason = 1, f"freshmount: {error}", str(error)
    except terminal.OutputFailed:
        raise
    except Exception as error:  # a bug; Python's own traceback prints messages, which may contain a value
        from agent.observe import log

        code, said = 1, f"freshmount: internal error, please report it:\n{log.describe(error)}"
        reason = f"internal error: {type(error).__name__}"
    _complain(said)
    # The others run beside an agent, whose termination message is not theirs to write.
    if args.command not in (_status, _pin, _unpin, _try, _convert, _work):
        _terminate(environ, reason)
    return code


def _printable(text: str) -> str:
    """The text without terminal control characters: it may quote AWS or another process."""
    from agent.observe import report

    return "\n".join(map(report.printable, text.split("\n")))


def entry() -> None:
    """The console script. Ends the process at once: interpreter teardown costs 100 ms and waits for calls in flight.

    A reader of the output that has ended, such as `head`, is not an error and is not reported.
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
    """Print to standard error. Does nothing if standard error is closed."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr)


def _defaults(environ: Mapping[str, str]) -> dict[str, str | None]:
    return {
        "log_format": environ.get("FRESHMOUNT_LOG_FORMAT"),
        "log_level": environ.get("FRESHMOUNT_LOG_LEVEL", "info"),
    }


def _config_of(environ: Mapping[str, str]) -> str:
    """The config without a word of the command line: a file, or the secrets that the environment names."""
    named = environ.get("FRESHMOUNT_SECRETS")
    if named is not None and "FRESHMOUNT_CONFIG" not in environ:
        from agent.commands import pushed  # few use these
        from agent.config import flags

        return flags.config("FRESHMOUNT_SECRETS", _items(named), pushed=pushed.texts)
    return environ.get("FRESHMOUNT_CONFIG", DEFAULT_CONFIG)


def _items(named: str) -> list[str]:
    """What FRESHMOUNT_SECRETS lists."""
    return [each.strip() for each in named.split(",") if each.strip()]


def _going_on(argv: Sequence[str]) -> SimpleNamespace | None:
    """What `run` becomes and starts: a word, a descriptor, and what `run` was called with. Nobody types this."""
    command = {"rest": _rest, "work": _work}.get(argv[0]) if len(argv) > 1 else None
    return SimpleNamespace(command=command, handle=int(argv[1])) if command and argv[1].isdigit() else None


def _flags(args: argparse.Namespace, environ: Mapping[str, str]) -> str | None:
    """The config that the flags stand for, or None without any. Raises ConfigError."""
    given = {key: getattr(args, key, None) for key in _FLAGS}
    if not any(given.values()):
        return None
    from agent.commands import pushed
    from agent.config import flags

    return flags.config(
        "--secret",
        given["secrets"] or _items(environ.get("FRESHMOUNT_SECRETS", "")),
        pushed=pushed.texts,
        volume=args.volume,
        period=args.period,
        signals=args.signals or (),
        touches=args.touches or (),
        urls=args.urls or (),
    )


def _without_options(argv: Sequence[str], environ: Mapping[str, str]) -> SimpleNamespace | None:
    """The arguments of a command that runs while a pod starts: `init` and `run` without options, and `wait` with those
    that the chart gives it. Skipping argparse saves 6 ms of the start."""
    args = SimpleNamespace(command=None, config=None, **_defaults(environ))
    if len(argv) == 1 and (command := {"init": _init, "run": _run}.get(argv[0])):
        args.command, args.config = command, _config_of(environ)
    elif argv[:1] == ["wait"] and (plain := re.fullmatch(_PLAIN_WAIT, " ".join(argv[1:]))):
        args.command, args.port, args.timeout = _wait, int(plain[1]), float(plain[2])
    return args if args.command and not _wrong_environment(args) else None


def _parsed(argv: Sequence[str], environ: Mapping[str, str]) -> argparse.Namespace:
    parser = _parser(environ)
    if not argv:
        parser.print_help(sys.stderr)
        raise SystemExit(2)
    args = parser.parse_args(argv)
    file = getattr(args, "file", None)
    if file is not None and args.config is not None:
        parser.error(f"the config is given twice: {file} and --config {args.config}")
    given = next((given for given in (file, args.config) if given is not None), None)
    try:
        by_flags = _flags(args, environ)
        if by_flags is not None and given is not None:
            parser.error(f"the config is given twice: {given} and by flags such as --secret")
    except ConfigError as error:
        parser.error(str(error))
    args.config = by_flags or given or _config_of(environ)
    if wrong := _wrong_environment(args):
        parser.error(wrong)
    return args


def _wrong_environment(args: argparse.Namespace | SimpleNamespace) -> str | None:
    """Check the defaults from the environment: argparse checks only the options against their choices."""
    for name, known in (("log_format", (None, *_FORMATS)), ("log_level", _LEVELS)):
        given = getattr(args, name, known[0])
        if given not in known:
            return f"FRESHMOUNT_{name.upper()} is {given!r}; it must be one of {', '.join(filter(None, known))}"
    return None


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    import argparse

    parser = argparse.ArgumentParser(
        prog="freshmount", description="Keeps the secret files of a Kubernetes pod fresh.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"freshmount {__version__}")
    common, logs = (argparse.ArgumentParser(add_help=False, allow_abbrev=False) for _ in range(2))
    # Options may come before or after the command. A default after the command must not undo an option before it.
    for place, absent in ((parser, None), (common, argparse.SUPPRESS), (logs, argparse.SUPPRESS)):
        if place is not logs:
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
    parser.set_defaults(**_defaults(environ))
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, text in (
        ("init", _init, "fill the volume once, then exit"),
        ("run", _run, "fill the volume, then keep it fresh until SIGTERM"),
        ("wait", _wait, "return once the agent beside this has published a complete generation; for a postStart hook"),
        ("check", _check, "validate a config, offline"),
        ("status", _status, "show the state of the running agent or, without one, what the volume holds"),
        ("doctor", _doctor, "check credentials, permissions, network, volume and targets, and say what to do"),
        ("plan", _plan, "show what a config means, offline: files, targets, IAM policy, calls and price"),
        ("try", _try, "render a config against a sample of AWS, offline, with the code that publishes"),
    ):
        made = commands.add_parser(name, parents=[common], help=text, description=text, allow_abbrev=False)
        made.set_defaults(command=command)
        made.add_argument("file", nargs="?", metavar="FILE", help="the config file, instead of --config")
        if command is not _wait:
            _add_flags(made)
        if command is _try:
            made.add_argument("--sample", metavar="FILE", required=True, help="what AWS holds; see docs/try.md")
            made.add_argument("--out", metavar="DIR", help="write the files there, instead of listing them")
            made.add_argument(
                "--as",
                dest="form",
                choices=("files", "kubernetes"),
                default="files",
                help="kubernetes: the Secrets that ExternalSecrets make in a cluster, instead of files",
            )
        if command in (_plan, _status, _doctor):
            made.add_argument("--json", action="store_true", help="print JSON, for programs")
        if command is _plan:
            made.add_argument("--replicas", type=_replicas, default=1, help="pods to count calls for (default: 1)")
        if command is _doctor:
            made.add_argument(
                "--before-app",
                action="store_true",
                help="for an init container: a target that does not exist yet is only a warning",
            )
        if command is _wait:
            made.add_argument(
                "--port", type=_port, help="where the agent listens; the config is not read then (default: `listen`)"
            )
            made.add_argument(
                "--timeout",
                metavar="DURATION",
                type=_patience,
                help="such as 150s (default: `startup.timeout` and 30s; with --port 150s)",
            )
        if command is _status:
            made.add_argument("--watch", action="store_true", help="refresh every two seconds, until Ctrl-C")
    _add_pin(commands, common)
    text = "print the config that does what an ExternalSecret or a SecretProviderClass does"
    convert = commands.add_parser("convert", parents=[common], help=text, description=text, allow_abbrev=False)
    convert.add_argument("manifests", nargs="+", metavar="FILE", help="manifests, in YAML or JSON")
    convert.set_defaults(command=_convert)
    _add_controller(commands, logs)
    text = "print the JSON Schema of the config, for editors and linters"
    schema = commands.add_parser("schema", help=text, description=text, allow_abbrev=False)
    schema.set_defaults(command=_schema)
    text = "show the whole story on an embedded stand-in for AWS, without an account"
    demo = commands.add_parser("demo", help=text, description=text, allow_abbrev=False)
    demo.add_argument("--keep-running", action="store_true", help="leave everything up at the end, until Ctrl-C")
    demo.set_defaults(command=_demo)
    return parser


def _add_pin(commands: Commands, common: argparse.ArgumentParser) -> None:
    text = "hold a secret at a version for a while, such as the one before a bad rotation"
    pin = commands.add_parser("pin", parents=[common], help=text, description=text, allow_abbrev=False)
    pin.add_argument("name", help="the secret's name in the config")
    pin.add_argument(
        "--version-id",
        type=_version_id,
        required=True,
        help="as `aws secretsmanager list-secret-version-ids` shows it; of a parameter the number",
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


def _add_controller(commands: Commands, logs: argparse.ArgumentParser) -> None:
    try:
        from agent.controller import options
    except ModuleNotFoundError:
        # The sidecar's image is without it. With another prefix its flags are no unknown options, said first otherwise.
        text = "not in this image; freshmount-controller has it"
        absent = commands.add_parser("controller", help=text, description=text, prefix_chars="\0", add_help=False)
        absent.add_argument("flags", nargs="*")
        absent.set_defaults(command=_no_controller)
        return
    text = "run the cluster's part: ExternalSecrets, the hub, pushed Secrets (needs the extra `controller`)"
    controller = commands.add_parser("controller", parents=[logs], help=text, description=text, allow_abbrev=False)
    options.add(controller)
    controller.set_defaults(command=partial(_controller, controller))


def _add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that stand for a config file."""
    group = parser.add_argument_group("a config without a file", "FRESHMOUNT_SECRETS holds the same: NAME=ARN,NAME=ARN")
    group.add_argument(
        "--secret",
        dest="secrets",
        metavar="NAME=ARN",
        action="append",
        help="a secret: one file per key of a JSON object in the directory NAME, otherwise the file NAME",
    )
    group.add_argument("--volume", metavar="DIR", help="as `volume.path`")
    group.add_argument("--period", metavar="DURATION", help="as `poll.period`")
    group.add_argument(
        "--signal", dest="signals", metavar="NAME:PROCESS", action="append", help="notify: such as SIGHUP:nginx"
    )
    group.add_argument("--touch", dest="touches", metavar="PATH", action="append", help="notify: touch this file")
    group.add_argument("--url", dest="urls", metavar="URL", action="append", help="notify: POST to this URL")


# Each command imports what it needs: `check` does not load boto3, and the demo has a server of its own.


@contextlib.contextmanager
def _importing() -> Iterator[None]:
    """Import the agent's modules with the garbage collector off: everything they create stays, so collecting would
    waste 30 of 400 ms."""
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


def _wait(args: argparse.Namespace | SimpleNamespace) -> int:
    from agent.commands import wait

    return wait.wait(args.config, args.port, args.timeout)


def _port(text: str) -> int:
    import argparse

    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535")
    return int(text)


def _patience(text: str) -> float:
    import argparse

    from agent.config import reading

    found = reading.seconds(text)
    if not found:
        hint = f"; write {text}s for seconds" if text.isdigit() and int(text) else ""
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 90s or 2m30s{hint}")
    return found


def _no_controller(_args: argparse.Namespace) -> int:
    raise StartError("`controller` is not in this image, the sidecar's; use the image freshmount-controller")


def _controller(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    from agent.commands import controller
    from agent.controller import options

    return controller.controller(options.read(parser, args), args.log_format or "auto", args.log_level)


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

    number = text.isascii() and text.isdigit() and len(text) < 19
    if not number and not 32 <= len(text) <= 64:  # according to GetSecretValue's API reference
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a version id: which has 32 to 64 characters, or of a parameter a number"
        )
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


def _try(args: argparse.Namespace) -> int:
    from agent.commands import try_out

    return try_out.try_out(args.config, args.sample, args.out, args.form)


def _convert(args: argparse.Namespace) -> int:
    from agent.commands import convert

    return convert.convert(args.manifests)


def _columns() -> int | None:
    """The width of the terminal on standard output; None if it is not a terminal."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):
        return None


def _schema(_args: argparse.Namespace) -> int:
    with open(os.path.join(os.path.dirname(__file__), "config", "schema.json"), encoding="utf-8") as handle:
        sys.stdout.write(handle.read())
    return 0


def _demo(args: argparse.Namespace) -> int:
    import importlib.util

    if importlib.util.find_spec("agent.demo") is None:
        raise StartError("the demo is not in the image; in a clone of the repository run `make demo`")
    from agent.demo import story

    return story.run(keep_running=args.keep_running)


def _terminate(environ: Mapping[str, str], reason: str) -> None:
    """Write the reason where `kubectl describe` shows it, if kubelet created that file. Elsewhere, do nothing."""
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
