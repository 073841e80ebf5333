/* fib_kernels: the C interface of a kernel package, version 1.
 *
 * A package is one shared object, libfib_kernels.so, that `fib export` wrote: kernels that won on a
 * board, for the signatures and the hardware that its manifest names. It needs the C library, and
 * for cards the NVIDIA driver, which it opens at run time; nothing else.
 *
 *     fib_kernels_device *device;
 *     fib_kernels_device_options options = FIB_KERNELS_DEVICE_OPTIONS_INIT;
 *     options.device_type = kFibKernelsCuda;
 *     if (fib_kernels_open(&options, &device) != FIB_KERNELS_OK) puts(fib_kernels_last_error());
 *     const fib_kernels_op *op;
 *     fib_kernels_find(device, "rmsnorm_h4096", NULL, 0, &op);
 *     ...
 *     fib_kernels_launch(op, &call);       // enqueued on call.stream
 *
 * What holds for every call:
 *   - Destination-passing: outputs, workspace and prepared weights are the caller's memory.
 *   - A call with shapes that were seen before allocates nothing, takes no lock, waits for nothing,
 *     and may be captured into a CUDA graph. A first call with new shapes computes a launch plan and
 *     allocates host memory; it waits for nothing either and may be captured too.
 *   - Every function may be called from any thread at any time; only fib_kernels_close() must be the
 *     last one for its device.
 *   - Nothing throws, exits or prints. A status other than FIB_KERNELS_OK means that nothing was
 *     enqueued, but for a DEVICE_ERROR, before which steps of the call may have been;
 *     fib_kernels_last_error() then says what is wrong and what to do.
 *
 * What is returned by pointer (names, infos, the manifest, the table of functions) is the package's
 * and lives until it is unloaded; what is a device's lives until that is closed.
 *
 * Versions: a program that is linked to a package asks for symbols of FIB_KERNELS_1, so that the
 * loader refuses a package of another major version. A minor one adds to the end: functions, and
 * members of structs, which begin with their size. Programs made for 1.0 go on working; one that
 * wants what 1.1 added asks fib_kernels_abi_version(). Symbols of two packages don't meet: load each
 * with dlopen(..., RTLD_LOCAL) and take fib_kernels_get_api().
 */
#ifndef FIB_KERNELS_H_
#define FIB_KERNELS_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FIB_KERNELS_ABI_MAJOR 1 /* a change breaks callers */
#define FIB_KERNELS_ABI_MINOR 0 /* a change adds to the end */
#define FIB_KERNELS_API __attribute__((visibility("default")))

typedef enum fib_kernels_status {
  FIB_KERNELS_OK = 0,
  FIB_KERNELS_INVALID_ARGUMENT = 1,    /* number, rank, shape, dtype, place or alignment */
  FIB_KERNELS_NOT_FOUND = 2,           /* no such signature in this package */
  FIB_KERNELS_UNSUPPORTED = 3,         /* hardware or a shape that no kernel of it serves */
  FIB_KERNELS_NO_DRIVER = 4,           /* no NVIDIA driver, or no such card */
  FIB_KERNELS_OUT_OF_MEMORY = 5,
  FIB_KERNELS_WORKSPACE_TOO_SMALL = 6, /* call.workspace_bytes; the message says what is needed */
  FIB_KERNELS_NOT_PREPARED = 7,        /* all kernels that take the call want prepared weights */
  FIB_KERNELS_DEVICE_ERROR = 8,        /* the driver refused a launch, or the card is lost */
  FIB_KERNELS_INTERNAL = 9             /* a bug */
} fib_kernels_status;

FIB_KERNELS_API const char *fib_kernels_status_name(fib_kernels_status status); /* "OK", ... */

/* What was wrong with this thread's last call that failed; "" if none did. Valid until its next. */
FIB_KERNELS_API const char *fib_kernels_last_error(void);

FIB_KERNELS_API uint32_t fib_kernels_abi_version(void); /* MAJOR << 16 | MINOR */

/* The manifest.json of the package: solutions, buckets, evidence, licences. UTF-8 JSON. */
FIB_KERNELS_API const char *fib_kernels_manifest(void);

/* ---- Tensors: DLPack's, field for field (DLPack 0.8 and 1.x), so that a DLTensor can be passed. */

#ifndef FIB_KERNELS_HAVE_DLPACK /* define it where dlpack.h is included before */
typedef struct fib_kernels_dtype {
  uint8_t code; /* 0 int, 1 uint, 2 float, 4 bfloat, 6 bool, 10 float8_e4m3fn, ... */
  uint8_t bits;
  uint16_t lanes;
} fib_kernels_dtype;

typedef struct fib_kernels_place {
  int32_t device_type; /* kFibKernelsCpu, kFibKernelsCuda */
  int32_t device_id;
} fib_kernels_place;

typedef struct fib_kernels_tensor {
  void *data;
  fib_kernels_place device;
  int32_t ndim;
  fib_kernels_dtype dtype;
  int64_t *shape;
  int64_t *strides; /* elements; NULL: row-major */
  uint64_t byte_offset;
} fib_kernels_tensor;
#else
typedef DLDataType fib_kernels_dtype;
typedef DLDevice fib_kernels_place;
typedef DLTensor fib_kernels_tensor;
#endif

enum { kFibKernelsCpu = 1, kFibKernelsCuda = 2 }; /* kDLCPU, kDLCUDA */

/* Tensors' data begins at a multiple of so many bytes on the CPU and on a card; workspace and
 * prepared weights, on both, at one of FIB_KERNELS_MEMORY_ALIGNMENT. */
#define FIB_KERNELS_CPU_ALIGNMENT 64
#define FIB_KERNELS_CUDA_ALIGNMENT 16
#define FIB_KERNELS_MEMORY_ALIGNMENT 256

/* ---- What is in the package */

typedef struct fib_kernels_tensor_info {
  const char *name;
  fib_kernels_dtype dtype;
  int32_t ndim;
  const char *const *axes; /* [ndim] names */
  int32_t is_host_scalar;  /* passed by value */
  int32_t is_weight;       /* may be laid out once by fib_kernels_prepare() */
  int32_t is_host_visible; /* kernels are planned better with a copy of it on the host */
  int32_t in_place_of;     /* outputs: the input whose memory it is, -1: its own */
} fib_kernels_tensor_info;

typedef struct fib_kernels_axis_info {
  const char *name;
  int64_t value; /* of a constant axis; -1: it varies from call to call */
} fib_kernels_axis_info;

typedef struct fib_kernels_parameter { /* a constant of the mathematics, such as eps; never grows */
  const char *name;
  double value;
} fib_kernels_parameter;

typedef struct fib_kernels_signature_info {
  uint32_t struct_size;
  uint32_t axis_info_size, tensor_info_size; /* of the elements of `axes`, `inputs` and `outputs` */
  const char *name;    /* "rmsnorm_h4096" */
  const char *op_type; /* "rmsnorm" */
  int32_t num_axes, num_inputs, num_outputs, num_parameters;
  const fib_kernels_axis_info *axes;
  const fib_kernels_tensor_info *inputs, *outputs;
  const fib_kernels_parameter *parameters;
} fib_kernels_signature_info;

/* Elements of a later package may be longer than they are here: these find them. */
static inline const fib_kernels_axis_info *fib_kernels_axis_at(
    const fib_kernels_signature_info *info, int32_t i) {
  const void *at = (const char *)info->axes + (size_t)i * info->axis_info_size;
  return (const fib_kernels_axis_info *)at;
}
static inline const fib_kernels_tensor_info *fib_kernels_input_at(
    const fib_kernels_signature_info *info, int32_t i) {
  const void *at = (const char *)info->inputs + (size_t)i * info->tensor_info_size;
  return (const fib_kernels_tensor_info *)at;
}
static inline const fib_kernels_tensor_info *fib_kernels_output_at(
    const fib_kernels_signature_info *info, int32_t i) {
  const void *at = (const char *)info->outputs + (size_t)i * info->tensor_info_size;
  return (const fib_kernels_tensor_info *)at;
}

FIB_KERNELS_API size_t fib_kernels_num_signatures(void);
FIB_KERNELS_API const fib_kernels_signature_info *fib_kernels_signature(size_t index); /* NULL: none */

/* ---- Devices */

typedef struct fib_kernels_device fib_kernels_device;

/* body(begin, end, context) over [0, count), in chunks of at least `grain`; returns when all are
 * done. `host` is fib_kernels_device_options.parallel_host. */
typedef void (*fib_kernels_parallel_for)(void *host, int64_t count, int64_t grain,
                                         void (*body)(int64_t begin, int64_t end, void *context),
                                         void *context);

typedef struct fib_kernels_device_options {
  uint32_t struct_size;
  int32_t device_type; /* kFibKernelsCpu or kFibKernelsCuda */
  int32_t device_id;   /* as the driver counts cards; 0 on the CPU */
  int32_t num_threads; /* CPU: of the package's own pool, the caller's included; 0: all cores */
  fib_kernels_parallel_for parallel_for; /* CPU: used instead of a pool of its own; may be NULL */
  void *parallel_host;
} fib_kernels_device_options;
#define FIB_KERNELS_DEVICE_OPTIONS_INIT \
  { sizeof(fib_kernels_device_options), 1, 0, 0, NULL, NULL }

/* Opens a device and loads what the package has for it: once, before calls are made or captured. On
 * a card the primary context is retained, as the CUDA run-time library does. UNSUPPORTED: the
 * package has nothing that runs there. */
FIB_KERNELS_API fib_kernels_status fib_kernels_open(const fib_kernels_device_options *options,
                                                    fib_kernels_device **device);
FIB_KERNELS_API void fib_kernels_close(fib_kernels_device *device); /* NULL: nothing */

/* The hardware as boards name it ("NVIDIA_H100_80GB_HBM3"), and whether winners measured on just
 * this hardware are used, or only fallbacks. */
FIB_KERNELS_API const char *fib_kernels_hardware(const fib_kernels_device *device);
FIB_KERNELS_API int32_t fib_kernels_has_winners(const fib_kernels_device *device);

/* ---- Calls */

typedef struct fib_kernels_op fib_kernels_op; /* a signature's kernels on a device; lives with it */

/* `parameters` that are not named have the signature's own values; values that are the same as
 * float32 are the same. NOT_FOUND also for parameters that the package was not built for. */
FIB_KERNELS_API fib_kernels_status fib_kernels_find(fib_kernels_device *device,
                                                    const char *signature,
                                                    const fib_kernels_parameter *parameters,
                                                    size_t num_parameters,
                                                    const fib_kernels_op **op);

typedef struct fib_kernels_call {
  uint32_t struct_size;
  int32_t num_inputs, num_outputs;
  /* Signature order. A host scalar has ndim 0 and no data: its value stands in `scalars`. Weights
   * that are prepared may come without data. */
  const fib_kernels_tensor *inputs;
  const fib_kernels_tensor *outputs;
  const double *scalars;          /* [num_inputs]; NULL where the signature has no host scalar */
  const void *const *host_inputs; /* [num_inputs] host copies of host-visible inputs; each, or all
                                     of it, may be NULL: then plans hold for all that the axes allow,
                                     which is what a captured graph needs */
  void *workspace;                /* content undefined; FIB_KERNELS_MEMORY_ALIGNMENT */
  size_t workspace_bytes;
  const void *prepared;           /* what fib_kernels_prepare() wrote; NULL: nothing */
  size_t prepared_bytes;
  void *stream;                   /* CUstream; NULL: the default stream. Ignored on the CPU */
} fib_kernels_call;
#define FIB_KERNELS_CALL_INIT \
  { sizeof(fib_kernels_call), 0, 0, NULL, NULL, NULL, NULL, NULL, 0, NULL, 0, NULL }

/* What the call needs; data of tensors is not looked at. Host copies and `prepared` are, since they
 * decide which kernel serves the call: ask with what the call will bring. */
FIB_KERNELS_API fib_kernels_status fib_kernels_workspace_bytes(const fib_kernels_op *op,
                                                               const fib_kernels_call *call,
                                                               size_t *bytes);
/* Enqueues the call; on the CPU it is done when this returns. Tensors are checked: number, rank,
 * shape, dtype, device, strides, alignment. */
FIB_KERNELS_API fib_kernels_status fib_kernels_launch(const fib_kernels_op *op,
                                                      const fib_kernels_call *call);

/* The same with bare addresses, for callers that know what they have: only axes are checked. What
 * doesn't launch looks at no address: `inputs` and `outputs` may be NULL there. */
typedef struct fib_kernels_raw_call {
  uint32_t struct_size;
  const int64_t *axes;  /* those that vary, in the order of the signature's axes */
  void *const *inputs;  /* [num_inputs] addresses; of a host scalar: ignored */
  void *const *outputs; /* [num_outputs] */
  const double *scalars;
  const void *const *host_inputs;
  void *workspace;
  size_t workspace_bytes;
  const void *prepared;
  size_t prepared_bytes;
  void *stream;
} fib_kernels_raw_call;
#define FIB_KERNELS_RAW_CALL_INIT \
  { sizeof(fib_kernels_raw_call), NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, 0, NULL }

FIB_KERNELS_API fib_kernels_status fib_kernels_raw_workspace_bytes(
    const fib_kernels_op *op, const fib_kernels_raw_call *call, size_t *bytes);
FIB_KERNELS_API fib_kernels_status fib_kernels_launch_raw(const fib_kernels_op *op,
                                                          const fib_kernels_raw_call *call);

/* ---- Weights laid out once
 *
 * One block of memory holds what all kernels of the op want. `call` needs the weights among its
 * inputs; other tensors are not looked at. 0 bytes: none of them has such a step. A call without
 * prepared weights is served by kernels that do without. */
typedef struct fib_kernels_prepare_info {
  uint32_t struct_size;
  int32_t replaces_originals; /* the weights themselves are no longer read by any kernel */
  size_t bytes;
  size_t workspace_bytes;
} fib_kernels_prepare_info;
FIB_KERNELS_API fib_kernels_status fib_kernels_query_prepare(const fib_kernels_op *op,
                                                             const fib_kernels_call *call,
                                                             fib_kernels_prepare_info *info);
/* Enqueues it; `prepared` holds info.bytes, call->workspace what is said. Once for each set of
 * weights, when they are loaded: the block then goes into every call of theirs. */
FIB_KERNELS_API fib_kernels_status fib_kernels_prepare(const fib_kernels_op *op,
                                                       const fib_kernels_call *call,
                                                       void *prepared);

/* Which solution serves just this call: what fib_kernels_launch() would run for it on this thread.
 * Shapes, scalars, host copies and whether `prepared` is NULL decide; data isn't looked at, as with
 * fib_kernels_workspace_bytes(). */
typedef struct fib_kernels_choice {
  uint32_t struct_size;
  const char *solution; /* NULL: none takes the call; fib_kernels_last_error() says why */
  const char *author;
  int32_t is_winner;      /* it won on this hardware; otherwise it is a fallback */
  int32_t wants_prepared; /* a better one was passed over: the call brings no prepared weights */
} fib_kernels_choice;
FIB_KERNELS_API fib_kernels_status fib_kernels_choose(const fib_kernels_op *op,
                                                      const fib_kernels_call *call,
                                                      fib_kernels_choice *choice);
FIB_KERNELS_API fib_kernels_status fib_kernels_raw_choose(const fib_kernels_op *op,
                                                          const fib_kernels_raw_call *call,
                                                          fib_kernels_choice *choice);

/* ---- All of it as one table, for dlopen() */

typedef struct fib_kernels_api {
  uint32_t struct_size;
  uint32_t abi_version;
  const char *(*status_name)(fib_kernels_status);
  const char *(*last_error)(void);
  const char *(*manifest)(void);
  size_t (*num_signatures)(void);
  const fib_kernels_signature_info *(*signature)(size_t);
  fib_kernels_status (*open)(const fib_kernels_device_options *, fib_kernels_device **);
  void (*close)(fib_kernels_device *);
  const char *(*hardware)(const fib_kernels_device *);
  int32_t (*has_winners)(const fib_kernels_device *);
  fib_kernels_status (*find)(fib_kernels_device *, const char *, const fib_kernels_parameter *,
                             size_t, const fib_kernels_op **);
  fib_kernels_status (*workspace_bytes)(const fib_kernels_op *, const fib_kernels_call *, size_t *);
  fib_kernels_status (*launch)(const fib_kernels_op *, const fib_kernels_call *);
  fib_kernels_status (*raw_workspace_bytes)(const fib_kernels_op *, const fib_kernels_raw_call *,
                                            size_t *);
  fib_kernels_status (*launch_raw)(const fib_kernels_op *, const fib_kernels_raw_call *);
  fib_kernels_status (*query_prepare)(const fib_kernels_op *, const fib_kernels_call *,
                                      fib_kernels_prepare_info *);
  fib_kernels_status (*prepare)(const fib_kernels_op *, const fib_kernels_call *, void *);
  fib_kernels_status (*choose)(const fib_kernels_op *, const fib_kernels_call *,
                               fib_kernels_choice *);
  fib_kernels_status (*raw_choose)(const fib_kernels_op *, const fib_kernels_raw_call *,
                                   fib_kernels_choice *);
} fib_kernels_api;

/* NULL if the package's major version is not `abi_major`. */
FIB_KERNELS_API const fib_kernels_api *fib_kernels_get_api(uint32_t abi_major);

#ifdef __cplusplus
}
#endif
#endif /* FIB_KERNELS_H_ */
