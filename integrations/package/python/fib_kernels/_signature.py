"""What a package's functions take and give: read once from its C interface."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from . import _abi

_DTYPE_NAMES = {
    (0, 8): "int8",
    (0, 16): "int16",
    (0, 32): "int32",
    (0, 64): "int64",
    (1, 8): "uint8",
    (1, 16): "uint16",
    (1, 32): "uint32",
    (1, 64): "uint64",
    (2, 16): "float16",
    (2, 32): "float32",
    (2, 64): "float64",
    (4, 16): "bfloat16",
    (6, 8): "bool",
    (10, 8): "float8_e4m3fn",
    (12, 8): "float8_e5m2",
    (17, 4): "float4_e2m1fn",
}
DTYPE_CODES = {name: code for code, name in _DTYPE_NAMES.items()}


def dtype_name(code: int, bits: int) -> str:
    """DLPack's type as signatures write it."""
    return _DTYPE_NAMES.get((code, bits), f"type {code} of {bits} bits")


@dataclass(frozen=True)
class TensorSpec:
    """An input or output. `axes` names its dimensions, outermost first."""

    name: str
    dtype: str
    axes: tuple[str, ...]
    is_host_scalar: bool = False
    is_weight: bool = False
    is_host_visible: bool = False
    in_place_of: str | None = None
    """Of an output: the input whose memory it is."""

    @property
    def dtype_code(self) -> tuple[int, int]:
        """DLPack's code and bits."""
        return DTYPE_CODES[self.dtype]


@dataclass(frozen=True)
class Signature:
    """A function of the package: its tensors in the order of the call."""

    name: str
    op_type: str
    axes: dict[str, int | None]
    """Constant axes with their value, those that vary from call to call with None."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: dict[str, float]
    """Constants of the mathematics that the kernels were built with, such as eps."""

    @property
    def own_outputs(self) -> tuple[TensorSpec, ...]:
        """Outputs with memory of their own; the others are written where an input lies."""
        return tuple(output for output in self.outputs if output.in_place_of is None)

    def solve(
        self,
        shapes: Sequence[Sequence[Any] | None],
        require: Callable[[Any, Callable[[], str]], None],
    ) -> dict[str, Any]:
        """The value of every axis from the shapes of the inputs (None: not looked at).

        `require(condition, message)` is told what must hold: sizes may be symbols, of which only
        torch can say whether they are equal.
        """
        axes: dict[str, Any] = {n: v for n, v in self.axes.items() if v is not None}
        for spec, shape in zip(self.inputs, shapes):
            if shape is None or spec.is_host_scalar:
                continue
            if len(shape) != len(spec.axes):
                raise ValueError(
                    f"{self.name}: {spec.name} has {len(shape)} dimensions, "
                    f"{len(spec.axes)} are expected: {_bracketed(spec.axes)}"
                )
            for axis, size in zip(spec.axes, shape):
                known = axes.setdefault(axis, size)
                if known is not size:
                    require(
                        known == size,
                        lambda spec=spec, axis=axis, known=known, shape=shape: (
                            f"{self.name}: {spec.name}{_bracketed(spec.axes)} has the shape "
                            f"{_bracketed(shape)}, but {axis} is {known}"
                        ),
                    )
        return axes

    def __str__(self) -> str:
        def text(spec: TensorSpec) -> str:
            where = f" in {spec.in_place_of}" if spec.in_place_of else ""
            return f"{spec.name}: {spec.dtype}{_bracketed(spec.axes) if spec.axes else ''}{where}"

        inputs = ", ".join(map(text, self.inputs))
        return f"{self.name}({inputs}) -> {', '.join(map(text, self.outputs))}"


def _bracketed(values: Iterable[Any]) -> str:
    return f"[{', '.join(map(str, values))}]"


def _tensor(info: _abi.TensorInfo, inputs: tuple[TensorSpec, ...] = ()) -> TensorSpec:
    return TensorSpec(
        name=info.name.decode(),
        dtype=dtype_name(info.dtype.code, info.dtype.bits),
        axes=tuple(info.axes[i].decode() for i in range(info.ndim)),
        is_host_scalar=bool(info.is_host_scalar),
        is_weight=bool(info.is_weight),
        is_host_visible=bool(info.is_host_visible),
        in_place_of=inputs[info.in_place_of].name if inputs and info.in_place_of >= 0 else None,
    )


def read_signature(info: _abi.SignatureInfo) -> Signature:
    def tensors(address: int, count: int) -> list[_abi.TensorInfo]:
        return _abi.elements(_abi.TensorInfo, address, count, info.tensor_info_size)

    inputs = tuple(_tensor(input) for input in tensors(info.inputs, info.num_inputs))
    axes = _abi.elements(_abi.AxisInfo, info.axes, info.num_axes, info.axis_info_size)
    return Signature(
        name=info.name.decode(),
        op_type=info.op_type.decode(),
        axes={axis.name.decode(): axis.value if axis.value >= 0 else None for axis in axes},
        inputs=inputs,
        outputs=tuple(
            _tensor(output, inputs) for output in tensors(info.outputs, info.num_outputs)
        ),
        parameters={
            info.parameters[i].name.decode(): info.parameters[i].value
            for i in range(info.num_parameters)
        },
    )
