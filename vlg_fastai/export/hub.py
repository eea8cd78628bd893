"""Upload an export folder to the Hugging Face Hub with its own client."""

import re

from vlg_fastai.config import UserError
from vlg_fastai.console import say

NAME = re.compile(r"[\w.-]+/[\w.-]+")


def check(name):
    "UserError where `name` is no USER/NAME."
    if not NAME.fullmatch(name):
        raise UserError(f"--hub {name}: give USER/NAME, such as ann/forty-animals")


def upload(home, name, space):
    "Upload the folder as a model, or as a Space; its address. UserError where the Hub refuses."
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    api, kind = HfApi(), "space" if space else "model"
    options = {"space_sdk": "gradio"} if space else {}
    try:
        made = api.create_repo(name, repo_type=kind, exist_ok=True, private=True, **options)
        api.upload_folder(repo_id=name, folder_path=str(home), repo_type=kind,
                          commit_message="Export of vlg_fastai")  # fmt: skip
    except (HfHubHTTPError, LocalTokenNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"--hub {name}: {reason}; log in with `hf auth login`; the export is in {home}"
        ) from None
    say(f"uploaded to {made} (private: make it public on its page)")
    return str(made)
