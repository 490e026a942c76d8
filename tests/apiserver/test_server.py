"""The API server alone: that it starts, goes away and comes back with what it holds, and forgets the past."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightkube import ApiError
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, Namespace

from tests.apiserver.server import api_server


def test_it_keeps_what_it_holds_and_forgets_the_past(tmp_path: Path) -> None:
    with api_server(tmp_path / "server") as server:
        client = server.client()
        assert "default" in [each.metadata.name for each in client.list(Namespace) if each.metadata]
        made = client.create(ConfigMap(metadata=ObjectMeta(name="one"), data={"k": "v"}), namespace="default")
        server.stop()
        server.start()
        assert client.get(ConfigMap, "one", namespace="default").data == {"k": "v"}
        assert made.metadata
        for number in range(3):
            client.create(ConfigMap(metadata=ObjectMeta(name=f"more-{number}")), namespace="default")
        server.stop()
        server.compact()
        server.start()
        with pytest.raises(ApiError) as refused:
            next(iter(client.watch(ConfigMap, namespace="default", resource_version=made.metadata.resourceVersion)))
    assert refused.value.status.code == 410
    assert not client.config.cluster.server.endswith(":0")
