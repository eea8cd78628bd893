"""The exported Gradio page, in an environment of its own: gradio's pins differ from ours.

python -m venv app && app/bin/pip install -r export/NAME/requirements.txt
VLG_APP_PYTHON=app/bin/python pytest tests/test_app.py
"""

import json
import os
import socket
import subprocess
import time
import urllib.request

import pytest

pytest.importorskip("onnxruntime", reason="pip install -r requirements-export.txt")
PYTHON = os.environ.get("VLG_APP_PYTHON")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("export"),
    pytest.mark.skipif(not PYTHON, reason="VLG_APP_PYTHON: a Python with the app's requirements"),
]
ASK = """
import json, sys
from gradio_client import Client, handle_file

told = Client(sys.argv[1], verbose=False).predict(handle_file(sys.argv[2]), api_name="/classify")
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def home(exported_probe):
    return exported_probe[1]


@pytest.fixture(scope="module")
def address(home):
    "The page's address; it runs without our package on its path."
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    set_to = {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False"}
    app = subprocess.Popen([PYTHON, "app.py"], cwd=home, env={**kept, **set_to})
    url = f"http://127.0.0.1:{port}"
    try:
        yield answering(url, app)
    finally:
        app.terminate()
        app.wait()


def answering(url, app):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert app.poll() is None, "app.py ended"
        try:
            with urllib.request.urlopen(url):
                return url
        except OSError:
            time.sleep(0.2)
    raise AssertionError("app.py does not answer")


def expected(home, number):
    "{class: probability} of a sample in samples.csv."
    head, *rows = (home / "samples.csv").read_text().splitlines()
    file, *values = rows[number].split(",")
    return file, dict(zip(head.split(",")[1:], map(float, values), strict=True))


def test_the_page_answers_over_loopback_as_predict_does(address, home):
    file, want = expected(home, 0)
    command = [PYTHON, "-c", ASK, address, str(home / file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    label, familiar = json.loads(done.stdout.splitlines()[-1])
    assert label["label"] == max(want, key=want.get)
    for one in label["confidences"]:
        assert abs(one["confidence"] - want[one["label"]]) < 2e-3
    assert "familiar" in familiar or "no class" in familiar


def test_the_page_answers_in_a_browser(address, home, browser):
    file, want = expected(home, 1)
    page = browser.new_page()
    page.goto(address)
    page.locator("input[type=file]").first.set_input_files(home / file)
    page.get_by_role("button", name="Submit").click()
    best = max(want, key=want.get)
    page.locator("[data-testid=label-output-value]", has_text=best).wait_for(timeout=20_000)
