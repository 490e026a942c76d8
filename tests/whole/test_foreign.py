"""The real process with other people's manifests: what they ask for is published, followed, and kept by a process that
rests."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.support.aws import environment
from tests.support.resting import rested
from tests.support.running import running, until
from tests.support.services import serving

CONFIG = """\
apiVersion: freshmount.dev/v1
kind: Config
region: eu-west-1
endpointUrl: {url}
volume: {{path: {volume}}}
poll: {{period: 20s}}
listen: 127.0.0.1:0
notify:
  - {{name: web, touch: {touch}}}
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {{name: aws}}
spec: {{provider: {{aws: {{service: SecretsManager, region: eu-west-1}}}}}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {{name: web}}
spec:
  secretStoreRef: {{name: aws}}
  target:
    name: app
    template: {{data: {{url: "postgres://{{{{ .user }}}}@h"}}}}
  data:
    - {{secretKey: user, remoteRef: {{key: prod/db, property: user}}}}
---
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata: {{name: files}}
spec:
  provider: aws
  parameters:
    region: eu-west-1
    objects: |
      - objectName: prod/key
        objectType: secretsmanager
        objectAlias: key
"""


def test_what_manifests_ask_for_is_published_and_followed(tmp_path: Path) -> None:
    """Also after the process that read them has become the one that rests, and by its workers."""
    volume, config = tmp_path / "secrets", tmp_path / "config.yaml"
    with serving() as (services, url):
        services.put("prod/db", '{"user": "ann"}')
        services.put("prod/key", "k1")
        config.write_text(CONFIG.format(url=url, volume=volume, touch=tmp_path / "touched"))
        with running("run", config, environment()) as agent:
            rested(agent)
            assert (volume / "app" / "url").read_text() == "postgres://ann@h" and (volume / "key").read_text() == "k1"
            services.put("prod/db", '{"user": "bob"}')
            services.put("prod/key", "k2")
            agent.process.send_signal(signal.SIGUSR1)
            until(lambda: (volume / "key").read_text() == "k2")
            assert (volume / "app" / "url").read_text() == "postgres://bob@h"
            until((tmp_path / "touched").exists)
            assert agent.stop() == 0
