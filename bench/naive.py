"""What one would write in an afternoon with the same libraries, to compare with. Not a straw man: it renames each file
into place, keeps one client, watches the config and serves metrics.

``python naive.py CONFIG``, where CONFIG is one that the agent reads, too.
"""

import os
import sys
import time

import boto3
import structlog
import yaml
from prometheus_client import Counter, Gauge, start_http_server
from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer

log = structlog.get_logger()
fetched = Counter("naive_fetched", "Values fetched.")
last = Gauge("naive_last_pass_timestamp_seconds", "When the last pass ended.")


def main(path):
    with open(path) as handle:
        config = yaml.safe_load(handle)
    start_http_server(int(config["listen"].rpartition(":")[2]), "127.0.0.1")
    observer = Observer()
    observer.schedule(FileSystemEventHandler(), os.path.dirname(path))
    observer.start()
    client = boto3.client("secretsmanager", region_name=config["region"], endpoint_url=config.get("endpointUrl"))
    root, known = config["volume"]["path"], {}
    os.makedirs(root, exist_ok=True)
    while True:
        for secret in config["secrets"]:
            if secret["secretId"] in known:
                stages = client.describe_secret(SecretId=secret["secretId"])["VersionIdsToStages"]
                current = next(version for version, names in stages.items() if "AWSCURRENT" in names)
                if known[secret["secretId"]] == current:
                    continue
            value = client.get_secret_value(SecretId=secret["secretId"])
            fetched.inc()
            target = os.path.join(root, secret["files"][0]["path"])
            with open(target + ".new", "w") as handle:
                handle.write(value["SecretString"])
                handle.flush()
                os.fsync(handle.fileno())
            os.rename(target + ".new", target)
            known[secret["secretId"]] = value["VersionId"]
        last.set_to_current_time()
        log.info("pass", secrets=len(known))
        time.sleep(float(config["poll"]["period"].rstrip("s")))


main(sys.argv[1])
