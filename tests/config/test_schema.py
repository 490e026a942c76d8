"""The JSON Schema beside the config says what the parser says, as far as a schema can."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from agent.config.native import KEYS, OWN_LOOKS, SIGNALS, parse
from agent.config.outputs import ENCODINGS, FORMATS, MISSING
from tests.support.configs import BEYOND, STRUCTURAL, VALID
from tests.support.paths import ROOT

HOME = ROOT / "config"
SCHEMA: dict[str, Any] = json.loads((HOME / "schema.json").read_text())
EXAMPLES = sorted(HOME.glob("*.yaml"))


def accepts(text: str) -> bool:
    return jsonschema.Draft7Validator(SCHEMA).is_valid(yaml.safe_load(text))


def test_the_schema_is_one() -> None:
    """draft-07, as editors read it."""
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_accepted_by_both(path: Path) -> None:
    """What we tell people to copy works, and their editor finds the schema."""
    text = path.read_text()
    assert parse(text, str(path)).bundle.secrets
    assert accepts(text)
    assert text.startswith("# yaml-language-server: $schema=./schema.json\n")


def test_the_page_on_configs_names_every_example() -> None:
    """One that is renamed or added is found by a reader, and by the tests here."""
    linked = re.findall(r"\(\.\./config/(\S+\.yaml)\)", (HOME.parent / "docs" / "config.md").read_text())
    assert linked and sorted(linked) == [path.name for path in EXAMPLES]


def test_valid_structure_is_accepted() -> None:
    """The schema refuses nothing that the parser's structure allows."""
    assert [name for name, text in [*VALID.items(), *BEYOND.items()] if not accepts(text)] == []


def test_invalid_structure_is_refused() -> None:
    """An editor underlines what the parser would refuse."""
    assert [name for name, text in STRUCTURAL.items() if accepts(text)] == []


def test_the_keys_are_the_same() -> None:
    """A key added to one and forgotten in the other breaks the build."""
    secret = SCHEMA["properties"]["secrets"]["items"]
    shared = SCHEMA["properties"]["files"]["items"]
    target = SCHEMA["properties"]["notify"]["items"]
    sections = {
        "config": SCHEMA,
        "volume": SCHEMA["properties"]["volume"],
        "poll": SCHEMA["properties"]["poll"],
        "startup": SCHEMA["properties"]["startup"],
        "secret": secret,
        "file": secret["properties"]["files"]["items"],
        "sharedFile": shared,
        "pem": shared["properties"]["pem"],
        "pkcs12": shared["properties"]["pkcs12"],
        "keyOf": shared["properties"]["pem"]["properties"]["certificate"],
        "find": secret["properties"]["find"],
        "failover": secret["properties"]["failover"]["anyOf"][0],
        "require": secret["properties"]["require"],
        "match": secret["properties"]["require"]["properties"]["match"]["items"],
        "certificate": secret["properties"]["require"]["properties"]["certificate"],
        "target": target,
        "process": target["properties"]["process"],
        "exitWith": SCHEMA["properties"]["exitWith"],
        "hub": SCHEMA["properties"]["hub"],
    }
    assert {name: sorted(section["properties"]) for name, section in sections.items()} == {
        name: sorted(keys) for name, keys in KEYS.items()
    }
    assert target["properties"]["signal"]["enum"] == list(SIGNALS)
    assert sections["hub"]["properties"]["ownLooks"]["enum"] == list(OWN_LOOKS)
    assert sections["file"]["properties"]["format"]["enum"] == list(FORMATS)
    assert sections["file"]["properties"]["encoding"]["enum"] == list(ENCODINGS)
    assert sections["file"]["properties"]["missing"]["enum"] == list(MISSING)


def test_go_reads_the_patterns_too() -> None:
    """Helm compiles them with RE2, which knows neither lookaround nor \\u."""
    text = (HOME / "schema.json").read_text()
    assert "(?" not in text and "\\\\u" not in text
