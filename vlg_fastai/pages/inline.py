"""Show a page or a picture inside a notebook."""

import base64
import html
import mimetypes
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Inline:
    "A page (.html) or picture that a notebook displays; height: of a page, in pixels."

    path: Path
    height: int = 800

    def _repr_html_(self):
        "What Jupyter, Colab and Kaggle display: the file itself, so that no server is needed."
        if self.path.suffix == ".html":
            page = html.escape(self.path.read_text(encoding="utf-8"))
            style = f"width:100%;height:{self.height}px;border:0"
            return f'<iframe srcdoc="{page}" style="{style}"></iframe>'
        kind = mimetypes.guess_type(self.path)[0]
        data = base64.b64encode(self.path.read_bytes()).decode()
        return f'<img src="data:{kind};base64,{data}" style="max-width:100%">'
