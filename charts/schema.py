"""Print values.schema.json of the library: its own part, with the agent's schema where `config` is."""

from __future__ import annotations

import json
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    schema = json.loads((HERE / "values.schema.in.json").read_text())
    config = json.loads((HERE / schema["properties"]["config"]["$ref"]).read_text())
    # In values, null takes a default away.
    for name, of in config["properties"].items():
        if name not in config["required"]:
            of["type"] = [of["type"], "null"]
    # `$id` would be the base of other references. What is required, the templates ask for, and only when turned on.
    for key in ("$schema", "$id", "required"):
        del config[key]
    schema["properties"]["config"] = config
    print(json.dumps(schema, indent=2))


main()
