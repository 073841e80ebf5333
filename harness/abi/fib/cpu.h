#pragma once

/* The C ABI of a `cpu` solution, version 1. Plain C99.
 *
 * A solution exports
 *     int fib_run(const FibCall* call);                     required; 0 on success
 *     size_t fib_workspace_bytes(const FibCall* call);      optional; data pointers are null
 *     size_t fib_prepared_bytes(const FibCall* call);       optional, with fib_prepare
 *     int fib_prepare(const FibCall* call);                 optional; once a set of weights
 *
 * Destination-passing: outputs and workspace belong to the caller; a solution allocates nothing in
 * fib_run. It starts no threads: parallel_for runs the body on the host's pool. Tensors are
 * row-major and contiguous, aligned to at least 64 bytes, laid out like DLPack's DLTensor. */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FIB_CPU_ABI_VERSION 1

/* DLPack's DLDataTypeCode values. */
enum {
  FIB_INT = 0,
  FIB_UINT = 1,
  FIB_FLOAT = 2,
  FIB_BFLOAT = 4,
  FIB_BOOL = 6,
  FIB_FLOAT8_E4M3FN = 10,
  FIB_FLOAT8_E5M2 = 12,
  FIB_FLOAT4_E2M1FN = 17
};

typedef struct FibDataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes; /* 1 */
} FibDataType;

typedef struct FibDevice {
  int32_t device_type; /* 1: kDLCPU */
  int32_t device_id;
} FibDevice;

/* Field for field a DLTensor (DLPack 0.8 and 1.x). */
typedef struct FibTensor {
  void* data;
  FibDevice device;
  int32_t ndim;
  FibDataType dtype;
  int64_t* shape;
  int64_t* strides; /* NULL: row-major */
  uint64_t byte_offset; /* 0 */
} FibTensor;

/* Value of a host scalar input: both members hold it. */
typedef struct FibScalar {
  double f;
  int64_t i;
} FibScalar;

/* body(begin, end, context) over [0, count), in chunks of at least `grain`; returns when all are
 * done. Bodies must not call parallel_for. */
typedef void (*FibBody)(int64_t begin, int64_t end, void* context);

typedef struct FibCall {
  uint32_t abi_version;
  int32_t num_inputs;
  int32_t num_outputs;
  int32_t num_threads;        /* of the pool, at least 1 */
  const FibTensor* inputs;    /* signature order; for a host scalar: ndim 0, data NULL */
  const FibScalar* scalars;   /* as long as inputs; meaningful for host scalars */
  const FibTensor* outputs;   /* signature order */
  void* workspace;            /* fib_workspace_bytes, 64-byte aligned, content undefined */
  size_t workspace_bytes;
  void* prepared;             /* fib_prepared_bytes, written by fib_prepare, else NULL */
  size_t prepared_bytes;
  void (*parallel_for)(const struct FibCall* call, int64_t count, int64_t grain, FibBody body,
                       void* context);
  void* host;                 /* the host's own */
} FibCall;

#ifdef __cplusplus
}
#endif
