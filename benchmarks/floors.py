"""Requirements files in, their lowest versions installed in an environment of their own and tested.

`python benchmarks/floors.py [PYTEST OPTION ...]`: takes minutes and gigabytes, so CI leaves it out.
Run it when a bound changes: a bound that nobody installed is a guess.
"""

import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = ("", "-clip", "-text", "-trackers", "-dev")
# what the tests need, not what users install: taken as it comes
TOOLS = {"pytest", "ruff", "playwright", "axe-playwright-python", "captum", "grad-cam"}
BOUND = re.compile(r"^([\w.-]+)>=([\w.]+)$", re.MULTILINE)


def floors():
    "{package: lowest version} over all requirements files."
    texts = (ROOT / f"requirements{name}.txt" for name in FILES)
    found = dict(pair for path in texts for pair in BOUND.findall(path.read_text("utf-8")))
    return {name: version for name, version in found.items() if name not in TOOLS}


def install(folder, constraints):
    "A fresh environment in `folder` with every requirement at its floor; the path of its Python."
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--upgrade", "pip"], check=True)  # an old one gives up on the bounds
    wanted = ["--constraint", constraints, "--requirement", ROOT / "requirements-dev.txt"]
    subprocess.run([*pip, *wanted], check=True)
    return python


def main(asked):
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "floors.txt"
        lines = [f"{name}=={version}" for name, version in floors().items()]
        constraints.write_text("\n".join(lines) + "\n", encoding="utf-8")
        python = install(Path(folder) / "venv", constraints)
        subprocess.run([python, "-m", "pip", "freeze"], check=True)
        return subprocess.run([python, "-m", "pytest", *asked], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
