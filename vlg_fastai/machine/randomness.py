"""Save and restore the state of every random generator of this process, as JSON holds it."""

import random

import numpy as np
import torch


def state():
    "State of the generators of Python, NumPy and torch, on the CPU and on every GPU."
    version, words, gauss = random.getstate()
    kind, keys, *rest = np.random.get_state()
    found = {
        "python": [version, list(words), gauss],
        "numpy": [kind, keys.tolist(), *rest],
        "torch": _text(torch.get_rng_state()),
    }
    if torch.cuda.is_available():
        found["cuda"] = [_text(one) for one in torch.cuda.get_rng_state_all()]
    if torch.backends.mps.is_available():
        found["mps"] = _text(torch.mps.get_rng_state())
    return found


def restore(found):
    "Restore every generator from `found`; a GPU without a saved state keeps its own."
    random.setstate(python_state(found["python"]))
    kind, keys, *rest = found["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), *rest))
    torch.set_rng_state(_tensor(found["torch"]))
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for number, one in zip(range(gpus), found.get("cuda", ()), strict=False):
        torch.cuda.set_rng_state(_tensor(one), number)
    if "mps" in found and torch.backends.mps.is_available():
        torch.mps.set_rng_state(_tensor(found["mps"]))


def python_state(told):
    "Convert a state read from JSON to what `random.Random.setstate` takes."
    version, words, gauss = told
    return version, tuple(words), gauss


def _text(tensor):
    return bytes(tensor.cpu().numpy()).hex()


def _tensor(text):
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
