"""Methods are found by name or file, checked for the required form, and configured with helpful messages."""

from __future__ import annotations

import hashlib
import importlib
import sys
from importlib.metadata import EntryPoint

import pytest

import methods
from benchmark.errors import UserError
from benchmark.suite.registry import resolve
from methods.at import AT
from methods.edge_popup import EdgePopup

HEAD = '''"""A user's own methods.

DEVIATION: trains longer
than the paper says.
DEVIATION: has another name.

A paragraph that is not a deviation.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from methods.base import Method
from methods.edge_popup import EdgePopup


'''
MINE = '''@dataclass(frozen=True)
class Mine(EdgePopup):
    """Chooses like edge-popup, with options of every kind."""

    name: ClassVar[str] = "mine"

    lr: float = 0.2
    kind: Literal["a", "b"] = "a"
    count: int = 3
    sizes: tuple[int, ...] = field(default_factory=lambda: (1, 2))

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("count must not be negative")
'''


@pytest.fixture
def method_file(tmp_path):
    """Return a function that writes a Python file with methods and returns the target of its class Mine."""

    def write(code=MINE, *, name="own"):
        path = tmp_path / f"{name}.py"
        path.write_text(HEAD + code, encoding="utf-8")
        return f"{path}:Mine"

    return write


@pytest.mark.parametrize(("name", "cls"), [("at", AT), ("edge_popup", EdgePopup)])
def test_a_built_in_method_is_found_by_name(name, cls):
    method = resolve(name)

    assert method.cls is cls
    assert method.target == f"{cls.__module__}:{cls.__name__}"
    assert method.create({}, "here") == cls()


def test_a_class_of_an_importable_module_is_found_by_module_and_class():
    assert resolve("methods.at:AT") == resolve("at")


@pytest.mark.parametrize("name", methods.BUILT_IN)
def test_every_built_in_method_has_the_name_it_is_registered_under(name):
    assert resolve(name).cls.name == name


@pytest.mark.parametrize(("name", "meant"), [("edge-popup", "edge_popup"), ("edgepopup", "edge_popup"), ("att", "at")])
def test_an_unknown_method_is_refused_with_a_suggestion(name, meant):
    with pytest.raises(UserError, match=rf"unknown method '{name}'\. Did you mean {meant}\? Known: at, .*edge_popup"):
        resolve(name)


def test_a_class_in_a_file_is_found_and_works(method_file):
    target = method_file()

    method = resolve(target)

    assert method.cls.name == "mine"
    assert issubclass(method.cls, EdgePopup)
    assert method.target == target
    assert method.create({"count": 5}, "here").count == 5


def test_a_relative_path_means_the_same_file_as_the_absolute_one(method_file, tmp_path, monkeypatch):
    target = method_file()
    monkeypatch.chdir(tmp_path)

    assert resolve("own.py:Mine").target == target


def test_the_hash_of_the_file_identifies_the_method(method_file, tmp_path):
    first = resolve(method_file()).spec({}, "here")

    edited = resolve(method_file(MINE + "\n# edited\n")).spec({}, "here")

    assert edited.source_sha256 == hashlib.sha256((tmp_path / "own.py").read_bytes()).hexdigest()
    assert first.source_sha256 != edited.source_sha256


def test_an_edited_file_is_another_run_and_a_moved_file_the_same(method_file, make_experiment):
    def run_hash(target):
        return make_experiment(method=resolve(target).spec({}, "here").model_dump()).run_hash

    first, moved = run_hash(method_file()), run_hash(method_file(name="moved"))
    edited = run_hash(method_file(MINE + "\n# edited\n"))

    assert first == moved != edited


@pytest.mark.parametrize("target", [*methods.BUILT_IN, *methods.BUILT_IN.values()])
def test_a_built_in_method_is_not_identified_by_its_file(target):
    assert resolve(target).spec({}, "here").source_sha256 is None
    assert len(resolve(target).source_sha256()) == 64


@pytest.fixture
def make_package(tmp_path, monkeypatch):
    """Return a function that writes an importable package `plugin`, which re-exports Mine from its module `core`."""
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "plugin"
    folder.mkdir()
    (folder / "__init__.py").write_text("from plugin.core import Mine as Mine\n")

    def unload():
        for module in ("plugin.core", "plugin"):
            sys.modules.pop(module, None)

    def write(code=MINE):
        unload()
        (folder / "core.py").write_text(HEAD + code, encoding="utf-8")
        importlib.invalidate_caches()
        return folder / "core.py"

    yield write
    unload()


@pytest.mark.parametrize("method", ["plugin:Mine", "plugin.core:Mine", "mine"])
def test_an_installed_method_is_identified_by_the_file_that_defines_it(
    make_package, make_experiment, installed, method
):
    installed(("mine", "plugin:Mine"))
    path, specs = make_package(), {}
    specs["first"] = resolve(method).spec({}, "here")
    make_package(MINE + "\n# edited\n")
    specs["edited"] = resolve(method).spec({}, "here")

    hashes = {name: make_experiment(method=spec.model_dump()).run_hash for name, spec in specs.items()}
    assert specs["edited"].source_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert hashes["first"] != hashes["edited"]


def test_a_file_and_a_module_of_the_same_content_are_the_same_run(make_package, make_experiment):
    path = make_package()

    hashes = {
        make_experiment(method=resolve(method).spec({}, "here").model_dump()).run_hash
        for method in (f"{path}:Mine", "plugin.core:Mine")
    }

    assert len(hashes) == 1


def test_a_method_whose_file_cannot_be_read_is_refused_in_a_sentence(make_package):
    path = make_package()
    method = resolve("plugin:Mine")
    path.unlink()

    with pytest.raises(UserError, match=r"'plugin:Mine': its source file, .* cannot be read: .*; give") as refusal:
        method.spec({}, "here")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("class Mine:\n    pass\n", "own.py:Mine is not a subclass of methods.base.Method"),
        ("Mine = 3\n", "own.py:Mine is not a subclass of methods.base.Method"),
        ("class Other(EdgePopup):\n    pass\n", "own.py has no class 'Mine'"),
        ("def broken(:\n", "own.py:Mine' cannot be loaded: SyntaxError"),
        ("import no_such_module\n", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise KeyError('boom')\n", "cannot be loaded: KeyError: 'boom'"),
        (
            MINE.replace('"mine"', '"My Method"'),
            "`name` must be lower-case letters, digits and single underscores, got 'My M",
        ),
        (MINE.replace('"mine"', "7"), "`name` must be lower-case letters, digits and single underscores, got 7"),
        (MINE.replace('"mine"', '"at"'), "'at' is the name of a built-in method; choose another `name`"),
        (MINE.replace('"mine"', '"edge_popup"'), "'edge_popup' is the name of a built-in method; choose another"),
        (
            '@dataclass(frozen=True)\nclass Mine(Method):\n    name: ClassVar[str] = "mine"\n',
            "Mine lacks build, export, phases",
        ),
        (
            "class Mine(Method):\n    name = 'mine'\n    build = export = phases = None\n",
            "a method must be a frozen dataclass; add @dataclass",
        ),
        (
            "@dataclass\nclass Mine(Method):\n    name: ClassVar[str] = 'mine'\n    build = export = phases = None\n",
            "a method must be a frozen dataclass; add @dataclass",
        ),
    ],
)
def test_a_class_without_the_required_form_is_refused_in_a_sentence(method_file, code, message):
    target = method_file(code)

    with pytest.raises(UserError) as refusal:
        resolve(target)

    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no/such/file.py:Mine", "there is no file .*no/such/file.py"),
        ("file.py:", "is not of the form module:Class or path/to/file.py:Class"),
        ("no.such.module:Mine", "method 'no.such.module:Mine' cannot be loaded: .*cannot import 'no.such.module'"),
        ("methods.at:Nobody", "methods.at has no class 'Nobody'"),
    ],
)
def test_a_target_that_does_not_exist_is_refused(target, message):
    with pytest.raises(UserError, match=message):
        resolve(target)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"kinds": "a"},
            r"here: options\.kinds is not a field of mine\. Did you mean kind\? Known: score_init, .*count",
        ),
        ({"count": "many"}, r"here: options\.count must be a whole number such as 12, got 'many'"),
        ({"kind": "c"}, r"here: options \{'kind': 'c'\}: kind: must be 'a' or 'b', got 'c'"),
        ({"count": -1}, r"here: options \{'count': -1\}: count must not be negative"),
    ],
)
def test_a_wrong_option_is_refused_with_its_place(method_file, options, message):
    method = resolve(method_file())

    with pytest.raises(UserError, match=message):
        method.create(options, "here")


def test_only_options_that_differ_from_their_default_enter_the_spec():
    spec = resolve("edge_popup").spec({"lr": 0.1, "score_scale": "1e-3", "weight_decay": 0}, "here")

    assert spec.options == {"score_scale": 0.001, "weight_decay": 0.0}
    assert (spec.name, spec.target) == ("edge_popup", "methods.edge_popup:EdgePopup")


def test_an_option_added_later_does_not_change_runs_without_it(make_experiment):
    method = resolve("atmc")

    plain, off, on = (
        make_experiment(method=method.spec(options, "here").model_dump())
        for options in ({}, {"bn_recalibrate": "false"}, {"bn_recalibrate": True})
    )

    assert (plain.method.options, on.method.options) == ({}, {"bn_recalibrate": True})
    assert plain.run_hash == off.run_hash != on.run_hash


def test_a_number_in_any_spelling_gives_the_same_run(make_experiment):
    method = resolve("edge_popup")

    hashes = {
        make_experiment(method=method.spec({"lr": lr}, "here").model_dump()).run_hash for lr in (1, 1.0, "1", "1e0")
    }

    assert len(hashes) == 1


def test_deviations_are_read_from_the_modules_docstring(method_file):
    assert resolve(method_file()).deviations() == ["trains longer than the paper says.", "has another name."]
    assert resolve("at").deviations() == [
        "latent weights are clipped after the optimiser's step instead of inside the next forward pass."
    ]


@pytest.fixture
def installed(monkeypatch):
    """Return a function that simulates installed packages with these entry points."""

    def install(*points):
        entries = [EntryPoint(name, value, methods.ENTRY_POINT_GROUP) for name, value in points]
        monkeypatch.setattr(methods, "entry_points", lambda *, group: entries if group == entries[0].group else [])

    return install


def test_an_installed_package_registers_its_method(installed):
    installed(("popup_again", "methods.edge_popup:EdgePopup"))

    targets = methods.method_targets()

    assert targets["popup_again"] == "methods.edge_popup:EdgePopup"
    assert list(targets) == [*methods.BUILT_IN, "popup_again"]


def test_two_packages_may_not_register_the_same_name(installed):
    installed(("twin", "one:Twin"), ("twin", "other:Twin"))

    with pytest.raises(UserError, match="two methods are called 'twin': one:Twin and other:Twin"):
        resolve("twin")


def test_an_installed_package_may_not_replace_a_built_in_method(installed):
    installed(("at", "other:AT"))

    with pytest.raises(UserError, match=r"two methods are called 'at': methods\.at:AT and other:AT"):
        resolve("at")


def test_the_summary_of_a_method_is_the_first_line_of_its_docstring(method_file):
    assert methods.summary(method_file()) == "Chooses like edge-popup, with options of every kind."
    assert methods.summary("methods.at:AT").startswith("Adversarial training of a dense network")
    assert methods.summary("no_such_package.module:Class") == ""
