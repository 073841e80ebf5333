/* A program in C99 that normalises two rows on the CPU, by the first rmsnorm of a kernel package.
 *
 *     export PKG_CONFIG_PATH=$PACKAGE/lib/pkgconfig
 *     gcc -std=c99 consumer.c $(pkg-config --cflags --libs fib_kernels) -lm \
 *       -Wl,-rpath,$(pkg-config --variable=libdir fib_kernels) -o consumer
 *     ./consumer
 *
 * PACKAGE: the package's folder, by its whole path. The run path is where the program will look for
 * libfib_kernels.so; without one it asks LD_LIBRARY_PATH.
 */
#include <fib_kernels.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kRows = 2 };

static uint16_t narrow(float value) { /* float32 to bfloat16, to nearest */
  uint32_t word;
  memcpy(&word, &value, sizeof word);
  return (uint16_t)((word + 0x7FFF + (word >> 16 & 1)) >> 16);
}

static float widen(uint16_t bits) {
  const uint32_t word = (uint32_t)bits << 16;
  float value;
  memcpy(&value, &word, sizeof value);
  return value;
}

static void check(fib_kernels_status status) {
  if (status == FIB_KERNELS_OK) return;
  fprintf(stderr, "%s: %s\n", fib_kernels_status_name(status), fib_kernels_last_error());
  exit(1);
}

static fib_kernels_tensor bfloat16_tensor(void *data, int32_t ndim, int64_t *shape) {
  fib_kernels_tensor tensor;
  memset(&tensor, 0, sizeof tensor); /* strides NULL: row-major */
  tensor.data = data;
  tensor.device.device_type = kFibKernelsCpu;
  tensor.ndim = ndim;
  tensor.dtype.code = 4; /* bfloat */
  tensor.dtype.bits = 16;
  tensor.dtype.lanes = 1;
  tensor.shape = shape;
  return tensor;
}

/* Memory of `bytes` bytes that begins where kernels want tensors and workspace to. */
static void *allocate(size_t bytes, void **block) {
  const uintptr_t alignment = FIB_KERNELS_MEMORY_ALIGNMENT;
  *block = malloc(bytes + alignment);
  if (*block == NULL) exit(1);
  return (void *)(((uintptr_t)*block + alignment - 1) / alignment * alignment);
}

/* The package's first rmsnorm: hidden_states [rows, hidden] and weight [hidden]. */
static const fib_kernels_signature_info *first_rmsnorm(void) {
  size_t s;
  for (s = 0; s < fib_kernels_num_signatures(); ++s) {
    const fib_kernels_signature_info *info = fib_kernels_signature(s);
    if (strcmp(info->op_type, "rmsnorm") == 0 && info->num_inputs == 2) return info;
  }
  fprintf(stderr, "this package has no rmsnorm; it has\n");
  for (s = 0; s < fib_kernels_num_signatures(); ++s) {
    fprintf(stderr, "  %s\n", fib_kernels_signature(s)->name);
  }
  exit(2);
}

/* The size of an axis that is the same in every call. */
static int constant_axis(const fib_kernels_signature_info *info, const char *name) {
  int32_t i;
  for (i = 0; i < info->num_axes; ++i) {
    const fib_kernels_axis_info *axis = fib_kernels_axis_at(info, i);
    if (strcmp(axis->name, name) == 0) return (int)axis->value;
  }
  fprintf(stderr, "%s has no axis %s\n", info->name, name);
  exit(1);
}

int main(void) {
  const fib_kernels_signature_info *info = first_rmsnorm();
  const int hidden = constant_axis(info, "hidden_size");
  const double eps = info->parameters[0].value; /* what its kernels were built with */
  int64_t rows_shape[2] = {kRows, 0}, weight_shape[1] = {0};
  fib_kernels_device_options options = FIB_KERNELS_DEVICE_OPTIONS_INIT;
  fib_kernels_call call = FIB_KERNELS_CALL_INIT;
  fib_kernels_device *device = NULL;
  const fib_kernels_op *op = NULL;
  void *blocks[4] = {NULL, NULL, NULL, NULL};
  uint16_t *x = allocate(kRows * (size_t)hidden * sizeof *x, &blocks[0]);
  uint16_t *weight = allocate((size_t)hidden * sizeof *weight, &blocks[1]);
  uint16_t *y = allocate(kRows * (size_t)hidden * sizeof *y, &blocks[2]);
  fib_kernels_tensor inputs[2], outputs[1];
  fib_kernels_choice choice;
  double worst = 0.0;
  int row, i;

  rows_shape[1] = weight_shape[0] = hidden;
  for (i = 0; i < kRows * hidden; ++i) x[i] = narrow((float)sin(i));
  for (i = 0; i < hidden; ++i) weight[i] = narrow(1.0f + 0.01f * (float)i);
  inputs[0] = bfloat16_tensor(x, 2, rows_shape);
  inputs[1] = bfloat16_tensor(weight, 1, weight_shape);
  outputs[0] = bfloat16_tensor(y, 2, rows_shape);

  options.num_threads = 2;
  check(fib_kernels_open(&options, &device));
  check(fib_kernels_find(device, info->name, NULL, 0, &op));
  call.num_inputs = 2;
  call.num_outputs = 1;
  call.inputs = inputs;
  call.outputs = outputs;
  check(fib_kernels_workspace_bytes(op, &call, &call.workspace_bytes));
  call.workspace = allocate(call.workspace_bytes, &blocks[3]);
  choice.struct_size = sizeof choice;
  check(fib_kernels_choose(op, &call, &choice));
  check(fib_kernels_launch(op, &call));

  for (row = 0; row < kRows; ++row) {
    double sum = 0.0;
    for (i = 0; i < hidden; ++i) sum += pow(widen(x[row * hidden + i]), 2.0);
    for (i = 0; i < hidden; ++i) {
      const double wanted =
          widen(x[row * hidden + i]) * widen(weight[i]) / sqrt(sum / hidden + eps);
      const double off = fabs(widen(y[row * hidden + i]) - wanted) / (fabs(wanted) + 1e-3);
      if (off > worst) worst = off;
    }
  }
  printf("%s by %s: largest relative error %.4f\n", info->name, choice.solution, worst);
  fib_kernels_close(device);
  for (i = 0; i < 4; ++i) free(blocks[i]);
  return worst < 0.01 ? 0 : 1; /* bfloat16 keeps eight bits */
}
