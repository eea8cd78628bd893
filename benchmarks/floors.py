"""Install the lowest allowed version of every requirement in a separate environment, and test it.

`pip install uv && python benchmarks/floors.py [PYTEST OPTION ...]` takes minutes and gigabytes, so
CI leaves it out. Run it when a bound changes: a bound that nobody has installed is a guess.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
WANTED = ("--resolution", "lowest-direct", "--requirements", str(ROOT / "requirements-dev.txt"))


def main(asked):
    "Exit status of the tests with every direct requirement at its lower bound."
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "bin" / "python"
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--clear", "--python", sys.executable, folder], check=True)
        subprocess.run([*uv, "pip", "install", "--python", python, *WANTED], check=True)
        return subprocess.run([python, "-m", "pytest", *asked], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
