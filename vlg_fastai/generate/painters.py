"""Generate a photo from a `Wish`: by a diffusers model, or by the program that drew the demo."""

import logging
import random
import warnings
from functools import cached_property

import torch
from PIL import ImageOps

from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.data.images import read_image
from vlg_fastai.demo.challenge import EVERY
from vlg_fastai.demo.imagined import MODEL as DRAWN
from vlg_fastai.demo.imagined import imagined
from vlg_fastai.generate.options import MODEL
from vlg_fastai.machine import device


class Drawn:
    "The generated challenge's own program, which gets some attributes wrong: needs no model."

    name, licence = DRAWN, "as this program"

    def __call__(self, wish, seed):
        if wish.label not in EVERY:
            known = ", ".join(sorted(EVERY))
            raise UserError(f"--unseen: cannot draw {wish.label!r}; it knows {known}, or --model")
        return imagined(wish.label, random.Random(seed))


def quiet():
    "Keep the libraries' notes off the terminal; bars of downloads stay."
    import diffusers.utils
    import transformers.utils

    for library in (diffusers.utils, transformers.utils):
        library.logging.set_verbosity_error()
        library.logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # a line for every retry


class Diffusion:
    "Image-to-image from a photo, text-to-image from words, with one set of weights (diffusers)."

    def __init__(self, cfg):
        self.cfg, self.name, self.licence = cfg, cfg.model or MODEL, cfg.licence
        self.device = device.pick(cfg.device)

    @cached_property
    def by_words(self):
        "The text-to-image pipeline on the device; UserError if the model cannot be loaded."
        from diffusers import AutoPipelineForText2Image

        quiet()
        if self.device.type == "cpu":
            say("no GPU: a photo takes minutes instead of seconds")
        kind = torch.float16 if self.device.type == "cuda" else torch.float32
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about options that the libraries pass each other
                pipe = AutoPipelineForText2Image.from_pretrained(self.name, dtype=kind)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"--model {self.name}: cannot be loaded ({reason}); give a hub name or a folder"
            ) from None
        pipe.set_progress_bar_config(disable=True)
        return pipe.to(self.device)

    @cached_property
    def by_photo(self):
        from diffusers import AutoPipelineForImage2Image

        pipe = AutoPipelineForImage2Image.from_pipe(self.by_words)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    @property
    def side(self):
        "Pixels of a photo: --size, or what the model was trained for."
        pipe = self.by_words
        return self.cfg.size or pipe.unet.config.sample_size * pipe.vae_scale_factor

    def __call__(self, wish, seed):
        "The photo (RGB), or None where the model's own filter refused it."
        cfg, more = self.cfg, {}
        if wish.path is None:
            pipe, more = self.by_words, {"height": self.side, "width": self.side}
        else:
            photo = ImageOps.fit(read_image(wish.path), (self.side, self.side))
            pipe, more = self.by_photo, {"image": photo, "strength": cfg.strength}
        made = pipe(
            wish.prompt, num_inference_steps=cfg.steps, guidance_scale=cfg.guidance,
            generator=torch.Generator("cpu").manual_seed(seed), **more,
        )  # fmt: skip
        refused = getattr(made, "nsfw_content_detected", None)
        return None if refused and refused[0] else made.images[0]
