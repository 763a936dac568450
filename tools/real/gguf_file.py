"""Reads GGUF, version 3: metadata, and tensors as the blocks of bytes they are stored in.

Written from the format's description (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). Every length and offset is checked
against the file before it is used; what is wrong raises `Malformed`. What the bytes of a tensor mean is its readers' business.
"""

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path

# Value types of metadata, by number; 8 is a text, 9 an array.
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
TEXT, ARRAY = 8, 9
# Tensor types by number: name, values of a block, bytes of a block.
TYPES = {0: ("F32", 1, 4), 1: ("F16", 1, 2), 3: ("Q4_1", 32, 20), 8: ("Q8_0", 32, 34)}
MOST_DIMENSIONS = 4
ALIGNMENT = 32


class Malformed(Exception):
    """The file is no GGUF, or one of a kind that is not read."""


@dataclass(frozen=True)
class Tensor:
    """`shape` has the slowest dimension first, as NumPy has it; the file has it last."""

    kind: str
    shape: tuple
    offset: int
    size: int


class Gguf:
    """`metadata`: values by key. `tensors`: by name. Use it as a context, or close it."""

    def __init__(self, path):
        self._place = 0
        with Path(path).open("rb") as file:
            if not file.seek(0, 2):
                raise Malformed("is empty")
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            self._read()
        except Malformed:
            self._bytes.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._bytes.close()

    def blocks(self, name):
        """The bytes of a tensor."""
        tensor = self.tensors[name]
        return self._bytes[tensor.offset : tensor.offset + tensor.size]

    def _read(self):
        if self._take(4) != b"GGUF":
            raise Malformed("does not begin with GGUF")
        if (version := self._scalar("<I")) != 3:
            raise Malformed(f"is of version {version}, wanted 3")
        tensors, values = self._scalar("<Q"), self._scalar("<Q")
        self.metadata = {}
        for _ in range(self._count(values, 13)):
            key = self._text()
            if key in self.metadata:
                raise Malformed(f"has {key} twice")
            self.metadata[key] = self._value(self._scalar("<I"))
        described = [self._description() for _ in range(self._count(tensors, 24))]
        alignment = self.metadata.get("general.alignment", ALIGNMENT)
        if not isinstance(alignment, int) or alignment <= 0:
            raise Malformed(f"has an alignment of {alignment}")
        start = -(-self._place // alignment) * alignment
        self.tensors = {}
        for name, kind, shape, offset, size in described:
            if name in self.tensors:
                raise Malformed(f"has the tensor {name} twice")
            if start + offset + size > len(self._bytes):
                raise Malformed(f"ends before the tensor {name} does")
            self.tensors[name] = Tensor(kind, shape, start + offset, size)

    def _description(self):
        name, dimensions = self._text(), self._scalar("<I")
        if not 1 <= dimensions <= MOST_DIMENSIONS:
            raise Malformed(f"{name} has {dimensions} dimensions")
        shape = tuple(self._scalar("<Q") for _ in range(dimensions))[::-1]
        number, offset = self._scalar("<I"), self._scalar("<Q")
        if number not in TYPES:
            raise Malformed(f"{name} is of type {number}; read are {', '.join(kind for kind, *_ in TYPES.values())}")
        kind, values, size = TYPES[number]
        if shape[-1] % values:
            raise Malformed(f"{name} has rows of {shape[-1]}, which are no blocks of {values}")
        return name, kind, shape, offset, prod(shape) // values * size

    def _take(self, size):
        end = self._place + size
        if end > len(self._bytes):
            raise Malformed(f"ends within what begins at byte {self._place}")
        taken = self._bytes[self._place : end]
        self._place = end
        return taken

    def _scalar(self, form):
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _count(self, count, smallest):
        """A number of things, none of them shorter than `smallest` bytes."""
        if count > (len(self._bytes) - self._place) // smallest:
            raise Malformed(f"says that {count} things follow byte {self._place}")
        return count

    def _text(self):
        try:
            return self._take(self._scalar("<Q")).decode("utf-8")
        except UnicodeDecodeError as error:
            raise Malformed(f"has a text before byte {self._place} that is not UTF-8: {error}") from None

    def _value(self, kind, nested=False):
        if kind in SCALARS:
            return self._scalar(SCALARS[kind])
        if kind == TEXT:
            return self._text()
        if kind == ARRAY and not nested:
            inner, count = self._scalar("<I"), self._scalar("<Q")
            smallest = struct.calcsize(SCALARS[inner]) if inner in SCALARS else 8
            return [self._value(inner, True) for _ in range(self._count(count, smallest))]
        raise Malformed(f"has a value of type {kind} before byte {self._place}")
