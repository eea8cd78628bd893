"""Find what is wrong with a folder of photos: `python audit.py --data DIR`; see `--help`."""

from vlg_fastai.cli import parse, plain_errors
from vlg_fastai.config import AuditConfig
from vlg_fastai.data.folder import defaults_for
from vlg_fastai.model.sources import choose


def main(argv=None):
    with plain_errors():
        cfg = parse(AuditConfig, argv, adapt=defaults_for)
        source = choose(cfg.arch, cfg.weights, True)
        from vlg_fastai.audit.run import audit  # torch loads here, after what needs none

        audit(cfg, source)


if __name__ == "__main__":
    main()
