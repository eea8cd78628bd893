"""Measure ours as `plain_fastai.py` measures plain fastai: same photos, one line of JSON.

python benchmarks/ours.py train DATA ARCH CACHE     one epoch, the same options
python benchmarks/ours.py strong DATA ARCH CACHE    one epoch of --recipe strong
python benchmarks/ours.py predict DATA ARCH CACHE   the test folder, decoding included
python benchmarks/ours.py probe DATA ARCH CACHE     --epochs 0, step by step
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
START = time.monotonic()

from vlg_fastai.cli import plain_errors  # noqa: E402
from vlg_fastai.config import TrainConfig  # noqa: E402

SCRATCH = Path(os.environ.get("SCRATCH", "/tmp"))


def config(data, arch, cache, **options):
    given = {"data": data, "arch": arch, "cache": cache, "runs": SCRATCH / "runs"}
    return TrainConfig(**{**given, **options})


def train(data, arch, cache):
    "Photos a second of one epoch, from the run's own history."
    return rate(config(data, arch, cache, pretrained=False, epochs=1, lr=2e-3, lr_body=1e-4))


def strong(data, arch, cache):
    "The same with the options of --recipe strong, which degrades photos as well; given targets."
    from vlg_fastai.recipes import STRONG, defaults_of

    options = {**defaults_of(STRONG, arch), "targets": "given", "epochs": 1}
    given = {"pretrained": False, "recipe": STRONG, "probe": False}
    return rate(config(data, arch, cache, **given, **options))


def rate(cfg):
    "Photos a second of a run of `cfg`, from an untrained net."
    from vlg_fastai.model.sources import Source
    from vlg_fastai.train.run import train

    return {"photos_per_second": train(cfg, Source(cfg.arch, "nothing")).facts.photos_per_second}


def predict(data, arch, cache):
    "Photos a second, from the files to the logits."
    from vlg_fastai.config import size_of
    from vlg_fastai.data import loaders, scan
    from vlg_fastai.data.store import Store
    from vlg_fastai.machine import device
    from vlg_fastai.model import backbone, head, inference
    from vlg_fastai.model.sources import Source

    cfg, source = config(data, arch, cache), Source(arch, "nothing")
    size = size_of(cfg, arch)
    machine, view = device.prepare(cfg), backbone.view(arch, size, cfg.crop_pct)
    net = head.assemble(backbone.create(source, size), "mlp", 28, source, size)
    net.to(machine.device, memory_format=machine.memory_format)
    photos = scan.scan_files(data / "test")
    start = time.monotonic()
    pixels = view.pixels(photos, Store.asked_for(cfg))
    inference.logits(net, loaders.plain(photos["path"], view, 64, machine, pixels), machine)
    return {"photos_per_second": len(photos) / (time.monotonic() - start)}


def probe(data, arch, cache):
    "Seconds of each step of a run without epochs."
    from vlg_fastai.machine import device
    from vlg_fastai.model.sources import choose
    from vlg_fastai.runs.run import Run
    from vlg_fastai.train import candidates, prepare, run

    cfg, steps = config(data, arch, cache, epochs=0), {}
    source, machine = choose(arch, None, True), device.prepare(cfg)

    def step(name, function, *given):
        start = time.monotonic()
        made = function(*given)
        steps[name] = time.monotonic() - start
        return made

    cfg, table = step("scan and split", prepare.settle_and_scan, cfg, source)
    made = step("decode and features", prepare.prepare, cfg, source, table, machine)
    step("probe, out of fold and fitted", candidates.fit_probe, made, Run(cache))
    folder = step("the whole run again", run.train, cfg, source).path
    return {**steps, "run": str(folder)}


if __name__ == "__main__":
    with plain_errors():
        done = {"train": train, "strong": strong, "predict": predict, "probe": probe}[sys.argv[1]](
            Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({**done, "peak_gb": peak, "seconds": time.monotonic() - START}))
