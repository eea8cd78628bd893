"""Train on an image folder: `python train.py --epochs 20`; see `--help`."""

from vlg_fastai.cli import parse, plain_errors
from vlg_fastai.config import TrainConfig
from vlg_fastai.data.folder import defaults_for
from vlg_fastai.model.sources import choose
from vlg_fastai.runs import check


def main(argv=None):
    with plain_errors():
        cfg = parse(TrainConfig, argv, adapt=defaults_for)
        check(cfg.runs)
        source = choose(cfg.arch, cfg.weights, cfg.pretrained)
        from vlg_fastai.train import train  # torch loads here, after every answer that needs none

        if train(cfg, source).facts["status"] == "interrupted":
            raise KeyboardInterrupt  # so that a shell does not go on to the next command


if __name__ == "__main__":
    main()
