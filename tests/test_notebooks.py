"""The notebooks run from the first cell to the last, and show pictures and pages inline."""

import os
import sys
from pathlib import Path

import pytest
from test_docs import draw_small

nbformat = pytest.importorskip("nbformat", reason="pip install nbclient ipykernel")
from nbclient import NotebookClient  # noqa: E402

ROOT = Path(__file__).parents[1]
SMALL = {  # notebook -> lines of its settings -> the same for a test
    "quickstart": {
        "EPOCHS = 5": "EPOCHS = 1",
        "OPTIONS = {}": 'OPTIONS = {"size": 32, "arch": "tf_efficientnet_lite0", "workers": 0}',
    },
    "kaggle": {
        "EPOCHS, FOLDS, HOURS = 10, 4, 8": "EPOCHS, FOLDS, HOURS = 1, 2, 1",
        '"--arch tf_efficientnet_lite0"': '"--arch tf_efficientnet_lite0 --size 32 --workers 0"',
    },
}


def small(name):
    "The notebook with settings that finish in seconds."
    notebook = nbformat.read(ROOT / f"notebooks/{name}.ipynb", as_version=4)
    for old, new in SMALL[name].items():
        (cell,) = [one for one in notebook.cells if old in one.source]
        cell.source = cell.source.replace(old, new)
    return notebook


def in_the_kernel(notebook):
    "Run the scripts after the first in the kernel, which has imported what each would again."
    scripts = [cell for cell in notebook.cells if cell.source.startswith("!python ")]
    for cell in scripts[1:]:
        cell.source = cell.source.replace("!python ", "%run ", 1)
    return notebook


def shown(notebook):
    "The HTML that its cells display."
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    return [one["data"].get("text/html", "") for one in outputs if "data" in one]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of jupyter_client and zmq
@pytest.mark.parametrize("name", SMALL)
def test_a_notebook_runs_and_shows_its_pages_inline(name, tmp_path, monkeypatch):
    draw_small(tmp_path / "data/demo")
    for script in ROOT.glob("*.py"):
        (tmp_path / script.name).symlink_to(script)
    for key, value in {
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }.items():
        monkeypatch.setenv(key, value)
    notebook = in_the_kernel(small(name))
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path}}).execute()
    told = "".join(
        one.get("text", "") for cell in notebook.cells for one in cell.get("outputs", [])
    )
    assert "error:" not in told
    assert "Traceback" not in told
    assert any("<iframe srcdoc=" in html for html in shown(notebook))
    assert (tmp_path / "submission.csv").is_file()


@pytest.mark.parametrize("name", SMALL)
def test_a_notebook_is_stored_without_outputs(name):
    notebook = nbformat.read(ROOT / f"notebooks/{name}.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    assert not any(cell.get("execution_count") for cell in notebook.cells)
