"""Kernels that won: a kernel package of fib, for numpy, torch and whatever speaks DLPack.

    import fib_kernels

    fib_kernels.info()                                # what is in it, and for which hardware
    y = fib_kernels.apply("rmsnorm_h4096", x, weight) # x: [batch_size, 4096] bfloat16

    import fib_kernels.torch_ops                      # torch.ops.fib_kernels.rmsnorm_h4096(...)

Outputs and workspace are allocated by the library that the inputs are of; on a card, calls go to
torch's current stream and can be captured into a CUDA graph. There are no gradients.
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Mapping
from typing import Any

from ._package import Choice, Package, Prepared
from ._signature import Signature, TensorSpec

__all__ = [
    "Choice",
    "Package",
    "Prepared",
    "Signature",
    "TensorSpec",
    "apply",
    "choose",
    "info",
    "library_path",
    "package",
    "prepare",
    "set_num_threads",
    "signatures",
]


def library_path() -> str:
    """The shared object, for tvm_ffi.load_module() and dlopen()."""
    return str(pathlib.Path(__file__).with_name("libfib_kernels.so"))


@functools.cache
def package() -> Package:
    """The package that came with this wheel. `Package(path)` opens another one beside it, a folder
    that `fib export` wrote or the shared object in it."""
    return Package(library_path())


def info() -> dict[str, Any]:
    """Name, version and signatures of the package; the hardware here, and whether the package has
    winners for it; the manifest with the evidence."""
    return package().info()


def signatures() -> tuple[Signature, ...]:
    """What can be called: printed, each says names, shapes and dtypes of its tensors."""
    return package().signatures()


def apply(
    name: str,
    *inputs: Any,
    out: Any = None,
    prepared: Prepared | None = None,
    workspace: Any = None,
    host: Mapping[str, Any] | None = None,
    **parameters: float,
) -> Any:
    """Calls the signature `name` with its inputs, in its order.

    inputs: arrays of one library on one device, row-major; numbers where the signature has host
        scalars. numpy arrays that kernels can't read where they lie (not row-major, or not at a
        multiple of 64 bytes) are copied; other arrays never are. Where the signature says bfloat16,
        numpy arrays are ml_dtypes' or uint16.
    out: the array to write to, or a tuple of them; without it they are made. Outputs that lie in an
        input's memory (`in_place_of`) are not among them: that input is written.
    prepared: what prepare() returned for the same weights.
    workspace: bytes for the kernels to use; without it they are allocated.
    host: on a card, copies on the host of inputs that kernels are planned by, by name:
        {"qo_indptr": ..., "kv_indptr": ...}, arrays of any library on the CPU. Prefill attention
        wants them; a captured graph then holds for these values alone.
    parameters: constants of the mathematics, eps=1e-5; those that aren't named have the signature's
        own values. The package must have been built for them.

    Returns the outputs that aren't in place: one, or a tuple of them. On a card the work has only
    been enqueued then, on torch's current stream (the default stream for other libraries).

    Raises TypeError, ValueError (an array doesn't fit), LookupError (no such signature, or not with
    these parameters), NotImplementedError (no kernel for this hardware or shape), MemoryError or
    RuntimeError.
    """
    return package().apply(
        name, *inputs, out=out, prepared=prepared, workspace=workspace, host=host, **parameters
    )


def prepare(name: str, *inputs: Any, **parameters: float) -> Prepared | None:
    """Lays out the weights among the inputs as the kernels want them, once, for apply()'s
    `prepared`.

    Inputs that aren't weights may be None. Returns None where the kernels take weights as they are.
    """
    return package().prepare(name, *inputs, **parameters)


def choose(
    name: str,
    *inputs: Any,
    prepared: Prepared | None = None,
    host: Mapping[str, Any] | None = None,
    **parameters: float,
) -> Choice | None:
    """Which solution serves apply() with these arguments; None: no kernel does.

    Ask as you will call: some kernels want prepared weights and are passed over where the call
    brings none, which `wants_prepared` tells. Inputs need the shapes, dtypes and device of the
    call's, no values. Raises what apply() raises where they don't fit or nothing runs there.
    """
    return package().choose(name, *inputs, prepared=prepared, host=host, **parameters)


def set_num_threads(count: int) -> None:
    """How many threads calls on the CPU use; set before the first of them. 0, the default: all."""
    package().set_num_threads(count)
