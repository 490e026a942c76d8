"""What a start would look for, read and compile, ready in one file. Only the image has one, made when it was built.

Its modules' bytecode, a copy of the image's own: 260 files need not be looked for, opened and read one by one, which
takes 8 ms. And the regular expressions that they compile while they are imported, as the compiler leaves them: 12 ms.

The file: the version of Python that made it, compared before anything is unmarshalled; the index, marshalled: a dict of
each module's name to its place, and a dict of the expressions; then the modules' code. Before version and index stand
eight bytes each with their length (little-endian).
"""

from __future__ import annotations

import marshal
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder

TYPE_CHECKING = False  # `typing`, as all that is not imported here, comes from the file
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType
    from typing import Any

    Place = tuple[int, int, str, bool]  # where its code begins, the code's length, its file, whether it is a package
    Patterns = dict[tuple[str | bytes, int], bytes]  # expression and flags → marshalled, what the engine gets for it

FILE = os.path.join(os.path.dirname(__file__), "modules.packed")
_LENGTH = 8
_HEADER = 16  # bytes of a .pyc before its code


def pack(names: Iterable[str]) -> bytes:
    """These modules, which are imported, unless they are not of a .pyc file; and the expressions compiled so far."""
    places: dict[str, Place] = {}
    code = b""
    for name in sorted(names):
        spec = sys.modules[name].__spec__
        if spec and spec.origin and spec.origin.endswith(".pyc"):
            with open(spec.origin, "rb") as handle:
                content = handle.read()[_HEADER:]
            places[name] = len(code), len(content), spec.origin, spec.submodule_search_locations is not None
            code += content
    return _version() + _with_length(marshal.dumps((places, _patterns()))) + code


def _version() -> bytes:
    return _with_length(sys.version.encode())


def _with_length(content: bytes) -> bytes:
    return len(content).to_bytes(_LENGTH, "little") + content


def _patterns() -> Patterns:
    """Of every expression that `re` has in its cache, what its compiler gives to the engine."""
    import re
    from types import SimpleNamespace

    found: Patterns = {}
    compiler: Any = re._compiler  # type: ignore[attr-defined]
    engine = compiler._sre
    compiler._sre = SimpleNamespace(**{**vars(engine), "compile": lambda *given: given})
    try:
        for kind, pattern, flags in sorted(re._cache, key=repr):  # type: ignore[attr-defined]
            if kind not in (str, bytes):  # of a class of its own, which marshal does not know
                continue
            _, found_flags, code, groups, names, numbers = compiler.compile(pattern, flags)
            plain = int(found_flags), [int(each) for each in code], groups, dict(names), tuple(numbers)
            # Flags may be of a class, too: RegexFlag, or what stands for "not given" in `re.sub` since 3.13.
            found[pattern, int(flags)] = marshal.dumps(plain)
    finally:
        compiler._sre = engine
    return found


def install(path: str = FILE) -> None:
    """From now on take from that file what is in it. Nothing changes where there is none that can be opened, or another
    Python made it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    ours = _version()
    start = len(ours) + _LENGTH
    begin = os.pread(handle, start, 0)
    if not begin.startswith(ours):
        os.close(handle)
        return
    length = int.from_bytes(begin[len(ours) :], "little")
    places, patterns = marshal.loads(os.pread(handle, length, start))  # noqa: S302 the image's own
    found = _Finder(handle, start + length, places)
    sys.meta_path.insert(sys.meta_path.index(PathFinder), found)
    _take(patterns)


def _take(patterns: Patterns) -> None:
    import re

    compiler: Any = re._compiler  # type: ignore[attr-defined]
    compile_anew, engine = compiler.compile, compiler._sre

    def compile_(pattern: Any, flags: int = 0) -> Any:
        given = patterns.get((pattern, int(flags))) if isinstance(pattern, str | bytes) else None
        return engine.compile(pattern, *marshal.loads(given)) if given else compile_anew(pattern, flags)  # noqa: S302

    compiler.compile = compile_


class _Finder:
    """Finds and loads the modules. The file stays open, since some are imported late."""

    def __init__(self, handle: int, start: int, places: dict[str, Place]) -> None:
        self._handle, self._start, self._places = handle, start, places

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        if name not in self._places:
            return None
        _, _, file, package = self._places[name]
        spec = ModuleSpec(name, self, origin=file, is_package=package)  # type: ignore[arg-type]
        spec.has_location = True
        if package:
            spec.submodule_search_locations = [os.path.dirname(file)]
        return spec

    def create_module(self, _spec: ModuleSpec) -> None:
        """An ordinary one."""

    def exec_module(self, module: ModuleType) -> None:
        place, length, _, _ = self._places[module.__name__]
        code = marshal.loads(os.pread(self._handle, length, self._start + place))  # noqa: S302
        exec(code, module.__dict__)  # noqa: S102 as the import system does
