# SPDX-License-Identifier: GPL-2.0
"""What Sphinx asks. scripts/fsdaxlib/docs.py sets both variables."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(os.environ["srctree"]) / "Documentation/sphinx"))

project = "rust_fsdax"
author = "rust_fsdax developers"
copyright = "rust_fsdax developers"
version = release = os.environ["RUST_FSDAX_VERSION"]

extensions = ["kerneldoc"]
kerneldoc_srctree = os.environ["srctree"]
exclude_patterns = ["conf.py", "tree"]
highlight_language = "none"
primary_domain = "c"
smartquotes = False

html_theme = "alabaster"
html_theme_options = {"page_width": "1100px", "sidebar_width": "200px"}
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
