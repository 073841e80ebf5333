"""A call bound to shapes: the C structs are filled once, later calls only change addresses."""

from __future__ import annotations

import ctypes
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from . import _abi
from ._arrays import Arrays, Description, Place, kinds
from ._signature import Signature

_WORDS_A_TENSOR = ctypes.sizeof(_abi.Tensor) // 8

_ERRORS = {
    _abi.INVALID_ARGUMENT: ValueError,
    _abi.NOT_FOUND: LookupError,
    _abi.UNSUPPORTED: NotImplementedError,
    _abi.OUT_OF_MEMORY: MemoryError,
}


def raise_error(api: _abi.Api, status: int) -> NoReturn:
    """What the C interface says about a call that failed, as an exception."""
    raise _ERRORS.get(status, RuntimeError)(api.last_error().decode())


def require(condition: bool, message: Callable[[], str]) -> None:
    """For Signature.solve() with shapes that are numbers."""
    if not condition:
        raise ValueError(message())


def describe_inputs(
    signature: Signature, arrays: Arrays, inputs: Sequence[Any]
) -> list[Description | None]:
    """Of host scalars, and of inputs that are None: None."""
    if len(inputs) != len(signature.inputs):
        raise TypeError(f"{len(inputs)} inputs were given to {signature}")
    return [
        None if spec.is_host_scalar or value is None else arrays.describe(value, spec)
        for value, spec in zip(inputs, signature.inputs)
    ]


def place_of(descriptions: Sequence[Description | None]) -> Place:
    """The first tensor's; that all others are there too is checked behind the C interface."""
    for description in descriptions:
        if description is not None:
            return description.place
    raise TypeError("no argument is a tensor of the signature")


def read_scalar(signature: Signature, index: int, value: Any) -> float:
    if not isinstance(value, numbers.Real):
        raise TypeError(
            f"{signature.name}: {signature.inputs[index].name} is a number, not {type(value)}"
        )
    return float(value)


class _Tensors:
    """An array of DLTensors whose addresses are set apart from the rest."""

    def __init__(self, descriptions: Sequence[Description | None]):
        count = max(1, len(descriptions))
        self.tensors = (_abi.Tensor * count)()
        self.addresses = (ctypes.c_uint64 * (_WORDS_A_TENSOR * count)).from_buffer(self.tensors)
        self._kept: list[Any] = []
        for tensor, description in zip(self.tensors, descriptions):
            if description is None:
                continue
            tensor.device = _abi.Place(*description.place)
            tensor.dtype = _abi.DType(*description.dtype, 1)
            tensor.ndim = len(description.shape)
            tensor.shape = self._numbers(description.shape)
            if description.strides is not None:
                tensor.strides = self._numbers(description.strides)

    def _numbers(self, values: Sequence[int]) -> Any:
        array = (ctypes.c_int64 * max(1, len(values)))(*values)
        self._kept.append(array)
        return array


class _HostCopies:
    """Values on the host, of inputs that kernels are planned better with, or not at all without."""

    def __init__(
        self,
        signature: Signature,
        descriptions: Sequence[Description | None],
        host: Mapping[str, Any] | None,
    ):
        self._signature = signature
        self._descriptions = descriptions
        self._indices = {s.name: i for i, s in enumerate(signature.inputs) if s.is_host_visible}
        for name in host or ():
            if name not in self._indices:
                taken = ", ".join(self._indices) or "none"
                raise ValueError(
                    f"{signature.name}: host copies are taken of {taken}, not of {name}"
                )
        self._pointers = (ctypes.c_void_p * max(1, len(signature.inputs)))()

    @property
    def address(self) -> int:
        return ctypes.addressof(self._pointers)

    def set(self, host: Mapping[str, Any]) -> list[Any]:
        """Returns what must live until the call is enqueued."""
        kept = []
        for name, value in host.items():
            index = self._indices[name]
            spec, expected = self._signature.inputs[index], self._descriptions[index]
            arrays = kinds.of((value,))
            given = arrays.describe(value, spec)
            fits = given.place == (_abi.CPU, 0) and given.dtype == spec.dtype_code
            if not fits or given.shape != expected.shape or given.strides not in (None, (1,)):
                raise ValueError(
                    f"{self._signature.name}: the host copy of {name} is to be {spec.dtype} of the "
                    f"shape {expected.shape} on the CPU, contiguous"
                )
            (used,) = arrays.readable((value,))
            self._pointers[index] = arrays.pointer(used)
            kept.append(used)
        return kept


class BoundCall:
    """One signature with these shapes, on one device, called by one thread."""

    def __init__(
        self,
        api: _abi.Api,
        op: int,
        signature: Signature,
        arrays: Arrays,
        inputs: Sequence[Any],
        out: Sequence[Any] | None,
        prepared: Any,
        host: Mapping[str, Any] | None,
    ):
        described = describe_inputs(signature, arrays, inputs)
        for spec, description in zip(signature.inputs, described):
            if description is None and not spec.is_host_scalar:
                raise TypeError(f"{signature.name}: {spec.name} is None")
        self._api = api
        self._launch = api.launch
        self._op = op
        self._signature = signature
        self._arrays = arrays
        self._place = place_of(described)
        axes = signature.solve([d.shape if d is not None else None for d in described], require)
        made = [(spec, tuple(axes[axis] for axis in spec.axes)) for spec in signature.own_outputs]
        if out is None:
            self._makers = [arrays.maker(spec, shape, inputs) for spec, shape in made]
            own = [Description(self._place, spec.dtype_code, shape, None) for spec, shape in made]
        elif len(out) == len(made):
            own = [arrays.describe(value, spec) for value, (spec, _) in zip(out, made)]
        else:
            raise TypeError(f"{len(out)} outputs were given to {signature}")

        # Which of the arrays each DLTensor of the call is.
        names = [spec.name for spec in signature.inputs]
        self._scalars_at = [i for i, spec in enumerate(signature.inputs) if spec.is_host_scalar]
        self._tensors_at = [i for i, spec in enumerate(signature.inputs) if not spec.is_host_scalar]
        self._outputs_at: list[int] = []
        self._in_place: list[tuple[int, int]] = []  # output, input
        outputs: list[Description | None] = []
        for j, spec in enumerate(signature.outputs):
            if spec.in_place_of is None:
                outputs.append(own[len(self._outputs_at)])
                self._outputs_at.append(j)
            else:
                i = names.index(spec.in_place_of)
                outputs.append(described[i])
                self._in_place.append((j, i))

        self._inputs = _Tensors(described)
        self._outputs = _Tensors(outputs)
        self._scalars = (ctypes.c_double * max(1, len(inputs)))()
        self._call = _abi.Call(
            struct_size=ctypes.sizeof(_abi.Call),
            num_inputs=len(inputs),
            num_outputs=len(outputs),
            inputs=self._inputs.tensors,
            outputs=self._outputs.tensors,
            scalars=self._scalars,
        )
        self._address = ctypes.addressof(self._call)
        # Prepared weights and values decide what serves the call, and so its workspace.
        self._set_prepared(prepared)
        self._set_scalars(inputs)
        self._host_copies = _HostCopies(signature, described, host)
        kept = self._set_host_copies(host)
        self._workspace_bytes = self._needed_workspace()
        del kept

    def _needed_workspace(self) -> int:
        needed = ctypes.c_size_t()
        status = self._api.workspace_bytes(self._op, self._address, needed)
        if status != _abi.OK:
            raise_error(self._api, status)
        return needed.value

    def _set_scalars(self, inputs: Sequence[Any]) -> None:
        for i in self._scalars_at:
            self._scalars[i] = read_scalar(self._signature, i, inputs[i])

    def _set_host_copies(self, host: Mapping[str, Any] | None) -> list[Any]:
        if not host:
            return []
        self._call.host_inputs = self._host_copies.address
        return self._host_copies.set(host)

    def _set_prepared(self, prepared: Any) -> Any:
        """Returns what must live until the call is enqueued."""
        if prepared is None:
            return None
        (block,) = self._arrays.readable((prepared,))
        self._call.prepared = self._arrays.pointer(block)
        self._call.prepared_bytes = self._arrays.size_bytes(block)
        return block

    def __call__(
        self,
        inputs: Sequence[Any],
        out: Sequence[Any] | None,
        prepared: Any,
        workspace: Any,
        host: Mapping[str, Any] | None,
    ) -> Any:
        arrays = self._arrays
        pointer = arrays.pointer
        used = arrays.readable(inputs)
        if self._in_place:
            written = [inputs[i] for _, i in self._in_place]
            in_place = arrays.writable(written)
            used = list(used)
            for (_, i), value in zip(self._in_place, in_place):
                used[i] = value
        if out is None:
            out = results = [make() for make in self._makers]
        else:
            results = arrays.writable(out)

        addresses = self._inputs.addresses
        for i in self._tensors_at:
            addresses[_WORDS_A_TENSOR * i] = pointer(used[i])
        self._set_scalars(inputs)
        addresses = self._outputs.addresses
        for j, value in zip(self._outputs_at, results):
            addresses[_WORDS_A_TENSOR * j] = pointer(value)
        for j, i in self._in_place:
            addresses[_WORDS_A_TENSOR * j] = pointer(used[i])

        call = self._call
        kept = [self._set_prepared(prepared)]
        if host:
            kept.append(self._set_host_copies(host))
            self._workspace_bytes = self._needed_workspace()  # which follows the values
        if self._workspace_bytes:  # kept alive until the call is enqueued
            if workspace is None:
                block = arrays.block(self._workspace_bytes, self._place)
            else:
                (block,) = arrays.writable((workspace,))
            call.workspace = pointer(block)
            call.workspace_bytes = arrays.size_bytes(block)
        if self._place[0] == _abi.CUDA:
            call.stream = arrays.stream(self._place[1])
        status = self._launch(self._op, self._address)
        del kept
        if status != _abi.OK:
            raise_error(self._api, status)

        if self._in_place:
            arrays.give_back(written, in_place)
        arrays.give_back(out, results)
        if len(out) == 1:
            return out[0]
        return tuple(out) if out else None


@dataclass(frozen=True)
class Choice:
    """The solution that serves a call."""

    solution: str
    author: str
    is_winner: bool
    """It won on this hardware; otherwise it is what runs where nothing was measured."""
    wants_prepared: bool
    """A better one was passed over, since the call brings no prepared weights."""


def choose(
    api: _abi.Api,
    op: int,
    signature: Signature,
    arrays: Arrays,
    descriptions: Sequence[Description | None],
    inputs: Sequence[Any],
    prepared: Any,
    host: Mapping[str, Any] | None,
) -> Choice | None:
    """Which solution serves a call with inputs like these and, unless None, prepared weights."""
    for spec, description in zip(signature.inputs, descriptions):
        if description is None and not spec.is_host_scalar:
            raise TypeError(f"{signature.name}: {spec.name} is None")
    axes = signature.solve([d.shape if d is not None else None for d in descriptions], require)
    place = place_of(descriptions)
    tensors = _Tensors(descriptions)
    outputs = _Tensors(
        [
            Description(place, spec.dtype_code, tuple(axes[axis] for axis in spec.axes), None)
            for spec in signature.outputs
        ]
    )
    scalars = (ctypes.c_double * max(1, len(inputs)))()
    for i, spec in enumerate(signature.inputs):
        if spec.is_host_scalar:
            scalars[i] = read_scalar(signature, i, inputs[i])
    call = _abi.Call(
        struct_size=ctypes.sizeof(_abi.Call),
        num_inputs=len(signature.inputs),
        num_outputs=len(signature.outputs),
        inputs=tensors.tensors,
        outputs=outputs.tensors,
        scalars=scalars,
    )
    if prepared is not None:
        (block,) = arrays.readable((prepared,))
        call.prepared = arrays.pointer(block)
        call.prepared_bytes = arrays.size_bytes(block)
    copies = _HostCopies(signature, descriptions, host)
    kept = copies.set(host or {})
    call.host_inputs = copies.address
    choice = _abi.Choice(struct_size=ctypes.sizeof(_abi.Choice))
    status = api.choose(op, ctypes.addressof(call), choice)
    del kept
    if status != _abi.OK:
        raise_error(api, status)
    if not choice.solution:
        return None
    return Choice(
        choice.solution.decode(),
        choice.author.decode(),
        bool(choice.is_winner),
        bool(choice.wants_prepared),
    )


def prepare(
    api: _abi.Api,
    op: int,
    signature: Signature,
    arrays: Arrays,
    descriptions: Sequence[Description | None],
    inputs: Sequence[Any],
) -> tuple[Any, bool] | None:
    """The weights among the inputs, laid out; and whether they are not read any more. None: no
    kernel wants them otherwise than they are."""
    for spec, description in zip(signature.inputs, descriptions):
        if description is None and spec.is_weight:
            raise TypeError(f"{signature.name}: {spec.name} is None")
    tensors = _Tensors(descriptions)
    used = arrays.readable(inputs)
    for i, description in enumerate(descriptions):
        if description is not None:
            tensors.addresses[_WORDS_A_TENSOR * i] = arrays.pointer(used[i])
    call = _abi.Call(
        struct_size=ctypes.sizeof(_abi.Call),
        num_inputs=len(descriptions),
        inputs=tensors.tensors,
    )
    address = ctypes.addressof(call)
    info = _abi.PrepareInfo(struct_size=ctypes.sizeof(_abi.PrepareInfo))
    status = api.query_prepare(op, address, info)
    if status == _abi.OK and info.bytes == 0:
        return None
    if status == _abi.OK:
        place = place_of(descriptions)
        data = arrays.block(info.bytes, place)
        if info.workspace_bytes:
            workspace = arrays.block(info.workspace_bytes, place)
            call.workspace = arrays.pointer(workspace)
            call.workspace_bytes = info.workspace_bytes
        if place[0] == _abi.CUDA:
            call.stream = arrays.stream(place[1])
        status = api.prepare(op, address, arrays.pointer(data))
    if status != _abi.OK:
        raise_error(api, status)
    return data, bool(info.replaces_originals)
