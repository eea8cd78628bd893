"""Turn runs into one ONNX graph: photos in [0, 1] in, calibrated probabilities and features out."""

import logging
import warnings
from contextlib import contextmanager

import onnx
import torch
from torch import nn

from vlg_fastai.console import muted
from vlg_fastai.model.blend import Blend
from vlg_fastai.model.bundle import load
from vlg_fastai.model.inference import LEAST

INPUT, OUTPUTS = "images", ("probabilities", "features")
TRACED = 2  # photos in the batch that the graph is traced with; 1 would be taken for a constant


class Leaf(nn.Module):
    """A net with its normalisation and temperature: probabilities (n, classes), features (n, d).

    rounded: features go through half precision, as predict.py keeps those of a probe.
    """

    def __init__(self, net, view, temperature, rounded=False):
        super().__init__()
        self.body, self.head = net[0], nn.Sequential(*net[1])  # a Head's autocast is no operation
        self.temperature, self.rounded = temperature, rounded
        self.register_buffer("mean", torch.tensor(view.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(view.std).view(1, -1, 1, 1))

    def forward(self, images):
        features = self.body((images - self.mean) / self.std)
        if self.rounded:
            features = features.half().float()
        return torch.softmax(self.head(features) / self.temperature, 1), features


class Group(nn.Module):
    """The weighted mean of the `members`' probabilities at a temperature; features of the first.

    orders: for each member, the column of each class.
    """

    def __init__(self, members, shares, temperature=1.0, orders=None):
        super().__init__()
        self.members = nn.ModuleList(members)
        self.shares, self.temperature, self.orders = list(shares), temperature, orders

    def forward(self, images):
        told = [member(images) for member in self.members]
        probs = [one[0] for one in told]
        if self.orders:
            probs = [one[:, order] for one, order in zip(probs, self.orders, strict=True)]
        mean = sum(share * one for share, one in zip(self.shares, probs, strict=True))
        if self.temperature != 1:
            mean = torch.softmax(mean.clamp_min(LEAST).log() / self.temperature, 1)
        return mean, told[0][1]


def whole(blend, machine):
    "The module of the `Blended` runs, with the classes of the first."
    if len(blend.runs) == 1:
        return of_run(blend.runs[0], machine).eval()
    classes, told = blend.runs[0].facts.classes, (blend.shares.tolist(), blend.temperature)
    return of_runs(blend.runs, classes, told, machine).eval()


def of_runs(runs, classes, told, machine):
    "The module that averages several runs by (shares, temperature), its columns as `classes`."
    orders = [[run.facts.classes.index(name) for name in classes] for run in runs]
    return Group([of_run(run, machine) for run in runs], *told, orders)


def of_run(run, machine):
    "The module of one run, of its folds if it has some."
    if run.members:
        even = [1 / len(run.members)] * len(run.members)
        told = even, run.facts.temperature
        return of_runs(run.members, run.facts.classes, told, machine)
    model, spec = load(run, machine)
    if not isinstance(model, Blend):
        return Leaf(model, spec.view, spec.temperature, run.facts.is_probe)
    pairs = zip(model.members, model.temperatures, strict=True)
    leaves = [Leaf(net, spec.view, warmth) for net, warmth in pairs]
    return Group(leaves, model.shares, spec.temperature)


def write(path, module, size, fp16=False):
    "Write `module` for photos of `size` pixels and any batch size as ONNX to `path`."
    with quiet():
        program = torch.onnx.export(
            module, (torch.rand(TRACED, 3, size, size),), dynamo=True, verbose=False,
            input_names=[INPUT], output_names=list(OUTPUTS),
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
        )  # fmt: skip
    graph = program.model_proto
    if fp16:
        from onnxruntime.transformers.float16 import convert_float_to_float16

        graph = convert_float_to_float16(graph, keep_io_types=True)
    onnx.save(anonymous(graph), path)


def anonymous(graph):
    "The ONNX `graph` without the exporter's notes: they hold paths of this machine's files."
    del graph.metadata_props[:], graph.graph.metadata_props[:]
    graph.doc_string = graph.graph.doc_string = ""
    values = [*graph.graph.value_info, *graph.graph.input, *graph.graph.output]
    for one in [*graph.graph.node, *values, *graph.graph.initializer]:
        one.doc_string = ""
        del one.metadata_props[:]
    for function in graph.functions:
        function.doc_string = ""
        for node in function.node:
            node.doc_string = ""
            del node.metadata_props[:]
    return graph


@contextmanager
def quiet():
    "Silence the exporter: it reports every step, and warns of its own deprecations."
    levels = {name: logging.getLogger(name).level for name in ("torch.onnx", "onnxscript")}
    with warnings.catch_warnings(), muted():
        warnings.simplefilter("ignore")
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
