"""The real process with a SecretProviderClass as its config: files, a rotation, and the move to a converted config."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.aws import environment
from tests.support.running import freshmount, running, until
from tests.support.services import Services, serving

OWN = """\
apiVersion: freshmount.dev/v1
kind: Config
endpointUrl: {url}
volume: {{path: {volume}}}
poll: {{period: 500ms}}
listen: 127.0.0.1:0
notify:
  - {{name: web, touch: {touch}}}
"""
CLASS = """\
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata: {name: orchard}
spec:
  provider: aws
  parameters:
    objects: |
      - objectName: orchard/press
        objectType: secretsmanager
        jmesPath: [{path: word, objectAlias: word, filePermission: "0400"}]
      - {objectName: /orchard/rain, objectType: ssmparameter}
"""


@pytest.fixture
def aws() -> Iterator[tuple[Services, str]]:
    with serving() as (services, url):
        services.put("orchard/press", '{"word": "CANARY-1"}')
        services.put_parameter("/orchard/rain", "CANARY-rain")
        yield services, url


def files(tmp_path: Path) -> dict[str, str]:
    data = tmp_path / "secrets" / "..data"
    return {path.name: path.read_text() for path in data.iterdir() if not path.name.startswith("..")}


def test_a_class_is_followed_and_converted_without_a_notification(aws: tuple[Services, str], tmp_path: Path) -> None:
    """A reload from the class to the config that `convert` prints publishes nothing; the next rotation does."""
    services, url = aws
    own = OWN.format(url=url, volume=tmp_path / "secrets", touch=tmp_path / "touched")
    path, manifest = tmp_path / "config.yaml", tmp_path / "class.yaml"
    path.write_text(f"{own}---\n{CLASS}")
    manifest.write_text(CLASS)
    region = {**environment(), "AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "pod"}
    with running("run", path, region) as agent:
        agent.ready()
        first = {"orchard_press": '{"word": "CANARY-1"}', "word": "CANARY-1", "_orchard_rain": "CANARY-rain"}
        assert files(tmp_path) == first
        services.put("orchard/press", '{"word": "CANARY-2"}')
        agent.event("notified")
        assert files(tmp_path)["word"] == "CANARY-2"
        before, touched = (tmp_path / "secrets" / "..data").readlink(), (tmp_path / "touched").stat().st_mtime_ns
        converted = freshmount("convert", str(manifest), env=region).stdout
        aside = tmp_path / "aside"
        made = {**yaml.safe_load(own), **yaml.safe_load(converted)}
        made["volume"] |= yaml.safe_load(own)["volume"]
        aside.write_text(yaml.safe_dump(made))
        aside.rename(path)
        agent.event("config reloaded")
        calls = services.count("DescribeSecret")
        until(lambda: services.count("DescribeSecret") > calls + 1)
        assert (tmp_path / "secrets" / "..data").readlink() == before
        assert (tmp_path / "touched").stat().st_mtime_ns == touched
        services.put("orchard/press", '{"word": "CANARY-3"}')
        until(lambda: files(tmp_path)["word"] == "CANARY-3")
        assert agent.stop() == 0
        assert "CANARY" not in agent.stderr
