"""Arrays for the tests: numpy's, at the alignment that kernels want, with bfloat16 as its bits."""

import ctypes

import numpy as np


def aligned(values, alignment=64):
    """A copy at a multiple of so many bytes."""
    values = np.ascontiguousarray(values)
    room = np.empty(values.nbytes + alignment, np.uint8)
    start = -room.ctypes.data % alignment
    copy = room[start:start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


def bits(values):
    """float32 values, rounded to bfloat16, as uint16."""
    words = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = words + np.uint32(0x7FFF) + ((words >> np.uint32(16)) & np.uint32(1))
    return aligned((rounded >> np.uint32(16)).astype(np.uint16))


def floats(words):
    """bfloat16 bits as float32."""
    return (words.astype(np.uint32) << np.uint32(16)).view(np.float32)


def normal(*shape, seed=1):
    """bfloat16 bits of standard normal values."""
    return bits(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def rmsnorm(x, weight, eps=1e-6):
    """Of bfloat16 bits, in float64."""
    values = floats(x).astype(np.float64)
    scale = 1 / np.sqrt((values * values).mean(-1, keepdims=True) + eps)
    return values * scale * floats(weight)


class _DType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _ManagedTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32), ("dtype", _DType), ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64),
        ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p),
    ]


_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)


class Bfloat16:
    """A uint16 array that DLPack sees as bfloat16, a type that numpy doesn't have. It must outlive
    whoever imports it."""

    def __init__(self, words):
        self.words = words
        self._shape = (ctypes.c_int64 * words.ndim)(*words.shape)
        self._strides = (ctypes.c_int64 * words.ndim)(*(s // 2 for s in words.strides))
        self._tensor = _ManagedTensor(
            data=words.ctypes.data, device_type=1, ndim=words.ndim, dtype=_DType(4, 16, 1),
            shape=self._shape, strides=self._strides)

    def __dlpack__(self, **_):
        return _new_capsule(ctypes.addressof(self._tensor), b"dltensor", None)

    def __dlpack_device__(self):
        return 1, 0
