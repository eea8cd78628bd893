"""Render a template into one self-contained HTML file, with styles, scripts and pictures inside."""

import base64
import gzip
import json
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from plotly.offline import get_plotlyjs

from vlg_fastai.runs.files import replacing


def write(path, template, /, **values):
    "Render `template` with `values` to `path`; returns `path`."
    text = _environment().get_template(template).render(values)
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")
    return path


def _environment():
    made = Environment(
        loader=PackageLoader("vlg_fastai.pages", "templates"), undefined=StrictUndefined,
        autoescape=select_autoescape(["html"]), trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    # a file name may hold </script>, and invalid UTF-8 must stay ASCII
    made.filters["json"] = lambda value: json.dumps(value).replace("<", "\\u003c")
    made.globals["chart_library"] = packed_library
    return made


@cache
def packed_library():
    "Plotly for a page, compressed and as text: 2.0 MB instead of 4.8, unpacked in the browser."
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()
