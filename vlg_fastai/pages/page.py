"""Template and values in, one HTML file out: styles, scripts and all that it shows are inside."""

import json

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from plotly.offline import get_plotlyjs

from vlg_fastai.runs.files import replacing


def write(path, template, /, **values):
    "Write the page that `template` makes of `values` to `path`; returns `path`."
    text = _environment().get_template(template).render(values)
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")
    return path


def _environment():
    made = Environment(
        loader=PackageLoader("vlg_fastai.pages", "templates"), undefined=StrictUndefined,
        autoescape=select_autoescape(["html"]), trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    # a file name may hold </script>; and text that is no valid UTF-8 stays ASCII
    made.filters["json"] = lambda value: json.dumps(value).replace("<", "\\u003c")
    made.globals["chart_library"] = get_plotlyjs
    return made
