"""Without numba nothing is compiled, and no program meets a kernel that was compiled from other sources."""

from __future__ import annotations

import sys

import pytest

from methods.sparse import support


@pytest.fixture(autouse=True)
def _asked_again():
    """Forget what was found out about this installation, before and after."""
    support.kernels.cache_clear()
    yield
    support.kernels.cache_clear()


def test_without_numba_there_are_no_kernels(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)

    assert support.kernels() is None


def test_where_numba_does_not_compile_there_are_no_kernels(monkeypatch):
    numba = pytest.importorskip("numba")
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)

    assert support.kernels() is None


def test_the_folder_of_compiled_kernels_changes_with_whatever_they_depend_on(monkeypatch, tmp_path):
    pytest.importorskip("numba")
    from methods.sparse import compiled

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    source = tmp_path / "sources" / "kernels.py"
    source.parent.mkdir()
    source.write_text("a = 1")
    folders = []
    for attribute, value in ((None, None), ("__version__", "0.0"), ("source", "b = 1")):
        if attribute == "source":
            source.write_text(value)
        elif attribute:
            monkeypatch.setattr(compiled.numba, attribute, value)
        compiled.digest.cache_clear()
        compiled.cache_folder.cache_clear()
        folders.append(compiled.cache_folder(source.parent))
    compiled.digest.cache_clear()
    compiled.cache_folder.cache_clear()

    assert len(set(folders)) == 3 and all(folder.parents[1] == tmp_path for folder in folders)


def test_a_kernel_is_kept_by_the_sources_of_its_own_folder(monkeypatch, tmp_path):
    if not support.compiles():
        pytest.skip("numba is not installed, or switched off")
    from methods.sparse import compiled

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    results = []
    for number in (1, 2):
        # The same program, which reads another file beside it: numba alone would run the kernel of the first one.
        folder = tmp_path / f"sources{number}"
        folder.mkdir()
        (folder / "beside.py").write_text(f"NUMBER = {number}")
        scope = {"NUMBER": number}
        exec(compile("def kernel():\n    return NUMBER", str(folder / "kernels.py"), "exec"), scope)
        (folder / "kernels.py").write_text("def kernel():\n    return NUMBER")
        compiled.cache_folder.cache_clear()
        results.append(compiled.compiled(scope["kernel"])())
        assert list(compiled.cache_folder(folder).iterdir()) != []
    compiled.cache_folder.cache_clear()

    assert results == [1, 2]


def test_a_cache_that_cannot_be_written_is_not_used(monkeypatch, tmp_path):
    pytest.importorskip("numba")
    from methods.sparse import compiled

    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    compiled.cache_folder.cache_clear()

    assert compiled.cache_folder(tmp_path) is None
    assert compiled.compiled(lambda number: number + 1)(2) == 3
    compiled.cache_folder.cache_clear()
