"""A package in this process: its signatures, devices, and calls of its kernels."""

from __future__ import annotations

import ctypes
import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import _abi
from ._arrays import Arrays, Description, Place, kinds
from ._call import BoundCall, Choice, choose, describe_inputs, place_of, prepare, raise_error
from ._library import find_library
from ._signature import Signature, read_signature

_KEPT_CALLS = 4096
"""Bound calls kept in each thread; one takes about a kilobyte."""


@dataclass(frozen=True)
class Prepared:
    """Weights as the kernels want them."""

    data: Any
    """Bytes, of the library that the weights were of (uint8), on their device."""
    replaces_originals: bool
    """No kernel reads the weights themselves any more."""


def data_of(prepared: Prepared | None) -> Any:
    """For C calls: the bytes themselves."""
    if prepared is None:
        return None
    if not isinstance(prepared, Prepared):
        raise TypeError(f"prepared= is what prepare() returned, not {type(prepared)}")
    return prepared.data


class Package:
    """A kernel package: `Package("package")`, its folder, or `Package(".../libfib_kernels.so")`. Any
    thread may call."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = find_library(path)
        self._api = _abi.Api(self.path)
        rows = range(self._api.num_signatures())
        self._signatures = tuple(read_signature(self._api.signature(row).contents) for row in rows)
        self._by_name: dict[str, Signature] = {}
        for signature in self._signatures:
            self._by_name.setdefault(signature.name, signature)
        self._num_threads = 0
        self._start()
        # The threads of a device don't follow into a process that was forked off: it opens its own.
        os.register_at_fork(after_in_child=self._start)

    def _start(self) -> None:
        self._opening = threading.Lock()
        self._devices: dict[Place, int] = {}
        self._ops: dict[tuple[str, Place, tuple[tuple[str, float], ...]], int] = {}
        self._threads = threading.local()

    # ---- What is in it

    def signatures(self) -> tuple[Signature, ...]:
        """All of the package, in its order. A name can appear more than once, with different
        `parameters`."""
        return self._signatures

    def signature(self, name: str) -> Signature:
        try:
            return self._by_name[name]
        except KeyError:
            near = [n for n in self._by_name if n.split("_")[0] == name.split("_")[0]]
            raise LookupError(
                f"{name} is not in the package; there are {', '.join(near or self._by_name)}"
            ) from None

    def manifest(self) -> dict[str, Any]:
        """What was packaged, why, and under which licences."""
        return json.loads(self._api.manifest().decode())

    def info(self) -> dict[str, Any]:
        """See fib_kernels.info()."""
        manifest = self.manifest()
        hardware = {}
        for device in ("cpu", "cuda"):
            try:
                name, has_winners = self.hardware(device)
                hardware[device] = {"name": name, "has_winners": has_winners}
            except (NotImplementedError, RuntimeError) as reason:
                hardware[device] = {"unavailable": str(reason)}
        return {
            "name": manifest.get("name"),
            "version": manifest.get("version"),
            "library": self.path,
            "abi_version": f"{self._api.abi_version >> 16}.{self._api.abi_version & 0xFFFF}",
            "hardware": hardware,
            "signatures": [str(signature) for signature in self._signatures],
            "manifest": manifest,
        }

    def hardware(self, device: str = "cpu") -> tuple[str, bool]:
        """What boards call this machine's device ("cpu", "cuda", "cuda:1"), and whether the package
        has kernels that won on it, rather than only ones that work."""
        kind, _, number = device.partition(":")
        types = {"cpu": _abi.CPU, "cuda": _abi.CUDA}
        if kind not in types or not (number or "0").isdecimal():
            raise ValueError(f'device "{device}": "cpu", "cuda" or "cuda:1" are expected')
        handle = self._device((types[kind], int(number or 0)))
        return self._api.hardware(handle).decode(), bool(self._api.has_winners(handle))

    def set_num_threads(self, count: int) -> None:
        """How many threads calls on the CPU use; 0, as it is at first: all cores. Before the first
        call there."""
        if (_abi.CPU, 0) in self._devices:
            raise RuntimeError("the CPU is in use already; set its threads before the first call")
        self._num_threads = count

    # ---- Calls

    def apply(
        self,
        name: str,
        *inputs: Any,
        out: Any = None,
        prepared: Prepared | None = None,
        workspace: Any = None,
        host: Mapping[str, Any] | None = None,
        **parameters: float,
    ) -> Any:
        """Calls a signature; see fib_kernels.apply()."""
        if out is not None and not isinstance(out, (tuple, list)):
            out = (out,)
        return self.call(name, inputs, out, data_of(prepared), workspace, parameters, host)

    def call(
        self,
        name: str,
        inputs: Sequence[Any],
        out: Sequence[Any] | None,
        prepared: Any,
        workspace: Any,
        parameters: Mapping[str, float],
        host: Mapping[str, Any] | None = None,
    ) -> Any:
        """apply() for callers who have sequences; `prepared` is Prepared.data."""
        arrays = kinds.of(inputs)
        given = arrays.key(inputs if out is None else (*inputs, None, *out))
        copies = tuple(sorted(host)) if host else None
        key = (name, given, prepared is not None, copies, *parameters.items())
        calls = self._thread_calls()
        call = calls.get(key)
        if call is None:
            call = calls[key] = self._bind(name, inputs, out, prepared, parameters, host)
        return call(inputs, out, prepared, workspace, host)

    def prepare(self, name: str, *inputs: Any, **parameters: float) -> Prepared | None:
        """Lays out weights; see fib_kernels.prepare()."""
        arrays, signature, described, op = self._look_up(name, inputs, parameters)
        laid_out = prepare(self._api, op, signature, arrays, described, inputs)
        return Prepared(*laid_out) if laid_out is not None else None

    def choose(
        self,
        name: str,
        *inputs: Any,
        prepared: Prepared | None = None,
        host: Mapping[str, Any] | None = None,
        **parameters: float,
    ) -> Choice | None:
        """Which solution serves just such a call; see fib_kernels.choose()."""
        arrays, signature, described, op = self._look_up(name, inputs, parameters)
        data = data_of(prepared)
        return choose(self._api, op, signature, arrays, described, inputs, data, host)

    # ---- Behind them

    def _thread_calls(self) -> dict[Any, BoundCall]:
        try:
            calls = self._threads.calls
        except AttributeError:
            calls = self._threads.calls = {}
        if len(calls) >= _KEPT_CALLS:
            calls.clear()
        return calls

    def _look_up(
        self, name: str, inputs: Sequence[Any], parameters: Mapping[str, float]
    ) -> tuple[Arrays, Signature, list[Description | None], int]:
        signature = self.signature(name)
        arrays = kinds.of(inputs)
        described = describe_inputs(signature, arrays, inputs)
        return arrays, signature, described, self._op(signature, place_of(described), parameters)

    def _bind(
        self,
        name: str,
        inputs: Sequence[Any],
        out: Sequence[Any] | None,
        prepared: Any,
        parameters: Mapping[str, float],
        host: Mapping[str, Any] | None,
    ) -> BoundCall:
        arrays, signature, _, op = self._look_up(name, inputs, parameters)
        return BoundCall(self._api, op, signature, arrays, inputs, out, prepared, host)

    def _op(self, signature: Signature, place: Place, parameters: Mapping[str, float]) -> int:
        key = (signature.name, place, tuple(sorted(parameters.items())))
        op = self._ops.get(key)
        if op is None:
            device = self._device(place)
            given = (_abi.Parameter * max(1, len(parameters)))(
                *((name.encode(), value) for name, value in parameters.items())
            )
            found = ctypes.c_void_p()
            status = self._api.find(
                device, signature.name.encode(), given, len(parameters), ctypes.byref(found)
            )
            if status != _abi.OK:
                raise_error(self._api, status)
            op = self._ops[key] = found.value
        return op

    def _device(self, place: Place) -> int:
        device = self._devices.get(place)
        if device is None:
            with self._opening:
                device = self._devices.get(place) or self._open(place)
                self._devices[place] = device
        return device

    def _open(self, place: Place) -> int:
        """Devices are never closed: a call may be under way when the interpreter ends."""
        options = _abi.DeviceOptions(
            struct_size=ctypes.sizeof(_abi.DeviceOptions),
            device_type=place[0],
            device_id=place[1],
            num_threads=self._num_threads if place[0] == _abi.CPU else 0,
        )
        device = ctypes.c_void_p()
        status = self._api.open(options, ctypes.byref(device))
        if status != _abi.OK:
            raise_error(self._api, status)
        return device.value
