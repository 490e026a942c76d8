"""Makes what a release has, the same bytes each time: `make release VERSION=x.y.z` (docs/release.md)."""
