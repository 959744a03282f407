"""Values that YAML would silently convert are refused for numbers, and stay text for text."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from benchmark.errors import UserError
from benchmark.files.yaml_file import read_mapping
from benchmark.suite.overrides import apply_override
from benchmark.suite.registry import resolve
from benchmark.suite.suite import Suite, expand, load_suite

ROOT = Path(__file__).resolve().parents[3]
BASE = "name: small\ndataset: cifar10\nmethods:\n  - method: edge_popup\n"


@pytest.fixture
def load(tmp_path):
    """Return a function that makes a suite and its experiments from text and overrides."""

    def make(text=BASE, *overrides):
        path = tmp_path / "suite.yaml"
        path.write_text(text, encoding="utf-8")
        suite = load_suite(path, overrides)
        entries = [(entry, resolve(entry.method)) for entry in suite.methods]
        return suite, expand(suite, entries, seeds=suite.seeds, preset=None)

    return make


NUMBERS = {
    "training.epochs": "training: {{epochs: {}}}\n",
    "training.trades_beta": "training: {{trades_beta: {}}}\n",
    "train_images": "train_images: {}\n",
    "evaluation.images": "evaluation: {{images: {}}}\n",
    "grid.keep_ratio": "grid: {{keep_ratio: {}}}\n",
    "grid.keep_ratio, in a list": "grid: {{keep_ratio: [0.1, {}]}}\n",
    "grid.allocation": "grid: {{allocation: {}}}\n",
    "grid.allocation, in a list": "grid: {{allocation: [global, {}]}}\n",
    "seeds": "seeds: {}\n",
    "seeds, in a list": "seeds: [0, {}]\n",
    "methods.0.options.score_scale": "    options: {{score_scale: {}}}\n",
    "methods.0.training.epochs": "    training: {{epochs: {}}}\n",
}


@pytest.mark.parametrize("value", ["012", "1:30", "true", "0x10", "0o12", "1_000", "yes", "2024-01-01", ".inf", ".nan"])
@pytest.mark.parametrize("line", NUMBERS.values(), ids=NUMBERS)
def test_a_value_that_is_no_decimal_number_is_refused_for_a_number(load, line, value):
    with pytest.raises(UserError) as refusal:
        load(BASE + line.format(value))

    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("value", ["012", "1:30", "true", "1_000", "inf"])
@pytest.mark.parametrize("key", [key for key in NUMBERS if "," not in key])
def test_an_override_is_read_like_the_file(load, key, value):
    with pytest.raises(UserError):
        load(BASE, f"{key}={value}")


@pytest.mark.parametrize("value", ["1e-1", "1E-1", "1.0e-1", "0.1", ".1", "10e-2"])
def test_a_number_may_be_written_with_an_exponent_everywhere(load, value):
    text = BASE + f"    options: {{lr: {value}}}\ngrid: {{allocation: [{value}], keep_ratio: {value}}}\n"

    _, (experiment, _) = load(text, f"training.fast.fill={value}", f"training.trades_beta={value}")

    fields = experiment.training
    read = (experiment.allocation, experiment.keep_ratio, fields.fast.fill, fields.trades_beta)
    assert read == (0.1, 0.1, 0.1, 0.1)
    assert experiment.method.options.get("lr", 0.1) == 0.1
    assert all(type(number) is float for number in read)


def test_a_number_with_an_exponent_gives_the_same_run_as_without(load):
    _, written = load(BASE, "grid.allocation=1e-1", "methods.0.options.score_scale=2e0")
    _, usual = load(BASE, "grid.allocation=0.1", "methods.0.options.score_scale=2.0")

    assert [experiment.run for experiment in written] == [experiment.run for experiment in usual]


@pytest.mark.parametrize("value", ["012", "1:30", "no", "on", "0x10", "2024-01-01", "1e3", "12"])
def test_text_stays_as_it_is_written(load, value):
    suite, _ = load(BASE.replace("small", value))

    assert suite.name == value


def test_text_that_yaml_reads_as_a_number_must_be_quoted(load):
    with pytest.raises(UserError, match=r"suite\.yaml: name: this must be text; put it in quotes, got 1\.1"):
        load(BASE.replace("small", "1.10"))

    assert load(BASE.replace("small", "'1.10'"))[0].name == "1.10"


@pytest.mark.parametrize(("written", "value"), [("yes", True), ("off", False), ("True", True), ("no", False)])
def test_yes_and_no_are_read_for_booleans(load, written, value):
    suite, _ = load(BASE + f"grid: {{last_norm: {written}}}\ntraining: {{attack: {{random_start: {written}}}}}\n")

    assert suite.grid.last_norm == [value] and suite.training.attack.random_start is value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BASE + "name: again\n", "'name' appears twice"),
        (BASE + "seeds: &all [*all]\n", "its aliases refer to themselves"),
        (
            "a: &a [1, 2, 3, 4, 5, 6, 7, 8]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\n"
            "c: &c [*b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c]\n"
            "e: &e [*d, *d, *d, *d, *d, *d, *d, *d]\nf: [*e, *e, *e, *e, *e, *e, *e, *e]\n",
            "or expand to more than 100,000 values",
        ),
        (BASE + "train_images: !!int 012\n", "line 5: '012' is not a decimal number"),
        (BASE + "about: !!python/name:os.system ''\n", "could not determine a constructor"),
    ],
    ids=["twice", "in itself", "bomb", "tag", "object"],
)
def test_an_ambiguous_or_infinite_file_is_refused(load, text, message):
    with pytest.raises(UserError) as refusal:
        load(text)

    assert message in str(refusal.value) and "\n" not in str(refusal.value)


def test_an_override_may_not_name_a_key_twice():
    with pytest.raises(UserError, match="is not a YAML value"):
        apply_override({}, "training={epochs: 3, epochs: 4}")


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_bundled_suites_mean_the_same_in_plain_yaml(path):
    document = read_mapping(path, "name")

    assert repr(document) == repr(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert Suite.model_validate(document)
