"""Upload an export folder to the Hugging Face Hub with its own client."""

import re

from vlg_fastai.config import UserError
from vlg_fastai.console import say

NAME = re.compile(r"[\w.-]+/[\w.-]+")


def check(name):
    "UserError where `name` is no USER/NAME."
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
        valid = NAME.fullmatch(name)
    except HFValidationError:
        valid = False
    if not valid:
        raise UserError(f"--hub {name}: give USER/NAME, such as ann/forty-animals")


def upload(home, name, space):
    "Upload the folder as a model, or as a Space; its address. UserError where the Hub refuses."
    from huggingface_hub import HfApi

    api, kind = HfApi(), "space" if space else "model"
    options = {"space_sdk": "gradio"} if space else {}
    try:
        made = api.create_repo(name, repo_type=kind, exist_ok=True, private=True, **options)
        api.upload_folder(repo_id=name, folder_path=str(home), repo_type=kind,
                          commit_message="Export of vlg_fastai")  # fmt: skip
        private = api.repo_info(name, repo_type=kind).private
    except Exception as error:  # of the client, and of the HTTP library that its version uses
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"--hub {name}: {reason}; log in with `hf auth login`; the export is in {home}"
        ) from None
    seen = "private: make it public on its page" if private else "public"
    say(f"uploaded to {made} ({seen})")
    return str(made)
