"""Arrays of other libraries: where they lie, what shape they have, and how to make one.

An `Arrays` knows one library. `key` says all of a call's arrays that decides how the call is bound:
it is made for every call, so it is cheap. `describe` says the same in DLPack's terms, once a key.
"""

from __future__ import annotations

import ctypes
import functools
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from . import _abi
from ._signature import DTYPE_CODES, TensorSpec

Place = tuple[int, int]
"""Device type and number, as DLPack has them."""


@dataclass(frozen=True)
class Description:
    """How an array lies in memory: all but its address."""

    place: Place
    dtype: tuple[int, int]
    """DLPack's code and bits."""
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    """In elements; None: row-major."""


class Arrays:
    """One library's arrays."""

    def key(self, values: Sequence[Any]) -> Any:
        raise NotImplementedError

    def describe(self, value: Any, spec: TensorSpec) -> Description:
        raise NotImplementedError

    def readable(self, values: Sequence[Any]) -> Sequence[Any]:
        """The values, or copies of those that kernels can't use where they lie."""
        return values

    def writable(self, values: Sequence[Any]) -> Sequence[Any]:
        """The same of values that are written; `give_back` follows when they are."""
        return values

    def give_back(self, values: Sequence[Any], used: Sequence[Any]) -> None:
        """What was written to copies goes where it belongs."""

    def pointer(self, value: Any) -> int:
        raise NotImplementedError

    def size_bytes(self, value: Any) -> int:
        raise NotImplementedError

    def maker(
        self, spec: TensorSpec, shape: tuple[int, ...], inputs: Sequence[Any]
    ) -> Callable[[], Any]:
        """What makes an output of `spec` for inputs like these."""
        raise NotImplementedError

    def block(self, size_bytes: int, place: Place) -> Any:
        """So many bytes, aligned for workspace, content undefined."""
        raise NotImplementedError

    def stream(self, card: int) -> int:
        """The CUstream that calls on the card go to."""
        return 0


_NUMPY_BITS = {"bfloat16": "uint16", "float8_e4m3fn": "uint8", "float8_e5m2": "uint8"}


class NumpyArrays(Arrays):
    """numpy, on the CPU. It aligns to 16 bytes and kernels want 64: what isn't aligned, or not
    row-major, is copied. numpy has no bfloat16 and float8: such arrays are ml_dtypes', or the bits
    as uint16 and uint8."""

    def __init__(self) -> None:
        import numpy

        self._numpy = numpy

    def key(self, values: Sequence[Any]) -> Any:
        array = self._numpy.ndarray
        return tuple(
            [(v.shape, v.dtype) if isinstance(v, array) else type(v) for v in values]
        )

    def describe(self, value: Any, spec: TensorSpec) -> Description:
        if not isinstance(value, self._numpy.ndarray):
            raise TypeError(f"{spec.name} is of {type(value)}, others are numpy arrays")
        name = value.dtype.name
        if name == _NUMPY_BITS.get(spec.dtype):
            name = spec.dtype
        if name not in DTYPE_CODES or not value.dtype.isnative:
            raise ValueError(f"{spec.name} has the dtype {value.dtype}, {spec.dtype} is expected")
        return Description((_abi.CPU, 0), DTYPE_CODES[name], value.shape, None)

    def readable(self, values: Sequence[Any]) -> Sequence[Any]:
        return [self._aligned(v) if isinstance(v, self._numpy.ndarray) else v for v in values]

    def writable(self, values: Sequence[Any]) -> Sequence[Any]:
        for value in values:
            if not value.flags.writeable:
                raise ValueError("an output is a numpy array that is read-only")
        return self.readable(values)

    def give_back(self, values: Sequence[Any], used: Sequence[Any]) -> None:
        for value, copy in zip(values, used):
            if copy is not value:
                value[...] = copy

    def _aligned(self, value: Any) -> Any:
        if value.flags.c_contiguous and self.pointer(value) % _abi.CPU_ALIGNMENT == 0:
            return value
        copy = self._empty(value.shape, value.dtype)
        copy[...] = value
        return copy

    def pointer(self, value: Any) -> int:
        return value.__array_interface__["data"][0]

    def size_bytes(self, value: Any) -> int:
        return value.nbytes

    def maker(
        self, spec: TensorSpec, shape: tuple[int, ...], inputs: Sequence[Any]
    ) -> Callable[[], Any]:
        dtype = self._numpy.dtype(_NUMPY_BITS.get(spec.dtype, spec.dtype))
        for value in inputs:  # ml_dtypes' types, where the inputs have them
            if isinstance(value, self._numpy.ndarray) and value.dtype.name == spec.dtype:
                dtype = value.dtype
        return functools.partial(self._empty, shape, dtype)

    def _empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        size_bytes = math.prod(shape) * dtype.itemsize
        return self.block(size_bytes, (_abi.CPU, 0)).view(dtype).reshape(shape)

    def block(self, size_bytes: int, place: Place) -> Any:
        room = self._numpy.empty(size_bytes + _abi.WORKSPACE_ALIGNMENT, self._numpy.uint8)
        start = -self.pointer(room) % _abi.WORKSPACE_ALIGNMENT
        return room[start : start + size_bytes]


class TorchArrays(Arrays):
    """torch, on the CPU and on cards; its current stream and its allocator. Nothing is copied."""

    def __init__(self) -> None:
        import torch

        self._torch = torch
        self._current_stream = getattr(torch._C, "_cuda_getCurrentRawStream", None) or (
            lambda index: torch.cuda.current_stream(index).cuda_stream
        )
        self._dtypes = {getattr(torch, n): c for n, c in DTYPE_CODES.items() if hasattr(torch, n)}

    def key(self, values: Sequence[Any]) -> Any:
        tensor = self._torch.Tensor
        return tuple(
            [
                (v.shape, v.dtype, v.device, v.is_contiguous() or v.stride())
                if isinstance(v, tensor)
                else type(v)
                for v in values
            ]
        )

    def describe(self, value: Any, spec: TensorSpec) -> Description:
        if not isinstance(value, self._torch.Tensor):
            raise TypeError(f"{spec.name} is of {type(value)}, others are torch tensors")
        if value.dtype not in self._dtypes or value.device.type not in ("cpu", "cuda"):
            raise ValueError(
                f"{spec.name} is {value.dtype} on {value.device}, {spec.dtype} on the CPU or a "
                "CUDA card is expected"
            )
        place = (_abi.CPU, 0) if value.device.type == "cpu" else (_abi.CUDA, value.device.index)
        strides = None if value.is_contiguous() else tuple(value.stride())
        return Description(place, self._dtypes[value.dtype], tuple(value.shape), strides)

    def pointer(self, value: Any) -> int:
        return value.data_ptr()

    def size_bytes(self, value: Any) -> int:
        return value.numel() * value.element_size()

    def maker(
        self, spec: TensorSpec, shape: tuple[int, ...], inputs: Sequence[Any]
    ) -> Callable[[], Any]:
        device = next(v.device for v in inputs if isinstance(v, self._torch.Tensor))
        dtype = getattr(self._torch, spec.dtype)
        return functools.partial(self._torch.empty, shape, dtype=dtype, device=device)

    def block(self, size_bytes: int, place: Place) -> Any:
        cpu = place[0] == _abi.CPU
        room = self._torch.empty(
            # Cards' memory is aligned well enough.
            size_bytes + _abi.WORKSPACE_ALIGNMENT * cpu,
            dtype=self._torch.uint8,
            device="cpu" if cpu else f"cuda:{place[1]}",
        )
        return room.narrow(0, -room.data_ptr() % _abi.WORKSPACE_ALIGNMENT if cpu else 0, size_bytes)

    def stream(self, card: int) -> int:
        return self._current_stream(card)


class _ManagedTensor(ctypes.Structure):
    _fields_ = [("tensor", _abi.Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype = ctypes.c_void_p
_capsule_pointer.argtypes = (ctypes.py_object, ctypes.c_char_p)


class _Exported:
    """An array seen through DLPack. The capsule keeps the array, and frees its own when it goes."""

    def __init__(self, value: Any):
        self._capsule = value.__dlpack__()
        where = _capsule_pointer(self._capsule, b"dltensor")
        tensor = _ManagedTensor.from_address(where).tensor
        self.address = (tensor.data or 0) + tensor.byte_offset
        self.size_bytes = tensor.dtype.bits * math.prod(tensor.shape[: tensor.ndim]) // 8
        self.description = Description(
            (tensor.device.device_type, tensor.device.device_id),
            (tensor.dtype.code, tensor.dtype.bits),
            tuple(tensor.shape[: tensor.ndim]),
            tuple(tensor.strides[: tensor.ndim]) if tensor.strides else None,
        )


class _HostBlock:
    def __init__(self, size_bytes: int):
        self._room = ctypes.create_string_buffer(size_bytes + _abi.WORKSPACE_ALIGNMENT)
        start = ctypes.addressof(self._room)
        self.address = start + -start % _abi.WORKSPACE_ALIGNMENT
        self.size_bytes = size_bytes


class DlpackArrays(Arrays):
    """Whatever has __dlpack__, on the CPU and, on the default stream, on cards. Outputs must be
    given; on a card workspace too, where it is needed."""

    def key(self, values: Sequence[Any]) -> Any:
        return tuple(
            [_Exported(v).description if hasattr(v, "__dlpack__") else type(v) for v in values]
        )

    def readable(self, values: Sequence[Any]) -> Sequence[Any]:
        return [_Exported(v) if hasattr(v, "__dlpack__") else v for v in values]

    def writable(self, values: Sequence[Any]) -> Sequence[Any]:
        return self.readable(values)

    def describe(self, value: Any, spec: TensorSpec) -> Description:
        if not hasattr(value, "__dlpack__"):
            raise TypeError(f"{spec.name} is of {type(value)}, which has no __dlpack__")
        return _Exported(value).description

    def pointer(self, value: Any) -> int:
        return value.address

    def size_bytes(self, value: Any) -> int:
        return value.size_bytes

    def maker(
        self, spec: TensorSpec, shape: tuple[int, ...], inputs: Sequence[Any]
    ) -> Callable[[], Any]:
        raise TypeError(f"arrays of this library can't be made here: give out= with {spec.name}")

    def block(self, size_bytes: int, place: Place) -> Any:
        if place[0] != _abi.CPU:
            raise RuntimeError(f"the call needs workspace: give workspace= with {size_bytes} bytes")
        return _HostBlock(size_bytes)


class _Kinds:
    """Which `Arrays` a type belongs to. numpy and torch are only looked for where someone else has
    imported them: an array of theirs can't be here otherwise."""

    def __init__(self) -> None:
        self._known: dict[type, Arrays] = {}
        self._libraries: dict[str, Arrays] = {}

    def of(self, values: Sequence[Any]) -> Arrays:
        """Of the first value that is an array."""
        for value in values:
            kind = self._known.get(type(value)) or self._find(value)
            if kind is not None:
                return kind
        raise TypeError("no argument is an array: give numpy's, torch's, or what has __dlpack__")

    def _find(self, value: Any) -> Arrays | None:
        for library, kind, array in (
            ("torch", TorchArrays, "Tensor"),
            ("numpy", NumpyArrays, "ndarray"),
        ):
            module = sys.modules.get(library)
            if module is not None and isinstance(value, getattr(module, array)):
                return self._remember(value, library, kind)
        if hasattr(value, "__dlpack__"):
            return self._remember(value, "", DlpackArrays)
        return None

    def _remember(self, value: Any, library: str, kind: type[Arrays]) -> Arrays:
        arrays = self._libraries.get(library) or self._libraries.setdefault(library, kind())
        self._known[type(value)] = arrays
        return arrays


kinds = _Kinds()
