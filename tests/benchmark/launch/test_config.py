"""A launcher's settings: a small file whose mistakes are one sentence each."""

from __future__ import annotations

import pytest

from benchmark.errors import UserError
from benchmark.launch.config import LocalConfig, RayConfig, SlurmConfig, load_config


def test_settings_are_read_and_have_defaults(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text("partition: gpu\ntime: 30\nsetup: [module load cuda]\ngpus_per_job: 4\nextra: {nice: 10}\n")

    config = load_config("slurm", path)

    assert isinstance(config, SlurmConfig) and config.gpus_per_job == 4 and config.time == "30"
    assert config.setup == ("module load cuda",) and config.lease_seconds == 60
    assert load_config("local", None) == LocalConfig() and isinstance(load_config("ray", None), RayConfig)


@pytest.mark.parametrize(
    ("launcher", "text", "sentence"),
    [
        ("ray", "partition: gpu", "'partition' is a setting of --launcher slurm, not of ray"),
        ("slurm", "partitoin: gpu", "Did you mean partition"),
        ("local", "launcher: slurm\npartition: x", "is for launcher 'slurm'; give --launcher slurm"),
        ("local", "gpus_per_job: 0", "gpus_per_job"),
        ("local", "lease_seconds: 1e300", "lease_seconds: must be less than or equal to 86400"),
        ("local", "launcher: 5", "launcher: must be 'local', got 5"),
        ("slurm", "setup: module load cuda", "setup: must be a list, got 'module load cuda'"),
        ("local", "- 1", "must hold a mapping"),
        ("lokal", "", "unknown launcher 'lokal'. Did you mean local?"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, launcher, text, sentence):
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        load_config(launcher, path)
    assert sentence in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"--launcher-config .*none.yaml: there is no such file"):
        load_config("local", tmp_path / "none.yaml")
