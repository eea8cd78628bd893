"""Match the ids of a table to photo files, with or without suffix or folder."""

from pathlib import PurePosixPath

# forms an id may take, tried in this order
RULES = {
    "path": lambda file, folder: file,
    "path with the folder's name": lambda file, folder: f"{folder}/{file}",
    "name": lambda file, folder: PurePosixPath(file).name,
    "path without suffix": lambda file, folder: str(PurePosixPath(file).with_suffix("")),
    "stem": lambda file, folder: PurePosixPath(file).stem,
}


def best_rule(ids, files, folder):
    """(name of the rule that matches most `ids` to `files`, its id for each file).

    files: paths relative to the folder called `folder`; ties go to the first rule.
    """
    keys = {name: [rule(file, folder) for file in files] for name, rule in RULES.items()}
    best = max(keys, key=lambda name: len(set(ids) & set(keys[name])))
    return best, keys[best]
