"""Rows of `speed.py` on a GPU: ours, plain fastai and timm's training script on the same card.

    python benchmarks/gpu.py ours DATA ARCH CACHE     two epochs of ours; a line of JSON
    python benchmarks/gpu.py plain DATA ARCH          the same of plain fastai, with its `to_fp16`

`TIMM_TRAIN=path/to/train.py` of a checkout of timm adds its column. Peak is what a product of two
large matrices reaches on the card in the precision of the run. Without a GPU the rows are empty.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
ARCHS = ("tf_efficientnet_lite0", "convnext_tiny", "convnext_small")
SIZE, BS, SIDE, PRODUCTS = 224, 32, 8192, 20
NONE = "no GPU here"
WHATS = ("photos a second", "share of the card's peak", "share of time that the device idles")
RATE = re.compile(r"\(\s*([\d.]+)/s\)")  # the mean of the epoch in a line of timm's log


def rows(call, scratch, data, caches):
    "Yield the rows, empty where there is no GPU; call: runs a script that prints JSON."
    import torch

    for arch in ARCHS:
        if not torch.cuda.is_available():
            yield from ({"what": f"GPU, train, {arch}: {what}", "none": NONE} for what in WHATS)
            continue
        ours = call(__file__, "ours", data, arch, next(caches))
        plain, timm = call(__file__, "plain", data, arch), timms(data, arch, scratch)
        for what in WHATS:
            row = {"what": f"GPU, train, {arch}: {what}", "card": ours["card"]}
            row |= {who: told[what] for who, told in (("ours", ours), ("plain", plain))}
            yield row | ({"timm": timm} if timm and what == WHATS[0] else {})
    yield first_model(call, scratch, data, caches, torch.cuda.is_available())


def first_model(call, scratch, data, caches, there):
    "Seconds from process start to a usable run of a probe."
    row = {"what": f"GPU, --epochs 0, {ARCHS[1]}: seconds to the first model"}
    if not there:
        return {**row, "none": NONE}
    options = ("--data", data, "--arch", ARCHS[1], "--epochs", 0, "--cache", next(caches))
    done = call(HERE.parent / "train.py", *options, "--runs", scratch / "runs")
    return {**row, "ours": done["wall"]}


def markdown(row):
    "The row in Markdown: what, ours, plain fastai, timm."
    cells = [f"{row[who]:.3g}" if who in row else "" for who in ("ours", "plain", "timm")]
    return f"| {row['what']} | {row.get('none') or cells[0]} | {cells[1]} | {cells[2]} |"


def timms(data, arch, scratch):
    "Photos a second of timm's own script in the second epoch; None without it."
    script = os.environ.get("TIMM_TRAIN")
    if not script:
        return None
    options = ["--train-split", "train", "--val-split", "train", "--model", arch, "-b", str(BS)]
    options += ["--epochs", "2", "--amp", "--channels-last", "--img-size", str(SIZE)]
    options += ["--data-dir", str(data), "--output", str(scratch / "timm"), "--opt", "adamw"]
    classes = sum(path.is_dir() for path in (data / "train").iterdir())
    command = [sys.executable, script, *options, "--num-classes", str(classes)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(RATE.findall(done.stdout + done.stderr)[-1])


def busy():
    "A callback that profiles the second epoch: `seconds` it took, `device` of them at work."
    import torch
    from fastai.callback.core import Callback
    from torch.profiler import ProfilerActivity, profile

    class Busy(Callback):
        order, photos, seconds, device = 70, 0, 0.0, 0.0

        def before_train(self):
            self.now = self.epoch == 1
            if self.now:
                torch.cuda.synchronize()
                self.profile = profile(activities=[ProfilerActivity.CUDA])
                self.profile.__enter__()
                self.start = time.monotonic()

        def after_batch(self):
            self.photos += len(self.yb[0]) if self.training and self.now else 0

        def after_train(self):
            if self.now:
                torch.cuda.synchronize()
                self.seconds = time.monotonic() - self.start
                self.profile.__exit__(None, None, None)
                spent = (e.self_device_time_total for e in self.profile.key_averages())
                self.device = sum(spent) / 1e6

    return Busy()


def told(seen, arch, dtype):
    "The figures of an epoch that `seen`, a callback of `busy`, has watched."
    import torch

    rate = seen.photos / seen.seconds
    share = rate * operations(arch) / peak(dtype)
    idle = max(1 - seen.device / seen.seconds, 0.0)
    card = f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return {**dict(zip(WHATS, (rate, share, idle), strict=True)), "card": card}


def operations(arch):
    """Floating-point operations of training on one photo: three times those of the forward pass,
    since torch's counter takes the backward pass of depthwise convolutions for that of full ones.
    """
    import timm
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    net = timm.create_model(arch)
    with FlopCounterMode(display=False) as count, torch.no_grad():
        net(torch.zeros(1, 3, SIZE, SIZE))
    return 3 * count.get_total_flops()


def peak(dtype):
    "Operations a second of a product of two large matrices on the card."
    import torch

    x = torch.ones(SIDE, SIDE, device="cuda", dtype=dtype)
    x @ x
    torch.cuda.synchronize()
    start = time.monotonic()
    for _ in range(PRODUCTS):
        x @ x
    torch.cuda.synchronize()
    return PRODUCTS * 2 * SIDE**3 / (time.monotonic() - start)


def ours(data, arch, cache):
    import torch
    from ours import config

    from vlg_fastai.machine import cuda
    from vlg_fastai.machine.precision import DTYPES
    from vlg_fastai.model.sources import Source
    from vlg_fastai.train.run import train

    cfg, seen = config(data, arch, cache, pretrained=False, epochs=2, size=SIZE), busy()
    train(cfg, Source(arch, "nothing"), [seen])
    return told(seen, arch, DTYPES[cuda.native(torch.device("cuda"))])


def plain(data, arch):
    import torch
    from plain_fastai import learner

    learn, seen = learner(data, arch).to_fp16(), busy()
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(2, slice(1e-4, 2e-3), cbs=[seen])
    return told(seen, arch, torch.float16)


if __name__ == "__main__":
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    who, *given = sys.argv[1:]
    print(json.dumps({"ours": ours, "plain": plain}[who](Path(given[0]), *given[1:])))
