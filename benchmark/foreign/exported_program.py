"""Reads what `torch.export.save` wrote, after checking that torch will not execute texts or pickles of the file.

`torch.export.load` itself unpickles where it cannot avoid it, evaluates texts of the file as Python expressions, looks
up functions by their names in it, and generates Python code with its names. Only archives in which all of these are
harmless are handed to it: names of letters, digits and points, arithmetic on symbols, torch's own operators.
"""

from __future__ import annotations

import inspect
import io
import json
import logging
import os
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from benchmark.errors import UserError
from benchmark.evaluation.measurable import cause_of
from benchmark.foreign.file_network import FileNetwork, Shape, takes_any_batch

ADVICE = "export it again with plain tensors and torch's own operators"
_OLD, _NEW = "serialized_exported_program.json", "archive_format"  # members of archives before and since PyTorch 2.8
_NAME = re.compile(r"[\w.]*")
_TARGET = re.compile(
    r"torch\.ops\.aten\.(?P<operator>\w+)(\.\w+)?|torch\.ops\.higher_order\.wrap_with_(set_grad_enabled|autocast)"
    r"|torch\.sym_\w+|math\.\w+|_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|pos|eq|ne|lt|le|gt|ge|and_|or_"
    r"|not_|getitem)"
)
_SYMBOL = re.compile(r"Symbol\('\w+'(, \w+=(True|False))*\)")
_WORDS = re.compile(
    r"S|True|False|oo|int_oo|[suz]\w*\d+|Max|Min|Mod|PythonMod|FloorDiv|CeilDiv|CleanDiv|IntTrueDiv|FloatTrueDiv|Where"
    r"|Eq|Ne|Lt|Le|Gt|Ge|And|Or|Not|Integer|Rational|Float|Pow|PowByNatural|Add|Mul|Abs|ToFloat|TruncToInt|RoundToInt"
)
_CONTAINERS = (None, "builtins.tuple", "builtins.list", "builtins.dict")
_FREE = ("as_string", "as_strings", "torch_version", "metadata")  # kept as texts, never executed


def network_from_exported(content: bytes) -> FileNetwork:
    """Return the network of a program saved by `torch.export.save`.

    Raises:
        UserError: if the archive is damaged, holds pickled objects, compiled libraries, operators that are not torch's
            or texts that torch would execute, or has other inputs than one batch of images.
    """
    _check_archive(content)
    with _only_tensors_unpickled(), _quiet():
        try:
            program = torch.export.load(io.BytesIO(content))
            keeps = "check_guards" in inspect.signature(program.module).parameters
            # Guards are Python code in the file; the shapes that they check are checked here as well.
            graph = program.module(check_guards=False) if keeps else program.module()
        except Exception as error:  # torch raises many kinds for files of other versions
            raise UserError(
                f"torch.export.load cannot read the program ({cause_of(error)}); export it with the installed torch, "
                f"{torch.__version__}"
            ) from None
    inputs, outputs = program.graph_signature.user_inputs, program.graph_signature.user_outputs
    shapes = {node.name: _shape(node.meta.get("val")) for node in program.graph.nodes}
    shape = shapes.get(inputs[0]) if len(inputs) == 1 else None
    if shape is None or len(shape) != 4 or len(outputs) != 1:
        raise UserError(
            f"the program has {len(inputs)} inputs and {len(outputs)} outputs; it must map one batch of images, with "
            "four axes, to one batch of logits, so export the network with these alone"
        )
    batch = None if shape[0] is None or takes_any_batch(graph, graph, shape) else shape[0]
    return FileNetwork(graph, shape, shapes.get(outputs[0]), batch)


def _shape(value: object) -> Shape | None:
    if not isinstance(value, torch.Tensor):
        return None
    return tuple(side if isinstance(side, int) else None for side in value.shape)


def _check_archive(content: bytes) -> None:
    """Raise UserError unless everything in the archive that torch would execute is harmless."""
    try:
        members = _members(content)
    except (zipfile.BadZipFile, RuntimeError, ValueError, KeyError, EOFError, NotImplementedError) as error:
        raise UserError(f"the torch.export program is damaged ({cause_of(error)}); fetch it again") from None
    if _NEW in members and (_OLD in members or "version" in members):
        raise UserError("the torch.export program is an archive of two formats at once; export it again")
    if any(name.startswith("data/aotinductor/") for name in members):
        raise UserError(f"the torch.export program holds compiled libraries, which are not loaded; {ADVICE}")
    for name, member in members.items():
        if name.endswith(".json"):
            try:
                document = json.loads(member)
            except (ValueError, RecursionError):
                raise UserError(f"the torch.export program is damaged ({name}); fetch it again") from None
            try:
                _check(document, "")
            except RecursionError:
                raise UserError(f"the torch.export program is nested too deeply ({name}); {ADVICE}") from None


def _members(content: bytes) -> dict[str, bytes]:
    """Return the texts of an archive, and the names of its other members, below its only top folder.

    Raises:
        ValueError: if it is no such archive, or if zipfile and torch read it differently.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        if len(set(names)) < len(names):
            raise ValueError("two members of one name")
        top = next((name.removesuffix(_NEW) for name in names if name.endswith(f"/{_NEW}")), "")
        if not all(name.startswith(top) for name in names) or not (top or _OLD in names):
            raise ValueError("it lacks the members of such an archive")
        members = {name.removeprefix(top): archive.read(name) if name.endswith(".json") else b"" for name in names}
    try:
        reader = torch._C.PyTorchFileReader(io.BytesIO(content))
    except RuntimeError:  # the older format is read by zipfile alone
        if top:
            raise
        return members
    texts = {name: reader.get_record(name) for name in reader.get_all_records() if name.endswith(".json")}
    if texts != {name: member for name, member in members.items() if name.endswith(".json")}:
        raise ValueError("it is ambiguous")
    return members


def _check(value: Any, key: str) -> None:
    if isinstance(value, dict):
        if value.get("use_pickle") or key == "as_custom_obj":
            raise UserError(f"the torch.export program holds pickled objects, which would run code; {ADVICE}")
        for name, item in value.items():
            _check_text(name, "")
            if name not in _FREE and name != "guards_code":
                _check(item, name)
    elif isinstance(value, list):
        for item in value:
            _check(item, key)
    elif isinstance(value, str):
        _check_text(value, key)


def _check_text(text: str, key: str) -> None:
    if key == "target":
        match = _TARGET.fullmatch(text)
        if match is None or _names_a_file(match["operator"]):
            raise UserError(f"the torch.export program uses {text[:80]!r}, not an operator of torch's own; {ADVICE}")
    elif key in ("in_spec", "out_spec"):
        _check_containers(text)
    elif key == "expr_str":
        rest = _SYMBOL.sub("S", text)
        words = re.findall(r"[^\W\d]\w*", rest)
        harmless = re.fullmatch(r"[\w\s+\-*/%(),.<>=!&|~]*", rest) and not re.search(r"\.\s*[^\W\d]", rest)
        if not harmless or not all(_WORDS.fullmatch(word) for word in words):
            raise UserError(f"the torch.export program has {text[:80]!r} as a size, which would be executed; {ADVICE}")
    elif not _NAME.fullmatch(text):
        raise UserError(f"the torch.export program has the name {text[:80]!r}, which would be executed; {ADVICE}")


def _names_a_file(operator: str | None) -> bool:
    """Return whether one of torch's operators reads or writes a file."""
    packet = getattr(torch.ops.aten, operator, None) if operator else None
    overloads = [getattr(packet, name) for name in packet.overloads()] if packet is not None else []
    return operator in ("save", "from_file") or any(
        argument.name == "filename" for overload in overloads for argument in overload._schema.arguments
    )


def _check_containers(text: str) -> None:
    """Refuse arguments or results in containers whose type would be imported by its name."""
    if not text:
        return
    queue: list[Any] = [json.loads(text)]
    while queue:
        part = queue.pop()
        if isinstance(part, list):
            queue += part
        elif isinstance(part, dict):
            if part.get("type") not in _CONTAINERS or "__enum__" in str(part.get("context")):
                raise UserError(f"the torch.export program takes or returns {part.get('type')!r}; {ADVICE}")
            queue += part.get("children_spec", [])


@contextmanager
def _only_tensors_unpickled() -> Iterator[None]:
    """Make every torch.load inside the block one with weights_only, which torch.export.load itself gives up."""
    names = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "0"}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch's notes about versions of the format, which say nothing about the network."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
