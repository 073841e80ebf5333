/* A program in C99 that normalises two rows with a kernel package, on the CPU.
 *
 *     gcc -std=c99 consumer.c $(pkg-config --cflags --libs fib_kernels) -lm
 */
#include <fib_kernels.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kRows = 2, kHidden = 128 };

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

/* Memory of `bytes` bytes that begins where the CPU's kernels want it to. */
static void *allocate(size_t bytes, void **block) {
  *block = malloc(bytes + FIB_KERNELS_CPU_ALIGNMENT);
  if (*block == NULL) exit(1);
  return (void *)(((uintptr_t)*block + FIB_KERNELS_CPU_ALIGNMENT - 1) /
                  FIB_KERNELS_CPU_ALIGNMENT * FIB_KERNELS_CPU_ALIGNMENT);
}

int main(void) {
  int64_t rows_shape[2] = {kRows, kHidden}, weight_shape[1] = {kHidden};
  fib_kernels_device_options options = FIB_KERNELS_DEVICE_OPTIONS_INIT;
  fib_kernels_call call = FIB_KERNELS_CALL_INIT;
  fib_kernels_device *device = NULL;
  const fib_kernels_op *op = NULL;
  void *blocks[4] = {NULL, NULL, NULL, NULL};
  uint16_t *x = allocate(kRows * kHidden * sizeof *x, &blocks[0]);
  uint16_t *weight = allocate(kHidden * sizeof *weight, &blocks[1]);
  uint16_t *y = allocate(kRows * kHidden * sizeof *y, &blocks[2]);
  fib_kernels_tensor inputs[2], outputs[1];
  double eps = 0.0, worst = 0.0;
  size_t s;
  int row, i;

  for (s = 0; s < fib_kernels_num_signatures(); ++s) {
    const fib_kernels_signature_info *info = fib_kernels_signature(s);
    if (strcmp(info->name, "rmsnorm_h128") == 0) eps = info->parameters[0].value;
  }
  for (i = 0; i < kRows * kHidden; ++i) x[i] = narrow((float)sin(i));
  for (i = 0; i < kHidden; ++i) weight[i] = narrow(1.0f + 0.01f * (float)i);
  inputs[0] = bfloat16_tensor(x, 2, rows_shape);
  inputs[1] = bfloat16_tensor(weight, 1, weight_shape);
  outputs[0] = bfloat16_tensor(y, 2, rows_shape);

  options.num_threads = 2;
  check(fib_kernels_open(&options, &device));
  check(fib_kernels_find(device, "rmsnorm_h128", NULL, 0, &op));
  call.num_inputs = 2;
  call.num_outputs = 1;
  call.inputs = inputs;
  call.outputs = outputs;
  check(fib_kernels_workspace_bytes(op, &call, &call.workspace_bytes));
  call.workspace = allocate(call.workspace_bytes + 256, &blocks[3]);
  call.workspace = (void *)(((uintptr_t)call.workspace + 255) / 256 * 256);
  check(fib_kernels_launch(op, &call));

  for (row = 0; row < kRows; ++row) {
    double sum = 0.0;
    for (i = 0; i < kHidden; ++i) sum += pow(widen(x[row * kHidden + i]), 2.0);
    for (i = 0; i < kHidden; ++i) {
      const double wanted =
          widen(x[row * kHidden + i]) * widen(weight[i]) / sqrt(sum / kHidden + eps);
      const double off = fabs(widen(y[row * kHidden + i]) - wanted) / (fabs(wanted) + 1e-3);
      if (off > worst) worst = off;
    }
  }
  fib_kernels_close(device);
  for (i = 0; i < 4; ++i) free(blocks[i]);
  printf("largest relative error %.4f\n", worst);
  return worst < 0.01 ? 0 : 1; /* bfloat16 keeps eight bits */
}
