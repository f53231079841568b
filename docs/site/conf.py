# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How Sphinx makes the site of this collection; tests/release puts the pages in order and calls it. Nothing is fetched while it is made or read."""

import zlib
from pathlib import Path

project = "gb10.vllm"
copyright = "gb10.vllm contributors"
html_title = html_short_title = "gb10.vllm"
extensions = ["myst_parser", "sphinx.ext.intersphinx", "sphinx_antsibull_ext"]
# The pages lie as they do in the repository, so that their links hold in both.
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
myst_heading_anchors = 4  # as the pages link to headings
pygments_style = "ansible"
highlight_language = "YAML+Jinja"
html_theme = "sphinx_ansible_theme"
# The theme's own home is "/", which is not ours wherever the site lies below another.
html_theme_options = {"display_version": True, "vcs_pageview_mode": "raw", "documentation_home_url": "https://github.com/gb10/vllm/tree/main/docs"}
html_show_sphinx = False
html_copy_source = False
html_use_modindex = html_use_index = False
default_role = "any"

# Pages of Ansible's own documentation that antsibull-docs links to, written down here, so that nothing has to be fetched.
ANSIBLE = {
    "common_return_values": "reference_appendices/common_return_values.html",
    "action_plugins": "plugins/action.html",
    "callback_plugins": "plugins/callback.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "ansible_collections.ansible.builtin.git_module": "collections/ansible/builtin/git_module.html",
}
inventory = Path(__file__).with_name("ansible.inv")
lines = "".join(f"{label} std:label -1 {page} {label}\n" for label, page in sorted(ANSIBLE.items()))
inventory.write_bytes(b"# Sphinx inventory version 2\n# Project: ansible\n# Version: \n# zlib\n" + zlib.compress(lines.encode()))
intersphinx_mapping = {"ansible": ("https://docs.ansible.com/projects/ansible/devel/", str(inventory))}
