"""Save everything a fit depends on to `checkpoint/` as safetensors and JSON, and read it back.

Each checkpoint is written beside the previous one, its JSON last; only then is the previous one
removed: a kill at any moment leaves a complete one. A thread writes; the fit waits only for copies.
"""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.model.bundle import write_tensors
from vlg_fastai.runs.files import replacing

TENSORS, STATE = "state.safetensors", "state.json"
TENSOR = "tensor"  # key in the JSON that stands for a value stored among the tensors


class Writer:
    "Do writing jobs one after the other, off the training thread, and count what they cost."

    def __init__(self, folder):
        self.folder, self.pool, self.last = folder, ThreadPoolExecutor(1), None
        self.written, self.bytes, self.waited, self.told = 0, 0, 0.0, False

    def submit(self, work, *given):
        "Run `work(*given)` once earlier work is done; a disk error is only reported."
        self.settle()
        self.last = self.pool.submit(self._guarded, work, *given)

    def keep(self, state):
        "Write the nested `state` as the newest checkpoint; it is copied before this returns."
        start, tensors = time.monotonic(), {}
        plain = packed(state, tensors)
        self.submit(self._write, plain, tensors)
        self.waited += time.monotonic() - start

    def settle(self):
        "Wait until everything is written."
        if self.last:
            self.last.result()

    def say_cost(self, seconds):
        "Report what was written, and how long a fit of `seconds` waited for it."
        if self.written and seconds:
            say(
                f"checkpoints: {self.written} written, {self.bytes / 1e6:.0f} MB each; the fit"
                f" waited {self.waited:.1f} s for them ({self.waited / seconds:.1%} of its time)"
            )

    def _guarded(self, work, *given):
        try:
            work(*given)
        except OSError as error:
            if not self.told:
                what = f"{error.filename or self.folder}: {error.strerror or error}"
                say(f"{what}: the fit continues, but its progress is not saved until this works")
            self.told = True
        except UserError as error:  # non-finite weights: the fit handles that itself
            say(str(error))

    def _write(self, plain, tensors):
        before = places(self.folder)
        place = self.folder / f"{int(before[-1].name) + 1 if before else 1:06d}"
        place.mkdir(parents=True)
        write_tensors(place / TENSORS, tensors)
        with replacing(place / STATE) as beside:
            beside.write_text(json.dumps(plain), encoding="ascii")
        for old in before:
            shutil.rmtree(old, ignore_errors=True)
        self.written += 1
        self.bytes = sum(t.numel() * t.element_size() for t in tensors.values())


def circumstances_of(prepared):
    "What decides whether a fit can resume here, and whether bit for bit."
    return {
        "weights": prepared.extractor.mark if prepared.extractor else None,
        "extra": prepared.extra.mark if prepared.extra else None,
        "device": str(prepared.machine.device),
        "processes": prepared.machine.ranks.count,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def places(folder):
    "The checkpoints in `folder`, complete or not, newest last."
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir())


def read(folder):
    "The newest complete checkpoint in `folder`, nested as it was saved; None if there is none."
    for place in reversed(places(folder)):
        if not (place / STATE).exists():
            continue
        try:
            plain = json.loads((place / STATE).read_text(encoding="ascii"))
            tensors = load_file(place / TENSORS)  # backed by the file, which must be deletable
            return unpacked(plain, {key: tensor.clone() for key, tensor in tensors.items()})
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            say(f"{place}: damaged checkpoint ({error}); ignored")
    return None


def packed(value, tensors, name="state"):
    "`value` in a form that JSON can hold; tensors inside are copied to the dict `tensors`."
    if isinstance(value, torch.Tensor):
        tensors[name] = value.detach().as_subclass(torch.Tensor).to("cpu", copy=True)
        return {TENSOR: name}
    if isinstance(value, dict):
        return {key: packed(inner, tensors, f"{name}/{key}") for key, inner in value.items()}
    if isinstance(value, str | bool | int | float | None):
        return value
    if hasattr(value, "item"):
        return value.item()
    return [packed(inner, tensors, f"{name}/{i}") for i, inner in enumerate(value)]


def unpacked(plain, tensors):
    "Invert `packed`, except that tuples come back as lists."
    if isinstance(plain, list):
        return [unpacked(inner, tensors) for inner in plain]
    if not isinstance(plain, dict):
        return plain
    if set(plain) == {TENSOR}:
        return tensors[plain[TENSOR]]
    return {key: unpacked(inner, tensors) for key, inner in plain.items()}
