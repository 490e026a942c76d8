"""An API server that knows nothing but tokens, for a hub in benchmarks and tests.

``python -m bench.reviews N FILE`` is one in a process of its own: it accepts `token-of-a0` and on, N of them, and
`token-of-bad`, writes the kubeconfig that leads to it to FILE, and serves until its input ends.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from agent.demo.server import Exchange, Server

AUDIENCE = "freshmount"


class TokenReviews(Server):
    """Plays the API server's TokenReview: `tokens` are those that it accepts, with account, pod and audience."""

    def __init__(self) -> None:
        self.tokens: dict[str, tuple[str, str, str]] = {}
        self.reviewed: list[str] = []
        self.down = False
        super().__init__()

    def token(self, name: str, *, namespace: str = "shop", pod: str | None = None, audience: str = AUDIENCE) -> str:
        """A token of a service account."""
        self.tokens[f"token-of-{name}"] = (f"system:serviceaccount:{namespace}:{name}", pod or f"pod-{name}", audience)
        return f"token-of-{name}"

    def respond(self, exchange: Exchange) -> None:
        spec = json.loads(exchange.body)["spec"]
        self.reviewed.append(spec["token"])
        if self.down:
            exchange.answer(503, b"{}", "application/json")
            return
        account, pod, audience = self.tokens.get(spec["token"], ("", "", ""))
        good = audience in spec["audiences"]
        user = {"username": account, "extra": {"authentication.kubernetes.io/pod-uid": [pod]}}
        status = {"authenticated": True, "user": user, "audiences": [audience]} if good else {"authenticated": False}
        answer = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec, "status": status}
        exchange.answer(201, json.dumps(answer).encode(), "application/json")

    def kubeconfig(self, at: Path) -> Path:
        """The file that leads a client here."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": self.url}}],
            "users": [{"name": "u", "user": {"token": "of-the-hub"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        at.write_text(json.dumps(config))
        return at


def main() -> None:
    """Serve."""
    with TokenReviews() as reviews:
        for number in range(int(sys.argv[1])):
            reviews.token(f"a{number}", namespace=f"n{number % 50}")
        reviews.token("bad", namespace="bad")
        reviews.kubeconfig(Path(sys.argv[2]))
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
