"""What MkDocs calls while it builds the site (`hooks` in mkdocs.yml)."""

import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
from generated_pages import PAGES


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add the pages that are made from the code."""
    for name, page in PAGES.items():
        files.append(File.generated(config, name, content=page()))
    return files
