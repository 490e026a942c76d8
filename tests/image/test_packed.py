"""Modules and expressions from one file: what is in it comes from there, and is as it would be otherwise."""

from __future__ import annotations

import os
import py_compile
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SOURCES = {
    "ours/__init__.py": "from ours import part\nwhole = part.value + 1\n",
    "ours/part.py": "value = 41\ndef fail(): raise ValueError\n",
    "single.py": "import ours\nfrom ours.part import value\n",
}
PACK = """
import sys
from image.start import packed
sys.path.insert(0, sys.argv[1])
import single
names = [name for name in sys.modules if name.partition(".")[0] in ("ours", "single")]
open(sys.argv[2], "wb").write(packed.pack([*names, "sys", "__main__", "image.start.packed"]))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with bytecode alone, as in the image, and `packed` with all of it."""
    for name, text in SOURCES.items():
        path = tmp_path / "lib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        compiled(path.with_suffix(".pyc"), text)
    python(PACK, str(tmp_path / "lib"), str(tmp_path / "packed"))
    return tmp_path


def compiled(path: Path, text: str) -> None:
    """The bytecode of that source, as the image has it."""
    source = path.with_suffix(".py")
    source.write_text(text)
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(source), cfile=str(path), doraise=True, invalidation_mode=mode)
    source.unlink()


def python(script: str, *argv: str) -> str:
    done = subprocess.run([sys.executable, "-c", script, *argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_they_come_from_the_file_alone(home: Path) -> None:
    """The directory is not looked at any more: it is gone, and was not on the path either."""
    out = python(
        "import os, sys\n"
        "from image.start import packed\n"
        "packed.install(sys.argv[1])\n"
        "os.rename(sys.argv[2], sys.argv[2] + '-gone')\n"
        "import single\n"
        "print(single.value, single.ours.whole, sorted(single.ours.__dict__.keys() & {'part', 'whole'}))",
        str(home / "packed"),
        str(home / "lib"),
    )
    assert out == "41 42 ['part', 'whole']\n"


def test_they_are_as_they_would_be_otherwise(home: Path) -> None:
    """File, package, path and the place of an error: data beside a package is found, and tracebacks name the source."""
    script = (
        "import sys, traceback\n"
        "from image.start import packed\n"
        "{install}\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import single, ours.part\n"
        "for module in (single, ours, ours.part):\n"
        "    spec = module.__spec__\n"
        "    print(module.__name__, module.__file__, module.__package__, getattr(module, '__path__', None))\n"
        "    print(spec.name, spec.origin, spec.has_location, spec.parent, spec.submodule_search_locations)\n"
        "try: ours.part.fail()\n"
        "except ValueError as error: print(traceback.extract_tb(error.__traceback__)[-1])"
    )
    install = "packed.install(sys.argv[2])"
    argv = str(home / "lib"), str(home / "packed")
    packed, plain = (python(script.format(install=text), *argv) for text in (install, ""))
    assert packed == plain
    assert f"{home}/lib/ours/part.py, line 2 in fail" in packed


def test_what_is_not_in_it_is_imported_as_ever(home: Path) -> None:
    """Sources, built-in and frozen modules are not packed, and one that is nowhere is not found."""
    out = python(
        "import sys\n"
        "from image.start import packed\n"
        "packed.install(sys.argv[1])\n"
        "import colorsys\n"
        "print(colorsys.__spec__.loader.__class__.__name__)\n"
        "print(*sorted(next(each for each in sys.meta_path if type(each) is packed._Finder)._places))\n"
        "try: import nowhere\n"
        "except ModuleNotFoundError as error: print(error)",
        str(home / "packed"),
    )
    assert out.splitlines()[0] == "SourceFileLoader"
    assert out.splitlines()[1] == "ours ours.part single"
    assert out.splitlines()[2] == "No module named 'nowhere'"


def test_without_the_file_nothing_changes(tmp_path: Path) -> None:
    """As in every installation but the image's."""
    python(
        "import sys\n"
        "from image.start import packed\n"
        "before = list(sys.meta_path)\n"
        "packed.install(sys.argv[1])\n"
        "packed.install()\n"
        "assert sys.meta_path == before",
        str(tmp_path / "none"),
    )


def test_the_same_modules_make_the_same_file(home: Path) -> None:
    """So that two builds of the image are equal."""
    python(PACK, str(home / "lib"), str(home / "again"))
    assert (home / "again").read_bytes() == (home / "packed").read_bytes()


EXPRESSIONS = [
    ("(?P<year>[0-9]{4})-(?P<month>[0-9]{2})", 0),
    ("[^\\x09\\x0a\\x20-\\x7e\\xa0-\\ud7ff\\U00010000-\\U0010ffff]", 0),
    (b"(a|b)+?(?<=x)$", 0),
    ("stra\u00dfe|\u0130", 2),
    ("(?x) a # comment", 0),
    ("(?i:a)b", 8 | 16),
]


def test_expressions_are_as_the_compiler_makes_them(home: Path) -> None:
    """Equal, by the engine's own comparison of its code; those that are not in the file are compiled."""
    python(
        f"""
import re, sys
from image.start import packed
for pattern, flags in {EXPRESSIONS!r}:
    re.compile(pattern, flags)
open(sys.argv[1], "wb").write(packed.pack([]))
""",
        str(home / "packed"),
    )
    out = python(
        f"""
import re, sys
from image.start import packed
parsed, parse, compile_anew = [], re._parser.parse, re._compiler.compile
re._parser.parse = lambda *given: (parsed.append(given[0]), parse(*given))[1]
packed.install(sys.argv[1])
for pattern, flags in {EXPRESSIONS!r}:
    found = re._compiler.compile(pattern, flags)
    assert parsed == [], parsed
    anew = compile_anew(pattern, flags)
    assert found == anew and (found.groups, found.groupindex) == (anew.groups, anew.groupindex)
    assert found != compile_anew(pattern, flags ^ re.DOTALL)
    parsed.clear()
print(re.compile("(?P<year>[0-9]{{4}})-(?P<month>[0-9]{{2}})").fullmatch("2026-11").groupdict(), parsed)
print(re.search("[0-9]+ not packed", "12 not packed").span(), re.Scanner([("a+", None)]).scan("aab"), len(parsed))
""",
        str(home / "packed"),
    )
    assert out == "{'year': '2026', 'month': '11'} []\n(0, 13) ([], 'b') 2\n"


def test_whatever_a_library_compiles_can_be_packed(home: Path) -> None:
    """With flags that are not given, or of a class of their own, and text of one."""
    out = python(
        """
import re, sys
from image.start import packed
class Flags(int): pass
class Text(str): pass
re.sub("[a-c]+", "", "")
re.search("[d-f]+", "", Flags(2))
re.compile(Text("[g-i]+"))
open(sys.argv[1], "wb").write(packed.pack([]))
parsed, parse = [], re._parser.parse
re._parser.parse = lambda *given: (parsed.append(given[0]), parse(*given))[1]
re.purge()
packed.install(sys.argv[1])
print(re.search("[a-c]+", "abc").span(), re.search("[d-f]+", "DEF", 2).span(), parsed)
""",
        str(home / "packed"),
    )
    assert out == "(0, 3) (0, 3) []\n"


def _replaced(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


VERSION = len(sys.version.encode())
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "another Python": lambda content: content.replace(sys.version.encode(), b"9" + sys.version.encode()[1:]),
    "a shorter version": lambda content: content.replace(sys.version.encode(), sys.version.encode()[:-1]),
    "nothing": lambda content: b"",
    "the version alone": lambda content: content[: 8 + VERSION],
    "a digest of something else": lambda content: _replaced(content, 8 + VERSION),
    "a damaged index": lambda content: _replaced(content, 8 + VERSION + 3 * 8 + 40),
    "an index of any length": lambda content: content[: 16 + VERSION] + b"\xff" * 8 + content[24 + VERSION :],
    "cut short": lambda content: content[:-1],
    "longer": lambda content: content + b"x",
}


def test_what_is_not_as_it_was_packed_is_left_alone(home: Path) -> None:
    """Bytecode of another Python may mean something else here, and so may its index: nothing of it is unmarshalled."""
    content = (home / "packed").read_bytes()
    for damage, damaged in DAMAGES.items():
        assert damaged(content) != content
        (home / damage).write_bytes(damaged(content))
    python(
        """
import os, sys
from image.start import packed
before = list(sys.meta_path), os.listdir("/proc/self/fd")
marshal, packed.marshal = packed.marshal, None
for path in sys.argv[2:]:
    packed.install(path)
    assert (list(sys.meta_path), os.listdir("/proc/self/fd")) == before, path
packed.marshal = marshal
packed.install(sys.argv[1])
assert list(sys.meta_path) != before[0]
""",
        str(home / "packed"),
        *(str(home / damage) for damage in DAMAGES),
    )


IMPORTED = """
import sys
from image.start import packed
packed.install(sys.argv[1])
sys.path.insert(0, sys.argv[2])
import single, ours.part
print(*(type(module.__loader__).__name__ for module in (single, ours, ours.part)), ours.part.value)
"""


def test_a_library_that_changed_is_taken_from_disk(home: Path) -> None:
    """As a whole, by its `__init__` alone, though size and time are what they were; the others come from the file."""
    package = home / "lib" / "ours"
    was = (package / "__init__.pyc").stat()
    compiled(package / "__init__.pyc", SOURCES["ours/__init__.py"].replace("+ 1", "+ 2"))
    os.utime(package / "__init__.pyc", ns=(was.st_atime_ns, was.st_mtime_ns))
    assert (package / "__init__.pyc").stat().st_size == was.st_size
    compiled(package / "part.pyc", "value = 50\n")
    said = python(IMPORTED, str(home / "packed"), str(home / "lib"))
    assert said == "_Finder SourcelessFileLoader SourcelessFileLoader 50\n"


def test_a_source_that_was_put_beside_it_goes_before(home: Path) -> None:
    """As for Python itself: a library copied over the image's leaves its bytecode where it was."""
    for name, text in SOURCES.items():
        if name.startswith("ours/"):
            (home / "lib" / name).write_text(text.replace("41", "50"))
    said = python(IMPORTED, str(home / "packed"), str(home / "lib"))
    assert said == "_Finder SourceFileLoader SourceFileLoader 50\n"


def test_a_library_that_is_gone_is_not_found(home: Path) -> None:
    """As without the file."""
    (home / "lib" / "ours").rename(home / "gone")
    script = IMPORTED.replace(
        "import single, ours.part\n", "try: import single\nexcept ImportError as error: print(error)\n"
    )
    assert (
        python(script.rpartition("print(*")[0], str(home / "packed"), str(home / "lib")) == "No module named 'ours'\n"
    )


def test_the_times_of_files_are_nothing_to_it(home: Path) -> None:
    """The layers of an image may be of several builds, each with times of its own."""
    for path in (home / "lib").rglob("*.pyc"):
        os.utime(path, (0, 0))
    assert python(IMPORTED, str(home / "packed"), str(home / "lib")) == "_Finder _Finder _Finder 41\n"


def test_one_file_of_each_library_is_looked_at(home: Path) -> None:
    """And not one of each module, which is what the file saves."""
    script = """
import os, sys
from image.start import packed
looked, open_ = [], os.open
os.open = lambda path, flags: (looked.append(os.path.relpath(path, sys.argv[2])), open_(path, flags))[1]
packed.install(sys.argv[1])
print(*looked)
"""
    assert python(script, str(home / "packed"), str(home / "lib")) == "../packed ours/__init__.pyc single.pyc\n"
