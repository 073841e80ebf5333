"""The C interface of a package, include/fib_kernels.h of version 1, for ctypes: field for field."""

import ctypes
from ctypes import POINTER, c_char_p, c_double, c_int32, c_int64, c_size_t, c_uint32, c_void_p

ABI_MAJOR = 1

OK = 0
INVALID_ARGUMENT = 1
NOT_FOUND = 2
UNSUPPORTED = 3
NO_DRIVER = 4
OUT_OF_MEMORY = 5
WORKSPACE_TOO_SMALL = 6
NOT_PREPARED = 7
DEVICE_ERROR = 8
INTERNAL = 9

CPU = 1
CUDA = 2

CPU_ALIGNMENT = 64
CUDA_ALIGNMENT = 16
WORKSPACE_ALIGNMENT = 256


class DType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class Place(ctypes.Structure):
    _fields_ = [("device_type", c_int32), ("device_id", c_int32)]


class Tensor(ctypes.Structure):
    """A DLTensor."""

    _fields_ = [
        ("data", c_void_p),
        ("device", Place),
        ("ndim", c_int32),
        ("dtype", DType),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class TensorInfo(ctypes.Structure):
    _fields_ = [
        ("name", c_char_p),
        ("dtype", DType),
        ("ndim", c_int32),
        ("axes", POINTER(c_char_p)),
        ("is_host_scalar", c_int32),
        ("is_weight", c_int32),
        ("is_host_visible", c_int32),
        ("in_place_of", c_int32),
    ]


class AxisInfo(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("value", c_int64)]


class Parameter(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("value", c_double)]


class SignatureInfo(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("axis_info_size", c_uint32),
        ("tensor_info_size", c_uint32),
        ("name", c_char_p),
        ("op_type", c_char_p),
        ("num_axes", c_int32),
        ("num_inputs", c_int32),
        ("num_outputs", c_int32),
        ("num_parameters", c_int32),
        ("axes", c_void_p),  # elements(AxisInfo, ..., axis_info_size), and the like
        ("inputs", c_void_p),
        ("outputs", c_void_p),
        ("parameters", POINTER(Parameter)),
    ]


def elements(
    kind: type[ctypes.Structure], address: int, count: int, size_bytes: int
) -> list[ctypes.Structure]:
    """Of an array whose elements may be longer in a later package than they are here."""
    return [kind.from_address(address + i * size_bytes) for i in range(count)]


class DeviceOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("device_type", c_int32),
        ("device_id", c_int32),
        ("num_threads", c_int32),
        ("parallel_for", c_void_p),
        ("parallel_host", c_void_p),
    ]


class Call(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("num_inputs", c_int32),
        ("num_outputs", c_int32),
        ("inputs", POINTER(Tensor)),
        ("outputs", POINTER(Tensor)),
        ("scalars", POINTER(c_double)),
        ("host_inputs", c_void_p),
        ("workspace", c_void_p),
        ("workspace_bytes", c_size_t),
        ("prepared", c_void_p),
        ("prepared_bytes", c_size_t),
        ("stream", c_void_p),
    ]


class PrepareInfo(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("replaces_originals", c_int32),
        ("bytes", c_size_t),
        ("workspace_bytes", c_size_t),
    ]


class Choice(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("solution", c_char_p),
        ("author", c_char_p),
        ("is_winner", c_int32),
        ("wants_prepared", c_int32),
    ]


_status = ctypes.c_int

# Of fib_kernels_api, in its order. Handles and addresses are plain integers on this side. A call
# lets other Python threads run meanwhile.
_FUNCTIONS = {
    "status_name": (c_char_p, _status),
    "last_error": (c_char_p,),
    "manifest": (c_char_p,),
    "num_signatures": (c_size_t,),
    "signature": (POINTER(SignatureInfo), c_size_t),
    "open": (_status, POINTER(DeviceOptions), POINTER(c_void_p)),
    "close": (None, c_void_p),
    "hardware": (c_char_p, c_void_p),
    "has_winners": (c_int32, c_void_p),
    "find": (_status, c_void_p, c_char_p, POINTER(Parameter), c_size_t, POINTER(c_void_p)),
    "workspace_bytes": (_status, c_void_p, c_void_p, POINTER(c_size_t)),
    "launch": (_status, c_void_p, c_void_p),
    "raw_workspace_bytes": (_status, c_void_p, c_void_p, POINTER(c_size_t)),
    "launch_raw": (_status, c_void_p, c_void_p),
    "query_prepare": (_status, c_void_p, c_void_p, POINTER(PrepareInfo)),
    "prepare": (_status, c_void_p, c_void_p, c_void_p),
    "choose": (_status, c_void_p, c_void_p, POINTER(Choice)),
    "raw_choose": (_status, c_void_p, c_void_p, POINTER(Choice)),
}


class _Table(ctypes.Structure):
    _fields_ = [("struct_size", c_uint32), ("abi_version", c_uint32)] + [
        (name, c_void_p) for name in _FUNCTIONS
    ]


class Api:
    """The functions of one package: `launch`, `find`, ..., as fib_kernels_api names them."""

    def __init__(self, path: str):
        # RTLD_LOCAL, ctypes' own choice, keeps two packages apart.
        self._library = ctypes.CDLL(path)
        try:
            get_api = self._library.fib_kernels_get_api
        except AttributeError:
            raise ImportError(
                f"{path} is no kernel package: it has no fib_kernels_get_api"
            ) from None
        get_api.restype = POINTER(_Table)
        get_api.argtypes = (c_uint32,)
        table = get_api(ABI_MAJOR)
        if not table:
            self._library.fib_kernels_abi_version.restype = c_uint32
            major = self._library.fib_kernels_abi_version() >> 16
            raise ImportError(
                f"{path} has version {major} of the packages' C interface, this is made for "
                f"{ABI_MAJOR}: build the wheel and the package from one version of fib"
            )
        self.abi_version: int = table.contents.abi_version
        for name, prototype in _FUNCTIONS.items():
            setattr(self, name, ctypes.CFUNCTYPE(*prototype)(getattr(table.contents, name)))
