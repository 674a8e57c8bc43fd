"""A canonical digest of what a value holds: equal content, equal digest, in every process.

Numbers, text, arrays, tensors and containers of them count by value; an object by its class and all its attributes; a
network by its weights; a function by its code, defaults and what it closes over; a class by the file that defines it,
the data and the functions in it. What cannot be told (a handle of a C library, say) is `Unstable`: nobody may take it
for equal to anything.

Source: ours.
"""

import enum
import functools
import hashlib
import io
import logging
import os
import struct
import sys
import sysconfig
import types
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

import numpy as np

_LIBRARIES = tuple({os.path.realpath(sysconfig.get_path(n)) for n in ("purelib", "platlib", "stdlib", "platstdlib")})
PACKAGE = __name__.split(".")[0]
_LOGS = (".txt", ".log", ".out", ".traj")
"""Endings of files that a calculator writes: their names count, their content does not."""

_FUNCTIONS = (types.BuiltinFunctionType, types.WrapperDescriptorType, types.MethodDescriptorType, np.ufunc)
_CODE = (type, types.FunctionType, types.ModuleType)
_EMPTY = (weakref.ref, io.IOBase, logging.Logger, logging.Handler, types.GetSetDescriptorType, property)
_LOCKS = ("lock", "RLock", "Condition", "Event")
_PLAIN = (type(None), bool, int, float, complex, str, bytes, np.ndarray, np.generic, PurePath, enum.Enum)


class Unstable(TypeError):
    """A value holds something whose content cannot be told."""


def digest(*values: Any) -> str:
    """Digest values by what they hold (sha256, 64 hexadecimal digits).

    Raises:
        Unstable: the content of a value cannot be told.

    Source: ours.
    """
    return _Reader().of(values).hex()


def contents(value: Any, skip: Callable[[Any, str], bool]) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Digest an object attribute by attribute, through the objects that it holds.

    Args:
        value: any object.
        skip: tells, of an object and the name of its attribute, whether it says nothing about the object.

    Returns:
        Path of each attribute → digest; the same without the code of this package, which changes from version to
        version; and the paths of those whose content cannot be told: their digest holds in this process alone.

    Source: ours.
    """
    parts: dict[str, str] = {}
    lasting: dict[str, str] = {}
    unstable: list[str] = []
    path_of: dict[int, str] = {}

    def leaf(path: str, item: Any) -> None:
        try:
            parts[path] = _Reader(files=True).of(item).hex()
            lasting[path] = parts[path] if _is_data(item) else _Reader(files=True, apart=PACKAGE).of(item).hex()
        except (Unstable, RecursionError):
            unstable.append(path)
            parts[path] = lasting[path] = _here_alone(item)

    def walk(path: str, item: Any) -> None:
        if isinstance(item, types.MethodType) and id(item.__self__) in path_of:  # what it is bound to is walked through
            leaf(path, item.__func__)
        elif _is_data(item) or isinstance(item, (*_CODE, *_FUNCTIONS, *_EMPTY)):
            leaf(path, item)
        elif id(item) in path_of:
            parts[path] = lasting[path] = f"is {path_of[id(item)]}"
        elif isinstance(item, list | tuple | Mapping):
            path_of[id(item)] = path
            for name, each in item.items() if isinstance(item, Mapping) else enumerate(item):
                walk(f"{path}[{name}]", each)
        elif hasattr(item, "__dict__") and not _is_tensor(item) and not _static_base(type(item)):
            path_of[id(item)] = path
            leaf(f"{path}.__class__".removeprefix("."), type(item))
            for name, each in sorted(_attributes(item).items(), key=lambda pair: str(pair[0])):
                if not skip(item, name):
                    walk(f"{path}.{name}".removeprefix("."), each)
        else:
            leaf(path, item)

    walk("", value)
    return parts, lasting, unstable


_MARKS: dict[int, tuple[weakref.ref, str]] = {}


def _here_alone(value: Any) -> str:
    """A mark of this very object in this process; a new one each time where nobody can tell whether it still lives."""
    reference, mark = _MARKS.get(id(value), (None, ""))
    if reference is None or reference() is not value:
        mark = os.urandom(16).hex()
        with suppress(TypeError):
            _MARKS[id(value)] = (weakref.ref(value), mark)
    return mark


def _is_data(value: Any, depth: int = 0) -> bool:
    if isinstance(value, _PLAIN) or _is_tensor(value):
        return not (isinstance(value, np.ndarray) and value.dtype.hasobject)
    if depth > 20:
        return False
    if type(value) in (list, tuple, set, frozenset):
        return all(_is_data(item, depth + 1) for item in value)
    return type(value) is dict and all(
        _is_data(k, depth + 1) and _is_data(item, depth + 1) for k, item in value.items()
    )


def _torch():
    return sys.modules.get("torch")  # who has no tensors need not wait for its import


def _is_tensor(value: Any) -> bool:
    torch = _torch()
    return torch is not None and isinstance(value, torch.Tensor)


def _is_network(value: Any) -> bool:
    torch = _torch()
    return torch is not None and isinstance(value, torch.nn.Module)


def _attributes(value: Any) -> dict[str, Any]:
    """All that an object holds by name; of a network its parts and all of its own, without torch's bookkeeping."""
    attributes = dict(getattr(value, "__dict__", {}))
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                attributes[name] = getattr(value, name)
    if _is_network(value):
        torch = _torch()
        script = isinstance(value, torch.jit.ScriptModule)
        bookkeeping = {*torch.nn.Module().__dict__, "training"} | (set(attributes) if script else set())
        attributes = {name: item for name, item in attributes.items() if name not in bookkeeping}
        attributes |= {"(class)": str(value.code) if script and hasattr(value, "code") else ""}
        weights = [*value.named_parameters(recurse=False), *value.named_buffers(recurse=False)]
        attributes |= {name: tensor for name, tensor in weights}
        attributes |= dict(value.named_children())
    return attributes


class _Reader:
    """One reading of a value: what was met before counts by where it was met.

    Classes and functions of the package `apart` count by their names.
    """

    def __init__(self, files: bool = False, apart: str = ""):
        self.files, self.apart = files, apart
        self.seen: dict[int, tuple[bytes, Any]] = {}
        self.sources: dict[str, bytes] = {}

    def source(self, module: str | None) -> bytes:
        if module is None or self.is_apart(module):  # None: a function that was made at run time
            return b""
        if module not in self.sources:
            self.sources[module] = _source(module)
        return self.sources[module]

    def is_apart(self, module: str | None) -> bool:
        return bool(self.apart) and str(module).split(".")[0] == self.apart

    def of(self, value: Any) -> bytes:
        if isinstance(value, _PLAIN):
            return self._plain(value)
        if id(value) in self.seen:
            return self.seen[id(value)][0]
        self.seen[id(value)] = (_hash("met", struct.pack("<q", len(self.seen))), value)
        result = self._other(value)
        self.seen[id(value)] = (result, value)
        return result

    def _plain(self, value: Any) -> bytes:
        if isinstance(value, enum.Enum):
            return _hash("enum", type(value).__qualname__.encode(), value.name.encode())
        if isinstance(value, np.ndarray | np.generic):
            array = np.asarray(value)
            if array.dtype.hasobject:
                return _hash("objects", repr(array.shape).encode(), *map(self.of, array.ravel().tolist()))
            return _hash("array", array.dtype.str.encode(), repr(array.shape).encode(), array.tobytes())
        if isinstance(value, float):
            return _hash("float", struct.pack("<d", value))
        if isinstance(value, bytes):
            return _hash("bytes", value)
        if isinstance(value, str | PurePath):
            return _hash("text", str(value).encode(errors="surrogatepass"), self._file(str(value)))
        return _hash(type(value).__name__, repr(value).encode())

    def _file(self, name: str) -> bytes:
        """The content of a file that a text names: potentials are often given so."""
        if not self.files or not 0 < len(name) < 4096 or "\n" in name or "\0" in name or name.endswith(_LOGS):
            return b""
        try:
            return _file_digest(name) if os.path.isfile(name) else b""
        except OSError:
            return b""

    def _other(self, value: Any) -> bytes:
        torch = _torch()
        if _is_tensor(value) and value.layout == torch.strided:
            plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
            data = plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""
            return _hash("tensor", str(value.dtype).encode(), repr(tuple(value.shape)).encode(), data)
        if torch is not None and isinstance(value, torch.dtype | torch.device):
            return _hash("torch", str(value).encode())
        if isinstance(value, Mapping):
            pairs = sorted(((self.of(key), item) for key, item in value.items()), key=lambda pair: pair[0])
            inside = [part for key, item in pairs for part in (key, self.of(item))]
            return _hash("map", *inside, *self._class_of(value, dict))
        if isinstance(value, set | frozenset):
            return _hash("set", *sorted(_Reader(self.files, self.apart).of(item) for item in value))
        if isinstance(value, list | tuple):
            return _hash("list", *map(self.of, value), *self._class_of(value, list, tuple))
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            return _hash("method", self.of(value.__self__), self.of(value.__func__))
        if isinstance(value, functools.partial):
            return _hash("partial", self.of(value.func), self.of(value.args), self.of(value.keywords))
        if isinstance(value, types.ModuleType):
            return _hash("module", value.__name__.encode(), self.source(value.__name__))
        if isinstance(value, staticmethod | classmethod | functools.cached_property):
            return self.of(getattr(value, "__func__", None) or value.func)
        if isinstance(value, types.UnionType | types.GenericAlias) or type(value).__module__ == "typing":
            return _hash("annotation", repr(value).encode())
        if isinstance(value, _FUNCTIONS):
            return _hash("built in", str(getattr(value, "__module__", "")).encode(), value.__name__.encode())
        if isinstance(value, _EMPTY) or type(value).__name__ in _LOCKS:
            return _hash("handle", type(value).__qualname__.encode())
        return self._object(value)

    def _class_of(self, value: Any, *plain: type) -> Iterator[bytes]:
        if type(value) not in plain:
            yield self.of(type(value))
            yield from (self.of(name) + self.of(item) for name, item in sorted(getattr(value, "__dict__", {}).items()))

    def _object(self, value: Any) -> bytes:
        if hasattr(value, "__dict__") and not _static_base(type(value)):
            pairs = sorted(_attributes(value).items(), key=lambda pair: str(pair[0]))
            inside = [part for name, item in pairs for part in (self.of(str(name)), self.of(item))]
            return _hash("object", self.of(type(value)), *inside)
        try:
            reduced = value.__reduce_ex__(4)
        except Exception as error:  # any class may refuse in its own words
            raise Unstable(f"the content of a {type(value).__qualname__} cannot be told") from error
        if isinstance(reduced, str):
            return _hash("name", reduced.encode())
        parts = [list(part) if isinstance(part, Iterator) else part for part in reduced]
        if any(part is value for part in parts):
            raise Unstable(f"the content of a {type(value).__qualname__} cannot be told")
        return _hash("reduced", *map(self.of, parts))

    def _class(self, cls: type) -> bytes:
        inside: list[bytes] = []
        for each in cls.__mro__:
            inside += [f"{each.__module__}.{each.__qualname__}".encode(), self.source(str(each.__module__))]
            own = not _of_a_library(each.__module__) and not self.is_apart(each.__module__)
            for name, item in sorted(vars(each).items()):
                if name == "_abc_impl" or name.startswith("__") and not callable(item):
                    continue
                if own or _is_data(item):
                    inside += [name.encode(), self.of(item)]
        return _hash("class", *inside)

    def _function(self, function: types.FunctionType) -> bytes:
        inside = [f"{function.__module__}.{function.__qualname__}".encode(), self.source(str(function.__module__))]
        apart = self.is_apart(function.__module__)
        inside += [
            b"" if apart else _code(function.__code__),
            self.of(function.__defaults__),
            self.of(function.__kwdefaults__),
        ]
        for cell in function.__closure__ or ():
            try:
                inside.append(self.of(cell.cell_contents))
            except ValueError:
                inside.append(b"empty")
        script = function.__module__ == "__main__"
        for name in (
            () if apart else function.__code__.co_names
        ):  # constants of the module may be set by whoever made the object
            item = function.__globals__.get(name)
            if not name.startswith("__") and (_is_data(item) or script and isinstance(item, types.FunctionType | type)):
                inside += [name.encode(), self.of(item)]
        return _hash("function", *inside)


def _hash(kind: str, *parts: bytes) -> bytes:
    state = hashlib.sha256(kind.encode())
    for part in parts:
        state.update(struct.pack("<q", len(part)))
        state.update(part)
    return state.digest()


def _code(code: types.CodeType) -> bytes:
    constants = [
        _code(item) if isinstance(item, types.CodeType) else _Reader().of(item)
        for item in code.co_consts
        if item is not Ellipsis
    ]
    return _hash("code", code.co_code, *constants, " ".join(code.co_names + code.co_varnames).encode())


def _static_base(cls: type) -> bool:
    """Whether a class stands on one of C, whose content its attributes do not show."""
    return any(base is not object and not base.__flags__ & (1 << 9) for base in cls.__mro__)  # Py_TPFLAGS_HEAPTYPE


@functools.cache
def _of_a_library(module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is None and module != "__main__" or os.path.realpath(file or "").startswith(_LIBRARIES)


def _source(module: str) -> bytes:
    """Digest of the files that a class or function rests on: its module's, and those that this imports from beside it.

    What a notebook or script defines counts by its code alone: other lines of it may change.
    """
    if module == "__main__":
        return b""
    return _hash("files", *sorted(_file_digest(file) for file in _files(module) if os.path.isfile(file)))


@functools.cache
def _files(module: str) -> tuple[str, ...]:
    files, names = [], [module]
    base = os.path.dirname(os.path.realpath(getattr(sys.modules.get(module), "__file__", None) or ""))
    for name in names:
        file = getattr(sys.modules.get(name), "__file__", None)
        if not file or file in files:
            continue
        files.append(file)
        if not _of_a_library(name) and os.path.realpath(file).startswith(base):
            for item in list(vars(sys.modules[name]).values()):
                linked = item.__name__ if isinstance(item, types.ModuleType) else getattr(item, "__module__", None)
                names += [linked] if isinstance(linked, str) and linked not in names else []
    return tuple(files)


def _file_digest(name: str) -> bytes:
    status = os.stat(name)
    return _file_content(name, status.st_mtime_ns, status.st_size)


@functools.lru_cache(4096)
def _file_content(name: str, modified: int, size: int) -> bytes:
    with Path(name).open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
