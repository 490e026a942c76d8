"""Freshmount: keeps the secret files of a Kubernetes pod fresh."""

__version__ = "0.1.0"
