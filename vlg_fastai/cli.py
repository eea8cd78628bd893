"""Read the command line and a stored config into a checked one; a mistake is one line, exit 2."""

import dataclasses
import errno
import json
import os
import sys
import time
import warnings
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

import tyro
from typeguard import TypeCheckError, check_type

from vlg_fastai import synonyms
from vlg_fastai.checks import check
from vlg_fastai.config import ARCH, UserError
from vlg_fastai.helping import flag_of, show_help
from vlg_fastai.recipes import but_for, defaults_of

FULL = "; free some space, or name another folder"
WAYS_OUT = {  # system errors -> what a user can do
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EFBIG: FULL,
    errno.EROFS: "; name another folder",
    errno.EACCES: "; name a folder that you can write to",
}
# what a repeated run must not do again
NOT_STORED = {"config", "clear_cache", "resume", "resume_anyway"}


STARTED = time.monotonic()  # roughly when the process did: nothing heavy is loaded before
PREEMPTED = 75  # exit code of a run that was stopped and can resume: EX_TEMPFAIL of sysexits.h


class PreemptedError(BaseException):  # like KeyboardInterrupt: nothing may swallow it
    "SIGTERM or a closed terminal ended the run; the message says how to resume it."


def quiet_start():
    "Set what must be set before torch loads."
    # threads that spin while they wait halve its speed when another program needs a core as well
    # (lite0, 2 cores, 1 busy: 73-112 photos/s spinning, 145-157 waiting)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # fastai compiles two small functions with torch.jit when it is imported
    warnings.filterwarnings("ignore", ".*torch.jit.script", FutureWarning)
    # the same for child processes
    os.environ.setdefault("PYTHONWARNINGS", "ignore::FutureWarning:torch.jit._script")


def quiet_command():
    "The same, and no bars of libraries that load weights: those of a notebook are its own."
    quiet_start()
    for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE"):
        os.environ.setdefault(name, "1")


@contextmanager
def plain_errors():
    "Show a mistake the user can fix as one line; anything else keeps its traceback."
    quiet_command()
    try:
        yield
    except UserError as error:
        complain(f"error: {error}")
        raise SystemExit(2) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        out = WAYS_OUT.get(error.errno, "")
        complain(f"error: {where}{error.strerror or error}{out}")
        raise SystemExit(2) from None
    except RuntimeError as error:
        if not _of_readers(str(error)):
            raise
        last = str(error).strip().splitlines()[-1]
        complain(
            f"error: --workers: {last}; the processes that read photos lack shared memory or were"
            " killed: try --workers 0, or give the container more (docker run --shm-size 2g)"
        )
        raise SystemExit(2) from None
    except PreemptedError as stop:
        complain(stop)
        raise SystemExit(PREEMPTED) from None
    except KeyboardInterrupt as stop:  # not 0: a shell must not continue with the next command
        complain(stop or "stopped")
        raise SystemExit(130) from None


def _of_readers(text):
    "Whether an error's `text` is about reader processes that were killed or lack shared memory."
    lacking = any(one in text for one in ("shared memory", "unable to write to file", "/torch_"))
    return "DataLoader worker (pid" in text or ("DataLoader worker" in text and lacking)


def complain(line):
    with suppress(OSError):  # a terminal that was closed
        print(line, file=sys.stderr, flush=True)


def parse(config_class, argv=None, adapt=None, earlier=None):
    """Read `argv` into `config_class`: flags, over a stored config, over recipe, over `adapt(cfg)`.

    `adapt` takes the config as first read and returns a dict of defaults that suit its data folder;
    `earlier` takes it and returns the options stored with the run that it resumes, if any.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    if {"-h", "--help"} & set(argv):
        show_help(config_class, _prog())
        raise SystemExit(0)
    synonyms.check(argv, _flags(config_class))
    synonyms.check_rates(argv)
    read = partial(_read, config_class, argv)
    return _settled(config_class, read, adapt, earlier)


def configured(config_class, options, adapt=None, earlier=None):
    """The same from keywords: `options` over a stored config, over recipe, over `adapt(cfg)`.

    A number or a string may stand for a tuple of one, True for an empty one, a string for a path.
    UserError for an option that is unknown, of the wrong type or out of range.
    """
    hints = get_type_hints(config_class)
    given = {
        key: _checked("options", key, _as_hinted(value, hints.get(key)), hints)
        for key, value in options.items()
    }
    return _settled(
        config_class, lambda defaults: config_class(**{**defaults, **given}), adapt, earlier
    )


def _settled(config_class, read, adapt, earlier):
    "The checked config that `read` returns with the defaults that its first reading decides."
    asked = read({})
    stored = earlier(asked) if earlier else {}
    if getattr(asked, "config", None):
        stored = stored_config(_of_number(asked.config, asked.runs), config_class)
        stored = but_for(stored, read(stored).recipe)
    first = read(stored)
    defaults = adapt(first) if adapt else {}
    if hasattr(first, "recipe"):
        arch = first.arch or defaults.get("arch") or ARCH
        defaults = {**defaults, **defaults_of(first.recipe, arch)}
    fields = config_class.__dataclass_fields__  # a command may lack some of them
    defaults = {key: value for key, value in defaults.items() if key in fields}
    cfg = read({**defaults, **stored}) if defaults else first
    check(cfg)
    return cfg


def _as_hinted(value, hint):
    "`value` as a tuple if the option takes one: --top-losses without a number is an empty one."
    wants_tuple = any(get_origin(part) is tuple for part in (hint, *get_args(hint)))
    if not wants_tuple or value is None or isinstance(value, list | tuple):
        return value
    if isinstance(value, bool):
        return () if value else None
    return (value,)


def _read(config_class, argv, defaults):
    return tyro.cli(config_class, args=argv, default=config_class(**defaults), prog=_prog())


def _prog():
    script = Path(sys.argv[0]).name or "vlg_fastai"
    return f"python {script}" if script.endswith(".py") else script


def _flags(config_class):
    "Every flag of a command, without dashes, those that turn an option off among them."
    own = {flag_of(config_class, name) for name in config_class.__dataclass_fields__}
    return own | {f"no-{flag}" for flag in own} | {"help"}


def _of_number(path, runs):
    "The run folder under `runs` that `--config 3` means; any other path as it is."
    found = sorted(runs.glob(f"{int(path.name):04d}-*")) if path.name.isdecimal() else []
    return found[0] if found and not path.exists() else path


def stored_config(path, config_class):
    "The options stored in `path` (a run's config.json, or the run folder) as a checked dict."
    path = path / "config.json" if path.is_dir() else path
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise UserError(f"--config {path}: no such file; give a run's config.json") from None
    except ValueError as error:
        raise UserError(f"--config {path}: not JSON ({error})") from None
    if not isinstance(stored, dict):
        raise UserError(f"--config {path}: expected an object of options, as train.py writes it")
    hints = get_type_hints(config_class)
    return {key: _checked(f"--config {path}", key, v, hints) for key, v in stored.items()}


def _checked(where, key, value, hints):
    if key not in hints:
        raise UserError(f"{where}: unknown option {key!r}; known: {', '.join(hints)}")
    kind = hints[key]
    value = tuple(value) if isinstance(value, list) else value
    typed = Path(value) if _means_path(value, kind) else _with_paths(value, kind)
    try:
        return check_type(typed, kind if not isinstance(value, bool) or kind is bool else str)
    except TypeCheckError:
        raise UserError(f"{where}: {key} cannot be {value!r}; see --help") from None


def as_typed(where, key, text, hints):
    "Parse `text` as the value of the option `key`; `where` names its source in an error."
    try:
        value = json.loads(text.lower() if text in ("True", "False") else text)
    except ValueError:
        value = text
    return _checked(where, key, value, hints)


def _with_paths(value, kind):
    "A tuple of texts as one of paths, if the option takes these."
    wants = get_origin(kind) is tuple and Path in _parts(kind)
    return tuple(map(Path, value)) if wants and isinstance(value, tuple) else value


def _parts(hint):
    "Every type inside a type hint."
    return {hint, *(part for one in get_args(hint) for part in _parts(one))}


def _means_path(value, kind):
    "True for a string where a path is allowed, unless it is one of the words also allowed there."
    words = [word for part in get_args(kind) for word in get_args(part)]
    return isinstance(value, str) and Path in (kind, *get_args(kind)) and value not in words


def as_json(cfg):
    "The config as a dict that `json` can write and `stored_config` reads back equal."
    told = dataclasses.asdict(cfg).items()
    return {key: _as_text(value) for key, value in told if key not in NOT_STORED}


def _as_text(value):
    "`value` with paths, its own or those of a tuple, as text."
    many = isinstance(value, tuple)
    return [*map(_as_text, value)] if many else str(value) if isinstance(value, Path) else value
