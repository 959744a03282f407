"""Mistakes on the command line: one sentence, exit code 2, and nothing is written."""

from __future__ import annotations

import pytest

MISTAKES = [
    (["run", "--methods", "edge_popop"], "Did you mean edge_popup?"),
    (["run", "nosuch"], "there is no suite 'nosuch'"),
    (["run", "--dataset", "cifar1O0"], "Did you mean cifar10?"),
    (["run", "--preset", "tiny"], "Known: paper, short, smoke"),
    (["run", "--preset", "paper"], "contradicts suite quickstart"),
    (["run", "--seeds", "one"], "--seeds takes whole numbers"),
    (["run", "--device", "tpu"], "--device takes auto, cpu or cuda"),
    (["run", "--set", "training.epoch=5"], "Did you mean epochs?"),
    (["run", "--set", "training"], "--set takes key.subkey=value"),
    (["run", "--set", "grid.keep_ratio=0"], "grid.keep_ratio"),
    (["run", "--set", "grid.keep_ratio=1.5"], "grid.keep_ratio"),
    (["run", "--set", "grid.allocation=2"], "grid.allocation"),
    (["run", "--set", "epsilon=8"], "strictly between 0 and 1"),
    (["run", "--set", "methods.1.options.score_scal=1"], "Did you mean score_scale?"),
    (["run", "--set", "methods.1.options.score_scale=-1"], "score_scale must be positive"),
    (["run", "--set", "architecture.name=resnet43"], "unknown architecture 'resnet43'"),
    (["run", "--methods", "missing.py:Class"], "there is no file"),
    (["run", "--track", "wandbb"], "unknown tracker 'wandbb'. Did you mean wandb?"),
    (["plan", "--seeds", "3..1"], "--seeds: 3..1 is empty"),
    (["plan", "--shards", "100000"], "give at most as many shards"),
    (["status", "--out", "nosuch"], "there is no folder nosuch"),
    (["collect", "nosuch", "--out", "merged"], "there is no folder nosuch"),
    (["leaderboard", "--out", "nosuch"], "there is no folder nosuch"),
    (["compare", "at", "hydra", "--out", "nosuch"], "there is no folder nosuch"),
]


@pytest.mark.parametrize(("arguments", "sentence"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_a_mistake_gives_one_sentence_and_exit_code_two(tmp_path, command, arguments, sentence):
    code, _, err = command(*arguments)

    assert code == 2
    assert sentence in err
    assert err.startswith("error: ") and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
