"""The real process with an ExternalSecret: its directory follows each secret, also one that is found or made later."""

from __future__ import annotations

from pathlib import Path

from tests.support.aws import environment
from tests.support.running import running, until
from tests.support.services import serving

CONFIG = """\
apiVersion: freshmount.dev/v1
kind: Config
endpointUrl: {url}
volume: {{path: {volume}}}
listen: 127.0.0.1:0
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {{name: web}}
spec:
  secretStoreRef: {{name: main}}
  refreshInterval: 500ms
  target:
    deletionPolicy: Delete
    template: {{mergePolicy: Merge, data: {{dsn: "{{{{ .user }}}}:{{{{ .pass }}}}"}}}}
  data: [{{secretKey: late, remoteRef: {{key: prod/late}}}}]
  dataFrom:
    - extract: {{key: prod/db}}
    - find: {{path: app/, name: {{regexp: .}}}}
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {{name: main}}
spec: {{provider: {{aws: {{service: SecretsManager, region: eu-west-1}}}}}}
"""


def files(volume: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((volume / "web").iterdir())}


def test_a_directory_follows_all_that_it_is_made_of(tmp_path: Path) -> None:
    volume, config = tmp_path / "secrets", tmp_path / "config.yaml"
    with serving() as (services, url):
        services.put("prod/db", '{"user": "CANARY-u", "pass": "CANARY-1"}')
        services.put("app/x", "CANARY-x")
        config.write_text(CONFIG.format(url=url, volume=volume))
        with running("run", config, {**environment(), "AWS_ACCESS_KEY_ID": "pod"}) as agent:
            agent.ready()
            first = {"user": "CANARY-u", "pass": "CANARY-1", "dsn": "CANARY-u:CANARY-1", "app_x": "CANARY-x"}
            assert files(volume) == first
            services.put("prod/db", '{"user": "CANARY-u", "pass": "CANARY-2"}')
            second = {**first, "pass": "CANARY-2", "dsn": "CANARY-u:CANARY-2"}
            until(lambda: files(volume) == second)
            services.put("app/y", "CANARY-y")
            services.put("prod/late", "CANARY-late")
            until(lambda: files(volume) == {**second, "app_y": "CANARY-y", "late": "CANARY-late"})
            agent.stop()
            assert "CANARY" not in agent.stderr
