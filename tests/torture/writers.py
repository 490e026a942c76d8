"""Other ways of writing the same files, for comparison. Each puts one rotation's files in place."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.torture.reader import COMBINED, PAIR, content


def files(number: int) -> dict[str, str]:
    """What a rotation's files hold, by path."""
    text = content(number)
    return {**dict.fromkeys(PAIR, text), COMBINED: json.dumps({"user": text, "password": text})}


def truncate_in_place(volume: Path, number: int) -> None:
    """Open each file anew and write it."""
    for path, text in files(number).items():
        (volume / path).parent.mkdir(exist_ok=True)
        (volume / path).write_text(text)


def rename_per_file(volume: Path, number: int) -> None:
    """Each file is whole at any moment, the pair is not."""
    for path, text in files(number).items():
        (volume / path).parent.mkdir(exist_ok=True)
        aside = volume / "aside"
        aside.write_text(text)
        aside.rename(volume / path)


def swap_without_retention(volume: Path, number: int) -> None:
    """A new directory and one rename of `..data`, and what was superseded goes at once."""
    made = volume / f"..{number}"
    for path, text in files(number).items():
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        (made / path).write_text(text)
    aside, data = volume / "..aside", volume / "..data"
    before = data.readlink() if data.is_symlink() else None
    aside.symlink_to(made.name)
    aside.rename(data)
    for name in {path.split("/")[0] for path in files(number)}:
        if not (volume / name).is_symlink():
            os.symlink(f"..data/{name}", volume / name)
    if before is not None:
        shutil.rmtree(volume / before)


WAYS: dict[str, Callable[[Path, int], None]] = {
    "truncate in place": truncate_in_place,
    "rename per file": rename_per_file,
    "swap without retention": swap_without_retention,
}
