"""The package's signatures as torch operators: importing this module makes them.

    import fib_kernels.torch_ops
    y = torch.ops.fib_kernels.rmsnorm_h4096(x, weight)
    torch.ops.fib_kernels.rmsnorm_h4096_out(x, weight, y)

For a signature `name` there are

    name(inputs..., *, parameters..., prepared=None) -> outputs
    name_out(inputs..., outputs..., *, parameters..., prepared=None) -> ()

Inputs and outputs are tensors in the signature's order, host scalars are floats. An input whose
memory an output shares (a KV cache) is written; such outputs are neither returned nor passed.
`prepared` is the `data` of what fib_kernels.prepare() returned. Shapes are known without running
anything, so torch.compile takes the operators as they are and graphs with varying axes stay whole.
Kernels run on torch's current stream, with workspace from its allocator. There are no gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from . import package
from ._package import Package
from ._signature import Signature, TensorSpec

_NAMESPACE = "fib_kernels"

# Kernels index row-major memory: a compiler that lays tensors out otherwise must not do so here.
_TAGS = (torch.Tag.pt2_compliant_tag, torch.Tag.needs_fixed_stride_order)


def _written_inputs(signature: Signature) -> set[str]:
    return {output.in_place_of for output in signature.outputs if output.in_place_of is not None}


def _schema(signature: Signature, parameters: Sequence[str], given: Sequence[TensorSpec]) -> str:
    """`given`: the outputs that are arguments."""
    aliases = iter("abcdefghijklmnopqrstuvwxyz")
    written = _written_inputs(signature) | {output.name for output in given}
    arguments = []
    for spec in (*signature.inputs, *given):
        if spec.is_host_scalar:
            arguments.append(f"float {spec.name}")
        elif spec.name in written:
            arguments.append(f"Tensor({next(aliases)}!) {spec.name}")
        else:
            arguments.append(f"Tensor {spec.name}")
    arguments.append("*")
    arguments += [f"float? {name}=None" for name in parameters]
    arguments.append("Tensor? prepared=None")
    results = [] if given else ["Tensor"] * len(signature.own_outputs)
    result = results[0] if len(results) == 1 else f"({', '.join(results)})"
    return f"({', '.join(arguments)}) -> {result}"


def _named(parameters: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in parameters.items() if value is not None}


def _functional(package: Package, signature: Signature) -> Callable[..., Any]:
    name, call = signature.name, package.call

    def run(*inputs: Any, prepared: Any = None, **parameters: float | None) -> Any:
        return call(name, inputs, None, prepared, None, _named(parameters))

    return run


def _destination_passing(package: Package, signature: Signature) -> Callable[..., None]:
    name, call, num_inputs = signature.name, package.call, len(signature.inputs)

    def run(*tensors: Any, prepared: Any = None, **parameters: float | None) -> None:
        call(
            name, tensors[:num_inputs], tensors[num_inputs:], prepared, None, _named(parameters)
        )

    return run


def _axes(signature: Signature, inputs: Sequence[Any]) -> dict[str, Any]:
    return signature.solve(
        [None if spec.is_host_scalar else v.shape for spec, v in zip(signature.inputs, inputs)],
        torch._check_value,
    )


def _fake_functional(signature: Signature) -> Callable[..., Any]:
    made = signature.own_outputs
    like = next(i for i, spec in enumerate(signature.inputs) if not spec.is_host_scalar)

    def run(*inputs: Any, prepared: Any = None, **parameters: float | None) -> Any:
        axes = _axes(signature, inputs)
        outputs = tuple(
            inputs[like].new_empty(
                [axes[axis] for axis in spec.axes], dtype=getattr(torch, spec.dtype)
            )
            for spec in made
        )
        if len(outputs) == 1:
            return outputs[0]
        return outputs if outputs else None

    return run


def _fake_destination_passing(signature: Signature) -> Callable[..., None]:
    def run(*tensors: Any, prepared: Any = None, **parameters: float | None) -> None:
        _axes(signature, tensors)

    return run


def _register(package: Package) -> torch.library.Library:
    library = torch.library.Library(_NAMESPACE, "DEF")
    parameters: dict[str, list[str]] = {}
    for signature in package.signatures():
        names = parameters.setdefault(signature.name, [])
        names += [name for name in signature.parameters if name not in names]
    for name, names in parameters.items():
        signature = package.signature(name)
        variants = [(name, (), _functional, _fake_functional)]
        if signature.own_outputs:
            variants.append(
                (f"{name}_out", signature.own_outputs, _destination_passing,
                 _fake_destination_passing)
            )
        for op, given, run, fake in variants:
            library.define(op + _schema(signature, names, given), tags=_TAGS)
            for key in ("CPU", "CUDA"):
                library.impl(op, run(package, signature), key)
            torch.library.register_fake(f"{_NAMESPACE}::{op}", fake(signature), lib=library)
    return library


library: torch.library.Library = _register(package())
"""Operators live as long as this."""
