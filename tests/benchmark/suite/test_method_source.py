"""The hash of a method's source covers its file and the user's own modules that it imports, and nothing else."""

from __future__ import annotations

import hashlib
import importlib
import sys

import pytest

from benchmark.suite.method_source import source_sha256
from benchmark.suite.registry import resolve

MINE = "from methods.at import AT\n\n\nclass Mine(AT):\n    name = 'mine'\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder on Python's path, whose modules are unloaded afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        sys.modules.pop(name)


def write(folder, **files):
    """Write modules, with __ for / in their names; return the file called mine."""
    for name, text in files.items():
        path = folder.joinpath(*f"{name}.py".split("__"))
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text, encoding="utf-8")
    importlib.invalidate_caches()
    return folder / "mine.py"


def edit(path):
    path.write_text(path.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")


def test_a_file_alone_is_identified_by_its_bytes(folder):
    file = write(folder, mine="import json\nimport torch\nfrom scipy import stats\nfrom methods.layers import np\n")

    assert source_sha256(file, "mine") == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "text",
    [
        "import rates\n",
        "import rates as other\n",
        "from rates import RATE\n",
        "def late():\n    import rates\n",
        "try:\n    import rates\nexcept ImportError:\n    pass\n",
        "if TYPE_CHECKING:\n    from rates import RATE\n",
        "import importlib\nimportlib.import_module('rates')\n",
        "__import__('rates')\n",
        "import outer\n",
        "from tools import inner\n",
        "import tools.inner\n",
        "from tools.inner import RATE\n",
    ],
)
def test_an_edited_helper_changes_the_hash_however_it_is_imported(folder, text):
    file = write(folder, mine=text, rates="RATE = 1\n", outer="import rates\n", tools__inner="import rates\n")
    before = source_sha256(file, "mine")

    edit(folder / "rates.py")

    assert source_sha256(file, "mine") != before


def test_helpers_that_import_each_other_are_followed_once(folder):
    file = write(folder, mine="import first\n", first="import second\n", second="import first, mine\n")
    before = source_sha256(file, "mine")

    edit(folder / "second.py")

    assert source_sha256(file, "mine") != before


def test_a_module_that_is_not_imported_does_not_count(folder):
    file = write(folder, mine="import rates\n", rates="RATE = 1\n", others="")
    before = source_sha256(file, "mine")

    edit(folder / "others.py")

    assert source_sha256(file, "mine") == before


def test_relative_imports_of_a_package_are_followed(folder):
    write(folder, pack____init__="", pack__mine="from .sub import rates\n", pack__sub____init__="")
    write(folder, pack__sub__rates="from ..deep import RATE\n", pack__deep="RATE = 1\n")
    file = folder / "pack" / "mine.py"
    before = source_sha256(file, "pack.mine")

    edit(folder / "pack" / "deep.py")

    assert source_sha256(file, "pack.mine") != before


def test_the_modules_of_an_installed_method_s_own_package_count(folder, monkeypatch):
    installed = folder / "site-packages"
    installed.mkdir()
    monkeypatch.syspath_prepend(str(installed))
    write(installed, brought____init__="", brought__mine="import library\nfrom brought import rates\n")
    write(installed, brought__rates="RATE = 1\n", library="SIZE = 1\n")
    file = installed / "brought" / "mine.py"
    before = source_sha256(file, "brought.mine")

    edit(installed / "library.py")
    assert source_sha256(file, "brought.mine") == before
    edit(installed / "brought" / "rates.py")
    assert source_sha256(file, "brought.mine") != before


def test_the_hash_does_not_depend_on_the_folder(folder):
    digests = set()
    for name in ("here", "there"):
        parent = folder / name
        file = write(parent, mine="import rates\n" + MINE, rates="RATE = 1\n")
        sys.path.insert(0, str(parent))
        digests.add(resolve(f"{file}:Mine").source_sha256())
        sys.path.remove(str(parent))
        sys.modules.pop("rates")

    assert len(digests) == 1
