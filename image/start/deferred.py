"""Modules that the libraries import and the agent does not use: stand-ins, until somebody asks something of them.

They would cost each start a fifth of its time and each pod 4 MiB. A stand-in is right, too, when it is used after all:
it imports the module at the first question that it cannot answer itself, and everybody but the libraries named here
gets the module's own things. Only the image's launcher installs them. They fit the libraries that are locked there;
others may ask for more, and then modules are imported that need not be.
"""

from __future__ import annotations

import importlib
import sys
import threading
import types
from collections.abc import Mapping
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any, cast

Taken = Mapping[str, Mapping[str, tuple[str, ...]]]  # module → importer → what that takes from it while it is imported

# Imported as a whole, and asked for something only in cases that an agent does not come to.
WHOLE = (
    *("asyncio", "calendar", "configparser", "inspect", "mimetypes", "textwrap", "tokenize"),
    *(("ast",) if sys.version_info < (3, 14) else ()),  # from then on what `typing` makes of a name in quotes needs it
    *("botocore.monitoring", "botocore.retries.adaptive", "botocore.retryhandler", "botocore.translate"),
    *("botocore.docs", "botocore.vendored.six", "botocore.waiter"),
    *("email.base64mime", "email.header", "email.quoprimime", "jmespath", "stringprep", "xml.etree.ElementPath"),
)
# What is taken from these is called in such cases only, or used in `isinstance`.
BY_NAME: Taken = {
    "dateutil.parser": {"botocore.credentials": ("parse",)},
    "decimal": {"botocore.serialize": ("Decimal",), "botocore.validate": ("Decimal",)},
    "getpass": {"botocore.credentials": ("getpass",)},
    "gzip": {"botocore.compress": ("GzipFile", "compress"), "botocore.loaders": ("open",)},
    "importlib.metadata": {"urllib3.http2": ("version",)},
    "ipaddress": {
        "botocore.utils": ("ip_address",),
        "urllib3.util.ssl_match_hostname": ("IPv4Address", "IPv6Address"),
    },
    "pathlib": {"botocore.utils": ("Path",), "watchdog.observers.api": ("Path",)},
    "pickle": {"structlog._output": ("PicklingError",)},
    "quopri": {"email.encoders": ("encodestring",)},
    "shutil": {"tempfile": ("rmtree",)},
    "subprocess": {"botocore.credentials": ("Popen",)},
    "unicodedata": {"encodings.idna": ("ucd_3_2_0",)},
    "urllib3.filepost": {
        "urllib3": ("_TYPE_FIELDS", "encode_multipart_formdata"),
        "urllib3._request_methods": ("_TYPE_FIELDS", "encode_multipart_formdata"),
    },
    "watchdog.utils.patterns": {"watchdog.events": ("match_any_paths",)},
}
# What is taken from these is used at once, but its result is never needed: botocore writes documentation that nobody
# reads here, structlog a configuration that ours replaces, and urllib files of answers that nobody asks it for.
SILENT: Taken = {
    "botocore.docs.docstring": {"botocore.client": ("ClientMethodDocstring", "PaginatorDocstring")},
    "botocore.docs.utils": {
        "botocore.handlers": (
            *("AppendParamDocumentation", "AutoPopulatedParam", "DocumentModifiedShape"),
            "HideParamFromOperations",
        )
    },
    "structlog.dev": {"structlog._config": ("ConsoleRenderer", "_has_colors", "set_exc_info")},
    "structlog.tracebacks": {"structlog.processors": ("ExceptionDictTransformer",)},
    "tempfile": {"urllib.response": ("_TemporaryFileWrapper",)},
}
PARENTS = {"botocore.docs"}  # of others here, which are imported without it
DEFERRED = frozenset((*WHOLE, *BY_NAME, *SILENT))


class StandIn(types.ModuleType):
    """What stands in `sys.modules` for a module until that is needed."""

    def __getattr__(self, name: str) -> Any:
        if name == "__file__":  # `inspect` and others ask every module for it
            raise AttributeError(name)
        importer = sys._getframe(1).f_globals.get("__name__")
        taken = BY_NAME.get(self.__name__, SILENT.get(self.__name__, {})).get(str(importer), ())
        if name in taken:
            return Later(self.__name__, name) if self.__name__ in BY_NAME else type(name, (Silent,), {})
        if name == "__path__" and taken:  # `from package import name` asks for it, though it wants no submodule
            raise AttributeError(name)
        return getattr(real(self.__name__), name)


class Later:
    """A function or class that was taken by name: it is asked of the module when it is used."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def _real(self) -> Any:
        return getattr(real(self._module), self._name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._real()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)

    def __instancecheck__(self, instance: object) -> bool:
        imported = not isinstance(sys.modules.get(self._module), StandIn)
        return imported and isinstance(instance, self._real())  # before that there are no instances


class Silent:
    """Can be made, asked and called with anything, and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Silent:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *_: Any, **__: Any) -> None:
        pass


class _Finder:
    """Finds stand-ins, for those that are not needed yet."""

    def __init__(self) -> None:
        self.needed: set[str] = set()

    def find_spec(self, name: str, path: Any = None, _target: object = None) -> ModuleSpec | None:
        if name not in DEFERRED or name in self.needed:
            return None
        found = ModuleSpec(name, cast(Any, self))
        if name in PARENTS and (package := PathFinder.find_spec(name, path)):
            found.submodule_search_locations = package.submodule_search_locations
        return found

    def create_module(self, _spec: ModuleSpec) -> None:
        """An ordinary one, to which the import system gives its attributes."""

    def exec_module(self, module: types.ModuleType) -> None:
        module.__class__ = StandIn


_finder = _Finder()
_taking_its_place = threading.Lock()


def install() -> None:
    """From now on let stand-ins be imported. What was imported before stays."""
    sys.meta_path.insert(0, cast(Any, _finder))
    import dataclasses

    # dataclasses asks `inspect` for annotations, and for signatures to make up the docstrings that -OO took away.
    own = StandIn("inspect")
    own.__dict__.update(get_annotations=lambda cls: vars(cls).get("__annotations__", {}), signature=_no_signature)
    dataclasses.inspect = own  # type: ignore[attr-defined]
    import logging  # after that: what it imports makes dataclasses, from 3.14 on

    logging.logAsyncioTasks = False  # type: ignore[attr-defined] # or each line asks asyncio for its task, from 3.12 on


def _no_signature(_cls: type, **_: object) -> str:
    return ""


def real(module: str) -> types.ModuleType:
    """The module itself, imported now if a stand-in stood for it."""
    with _taking_its_place:
        _finder.needed.add(module)
        if isinstance(sys.modules.get(module), StandIn):
            del sys.modules[module]
    if (parent := module.rpartition(".")[0]) in PARENTS:
        real(parent)
    return importlib.import_module(module)
