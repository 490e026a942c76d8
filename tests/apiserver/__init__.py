"""A real Kubernetes API server, without a node, and the tests that run on it."""
