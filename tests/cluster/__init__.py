"""One real Kubernetes node on this machine, and the tests that run on it."""
