"""`freshmount controller`: puts the parts of the controller together and runs them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from agent.controller.options import EXTERNAL_SECRETS, HUB
from agent.core.errors import StartError

if TYPE_CHECKING:
    from agent.controller.options import Options
    from agent.controller.part import Part, Registry
    from agent.core.ports import Log
    from agent.observe.log import Format

_EXTRA = {"aiohttp", "lightkube", "prometheus_client"}  # the first of them that is missing names the extra


def controller(options: Options, log_format: Format, log_level: str) -> int:
    """Run the parts that are asked for until SIGTERM, or the command among the flags. Returns 0.

    Raises StartError where a library is missing, the API server cannot be reached, or nothing can listen.
    """
    from agent.observe import log

    log.configure(log_format, log_level)
    try:
        from agent.controller import process
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing.partition(".")[0] not in _EXTRA:
            raise
    else:
        if options.push and options.push.list_orphans:
            from agent.controller.push import push

            return push.list_orphans(options.push)
        logger = log.logger()
        process.run(options.listen, partial(_parts, options, logger), logger)
        return 0
    raise StartError(f"the library {missing} is not installed; install freshmount[controller]")


def _parts(options: Options, logger: Log, registry: Registry) -> list[Part]:
    """The parts, in their order."""
    parts: list[Part] = []
    if EXTERNAL_SECRETS in options.parts:
        from agent.controller.external_secrets.part import ExternalSecrets

        parts.append(ExternalSecrets(options.external_secrets, registry, logger))
    if HUB in options.parts:
        from agent.controller.hub.part import Hub

        parts.append(Hub(options.hub, registry, logger))
    if options.push:
        from agent.controller.push import push

        parts.append(push.made(options.push, registry, logger))
    return parts
