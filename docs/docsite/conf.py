# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx reads this: the site that `make docs` builds without network from docs/*.md and what antsibull-docs makes."""

project = "fractal_ops.platform"
copyright = "the fractal_ops.platform developers"
extensions = ["myst_parser", "sphinx_antsibull_ext"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
html_theme = "sphinx_ansible_theme"
html_title = "fractal_ops.platform"
html_short_title = "fractal_ops.platform"
html_show_sphinx = False
html_copy_source = False
html_use_smartypants = False
html_theme_options = {"navigation_depth": 2, "topbar_links": {"Source": "https://github.com/fractal-ops/platform"}}
highlight_language = "YAML+Jinja"
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
nitpicky = True
