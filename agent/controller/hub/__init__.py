"""The hub: looks at AWS once for all agents of the cluster, and answers those that wait. No value passes through it."""
