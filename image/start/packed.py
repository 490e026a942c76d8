"""What a start would look for, read and compile, ready in one file. Only the image has one, made when it was built.

Its modules' bytecode, a copy of the image's own: 260 files need not be looked for, opened and read one by one, which
takes 8 ms. And the regular expressions that they compile while they are imported, as the compiler leaves them: 12 ms.

The file, whose numbers are little-endian and of eight bytes each:

- the length of `sys.version`, and the version of Python that made the file;
- a digest of the index, the index's length, and the length of the code behind it;
- the index, marshalled: what is known of each library, and a dict of the expressions;
- the modules' code.

Nothing of it is unmarshalled before version, digest and lengths were found right: `marshal` may crash on what another
Python wrote or a disk damaged. A library that is another than the one that was packed is imported from its own files.
"""

from __future__ import annotations

import _imp
import marshal
import os
import sys
from importlib.machinery import ModuleSpec

TYPE_CHECKING = False  # `typing`, as all that is not imported here, comes from the file
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType
    from typing import Any

    Place = tuple[int, int, str, bool]  # where its code begins, the code's length, its file, whether it is a package
    Library = tuple[str, bytes, dict[str, Place]]  # a file of the library, that one's head, and the library's modules
    Patterns = dict[tuple[str | bytes, int], bytes]  # expression and flags → marshalled, what the engine gets for it

FILE = os.path.join(os.path.dirname(__file__), "modules.packed")
_LENGTH = 8
_HEAD = 16  # bytes of a .pyc before its code: which Python it is for, and a hash, or time and size, of its source
_LAYOUT = 1  # of the file; the key of its digest, so that another layout has another digest


def pack(names: Iterable[str]) -> bytes:
    """These modules, which are imported, unless they are not of a .pyc file; and the expressions compiled so far."""
    libraries: dict[str, Library] = {}
    code = b""
    for name in sorted(names):  # a package comes before its modules: it is its `__init__` that is looked at later
        spec = sys.modules[name].__spec__
        if spec and spec.origin and spec.origin.endswith(".pyc"):
            with open(spec.origin, "rb") as handle:
                head, content = handle.read(_HEAD), handle.read()
            *_, places = libraries.setdefault(_library(name), (spec.origin, head, {}))
            places[name] = len(code), len(content), spec.origin, spec.submodule_search_locations is not None
            code += content
    index = marshal.dumps((list(libraries.values()), _patterns()))
    return _version() + _digest(index) + _number(len(index)) + _number(len(code)) + index + code


def _library(name: str) -> str:
    """What changes as one: a package with all in it, and Python's own modules, which are one."""
    top = name.partition(".")[0]
    return "" if top in sys.stdlib_module_names else top


def _digest(index: bytes) -> bytes:
    """Of eight bytes, for damage and not for forgers: who can write this file can write the modules, too.

    By the function that Python has built in for .pyc files: `hashlib` and, in many builds, `zlib` would have to be
    found and loaded first, which takes longer than the digest.
    """
    return _imp.source_hash(_LAYOUT, index)


def _version() -> bytes:
    version = sys.version.encode()
    return _number(len(version)) + version


def _number(number: int) -> bytes:
    return number.to_bytes(_LENGTH, "little")


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
    """From now on take from that file what is in it. Nothing changes where there is none that can be opened, another
    Python made it, or it is damaged.

    1. Compare version and lengths, then the digest. Only then
    2. read the index,
    3. and leave out each library that has changed since: one look at one file of each. So a module that somebody
       replaces alone, and not the package's `__init__`, is not noticed.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    # 1.
    ours = _version()
    start = len(ours) + 3 * _LENGTH
    begin = os.pread(handle, start, 0)
    digest, length, code = (begin[start - back * _LENGTH : start - (back - 1) * _LENGTH] for back in (3, 2, 1))
    code_at = start + int.from_bytes(length, "little")
    whole = os.fstat(handle).st_size == code_at + int.from_bytes(code, "little")
    index = os.pread(handle, code_at - start, start) if whole and begin.startswith(ours) else b""
    if not index or _digest(index) != digest:
        os.close(handle)
        return
    # 2.
    libraries, patterns = marshal.loads(index)  # noqa: S302 the image's own
    # 3.
    places = {name: place for *library, modules in libraries if _is_there(*library) for name, place in modules.items()}
    # First of all finders: none of these modules is built in or frozen, and asking those for each of 300 took 2 ms.
    sys.meta_path.insert(0, _Finder(handle, code_at, places))
    _take(patterns)


def _is_there(file: str, head: bytes) -> bool:
    """Whether the library of that file is what was packed, and would be imported: a source beside it would go before.

    Not by the file's time: an engine that finds a layer in its cache takes that one with the times of an earlier build.
    """
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    found = os.pread(handle, _HEAD, 0)
    os.close(handle)
    return found == head and not os.path.exists(file.removesuffix("c"))


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
