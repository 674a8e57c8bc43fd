"""A checksum inside safetensors files: equal content makes equal bytes, and damage anywhere is seen.

Source: ours; the format is safetensors' (Hugging Face).
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors.numpy import save

from ase_mlx.reading import parsed_json

SUM = "sha256"
"""Name of the checksum in a file's `__metadata__`: of the header without it, sorted, and of all data."""


def pack_tensors(arrays: Mapping[str, np.ndarray], words: Mapping[str, str] | None = None) -> bytes:
    """Write arrays (any unit) and words about them as safetensors' bytes with a checksum.

    safetensors takes the bytes of an array as they lie in memory, also those of a transposed one.

    Source: ours.
    """
    ordered = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    return seal_tensors(save(ordered, dict(words or {})))


def seal_tensors(content: bytes) -> bytes:
    """Sort the header of safetensors' bytes and put a checksum into it.

    Source: ours.
    """
    header, data = _split(content)
    header.setdefault("__metadata__", {})[SUM] = _sum(header, data)
    text = _text(header)
    return len(text).to_bytes(8, "little") + text + data


def check_tensors(content: bytes, must: bool = False) -> None:
    """Compare the checksum of safetensors' bytes with their content.

    Args:
        content: a whole file.
        must: whether a file without a checksum, as earlier versions wrote them, is refused.

    Raises:
        ValueError: the file is damaged.

    Source: ours.
    """
    try:
        header, data = _split(content)
        words = header.get("__metadata__", {})
        sealed = words.get(SUM)
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError("its header is damaged") from error
    renamed = sealed is None and any(re.fullmatch("[0-9a-f]{64}", str(word)) for word in words.values())
    if sealed is None and (must or renamed):
        raise ValueError("it has no checksum")
    if sealed is not None and sealed != _sum(header, data):
        raise ValueError("its checksum is another")


def _split(content: bytes) -> tuple[dict[str, Any], bytes]:
    size = int.from_bytes(content[:8], "little")
    header = parsed_json(content[8 : 8 + size])
    if not isinstance(header, dict):
        raise ValueError("no header")
    return header, content[8 + size :]


def _text(header: dict[str, Any]) -> bytes:
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return text + b" " * (-len(text) % 8)


def _sum(header: dict[str, Any], data: bytes) -> str:
    meta = {name: value for name, value in header.get("__metadata__", {}).items() if name != SUM}
    return hashlib.sha256(_text(header | {"__metadata__": meta}) + data).hexdigest()
