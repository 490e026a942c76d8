"""Sphinx's settings for the documentation site: `make docs`. The pages are plain Markdown, as a forge shows it."""

from __future__ import annotations

from agent import __version__

project = "Freshmount"
author = "The Freshmount authors"
copyright = author
release = version = __version__

root_doc = "docs/index"
extensions = ["myst_parser"]
myst_heading_anchors = 4  # links to a heading, as a forge makes them
# A template of Helm in a block of YAML is neither YAML nor a mistake.
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = f"Freshmount {release}"
html_static_path = ["_static"]
html_css_files = ["freshmount.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}
