"""A Hydra program with groups and an interpolation."""

import logging

import hydra
from omegaconf import DictConfig

log = logging.getLogger(__name__)


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float:
    for epoch in range(cfg.epochs):
        log.info("epoch %d loss=%.4f", epoch, cfg.optimizer.lr / (epoch + 1))
    return 0.5


if __name__ == "__main__":
    main()
