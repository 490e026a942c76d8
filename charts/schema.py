"""Prints values.schema.json of the library: its own part, with the agent's schema where `config` is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def main() -> None:
    schema = json.loads((HERE / "values.schema.in.json").read_text())
    config = json.loads((HERE / schema["properties"]["config"]["$ref"]).read_text())
    # `$id` would be the base of other references. What is required, the templates ask for, and only when turned on.
    for key in ("$schema", "$id", "required"):
        del config[key]
    schema["properties"]["config"] = config
    _nullable(schema)
    config["properties"]["secrets"]["type"] = "array"  # nothing is the default of it
    print(json.dumps(schema, indent=2))


def _nullable(schema: dict[str, Any]) -> None:
    """In values, null takes a default away, at any depth but in lists, which Helm does not merge. Words to choose from
    need no null among them: where the library has a default, Helm drops the null before it looks at the schema.
    """
    if isinstance(more := schema.get("additionalProperties"), dict):
        types = more["type"]
        more["type"] = [*([types] if isinstance(types, str) else types), "null"]
    for name, of in schema.get("properties", {}).items():
        _nullable(of)
        if name in schema.get("required", ()):
            continue
        if isinstance(of.get("type"), str):
            of["type"] = [of["type"], "null"]


main()
