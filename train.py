"""Train on an image folder: `python train.py --epochs 20`; see `--help`."""

from vlg_fastai.cli import parse, plain_errors
from vlg_fastai.config import TrainConfig
from vlg_fastai.data.folder import defaults_for
from vlg_fastai.model.sources import choose


def main(argv=None):
    with plain_errors():
        cfg = parse(TrainConfig, argv, adapt=defaults_for)
        source = choose(cfg.arch, cfg.weights, cfg.pretrained)
        from vlg_fastai.train.run import train  # torch loads here, after what needs none

        train(cfg, source).check_finished()


if __name__ == "__main__":
    main()
