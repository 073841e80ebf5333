#include "integrations/package/runtime/tvm_ffi.h"

#include <pthread.h>

#include <array>
#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>

#include "integrations/package/include/fib_kernels.h"
#include "integrations/package/runtime/tvm_ffi_environment.h"

namespace fib::package {
namespace {

// What a call ends with instead of a result; the exception is in tvm-ffi's hands.
struct Raised {};

const FfiEnvironment& environment() {
  static const FfiEnvironment found = FfiEnvironment::find();
  return found;
}

[[noreturn, gnu::format(printf, 2, 3)]] void raise(const char* kind, const char* format, ...) {
  char message[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  if (environment().raise) environment().raise(kind, message);
  throw Raised{};
}

void check(fib_kernels_status status) {
  if (status == FIB_KERNELS_OK) return;
  const char* kind = status == FIB_KERNELS_INVALID_ARGUMENT ? "ValueError"
                     : status == FIB_KERNELS_OUT_OF_MEMORY  ? "MemoryError"
                                                            : "RuntimeError";
  if (environment().raise) environment().raise(kind, fib_kernels_last_error());
  throw Raised{};
}

// ---- Devices, opened on demand and for good: nobody could say when the last call was made.

struct OpenDevice {
  fib_kernels_device* handle;
  std::unique_ptr<std::atomic<const fib_kernels_op*>[]> ops;  // of each row, once asked for
};

constexpr int kMaxCards = 64;

struct OpenDevices {
  std::mutex opening;
  std::atomic<OpenDevice*> cpu{nullptr};
  std::array<std::atomic<OpenDevice*>, kMaxCards> cards{};
};

// Never destroyed: calls may still be made while the process ends.
OpenDevices& open_devices() {
  static std::atomic<OpenDevices*> devices = [] {
    // A device's threads don't follow into a process that is forked off: it opens its own.
    pthread_atfork(nullptr, nullptr, [] { devices.store(new OpenDevices); });
    return new OpenDevices;
  }();
  return *devices.load(std::memory_order_acquire);
}

OpenDevice& device_at(fib_kernels_place place, const char* name) {
  const bool is_cpu = place.device_type == kFibKernelsCpu;
  if (!is_cpu && (place.device_type != kFibKernelsCuda || place.device_id < 0 ||
                  place.device_id >= kMaxCards)) {
    raise("ValueError",
          "%s: tensors are on a device of type %d, number %d; this package serves the "
          "CPU (1) and CUDA cards (2)",
          name, place.device_type, place.device_id);
  }
  OpenDevices& devices = open_devices();
  std::atomic<OpenDevice*>& slot = is_cpu ? devices.cpu : devices.cards[place.device_id];
  if (OpenDevice* device = slot.load(std::memory_order_acquire)) return *device;
  const std::lock_guard lock(devices.opening);
  if (OpenDevice* device = slot.load(std::memory_order_relaxed)) return *device;
  fib_kernels_device_options options = FIB_KERNELS_DEVICE_OPTIONS_INIT;
  options.device_type = place.device_type;
  options.device_id = is_cpu ? 0 : place.device_id;
  auto device = std::make_unique<OpenDevice>();
  device->ops =
      std::make_unique<std::atomic<const fib_kernels_op*>[]>(fib_kernels_num_signatures());
  check(fib_kernels_open(&options, &device->handle));
  slot.store(device.get(), std::memory_order_release);
  return *device.release();
}

const fib_kernels_op* op_at(size_t row, const fib_kernels_signature_info& signature,
                            fib_kernels_place place) {
  OpenDevice& device = device_at(place, signature.name);
  std::atomic<const fib_kernels_op*>& slot = device.ops[row];
  if (const fib_kernels_op* op = slot.load(std::memory_order_acquire)) return op;
  const fib_kernels_op* op = nullptr;
  check(fib_kernels_find(device.handle, signature.name, signature.parameters,
                         static_cast<size_t>(signature.num_parameters), &op));
  slot.store(op, std::memory_order_release);
  return op;
}

// ---- Workspace

// A thread's block on the CPU, where a call is over when it returns.
class HostBlock {
 public:
  HostBlock() = default;
  HostBlock(const HostBlock&) = delete;
  HostBlock& operator=(const HostBlock&) = delete;
  ~HostBlock() { std::free(data_); }

  void* reserve(size_t bytes, const char* name) {
    if (bytes <= bytes_) return data_;
    std::free(data_);
    bytes_ = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    data_ = std::aligned_alloc(kAlignment, bytes_);
    if (!data_) {
      bytes_ = 0;
      raise("MemoryError", "%s: no %zu bytes of workspace", name, bytes);
    }
    return data_;
  }

 private:
  static constexpr size_t kAlignment = FIB_KERNELS_MEMORY_ALIGNMENT;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// A tensor of bytes from the allocator of tvm-ffi's environment. It may be given back as soon as
// the call is enqueued: whoever gets the memory next uses it on the same stream.
class EnvironmentBlock {
 public:
  EnvironmentBlock() = default;
  EnvironmentBlock(const EnvironmentBlock&) = delete;
  EnvironmentBlock& operator=(const EnvironmentBlock&) = delete;
  ~EnvironmentBlock() {
    if (object_) environment().release(object_);
  }

  void* reserve(size_t bytes, fib_kernels_place place, const char* name) {
    if (!environment().allocate || !environment().release) {
      raise("RuntimeError",
            "%s: this tvm-ffi has no TVMFFIEnvTensorAlloc; version 0.1.0 or later is "
            "wanted",
            name);
    }
    int64_t shape = static_cast<int64_t>(bytes);
    fib_kernels_tensor prototype = {.data = nullptr,
                                    .device = place,
                                    .ndim = 1,
                                    .dtype = {1, 8, 1},
                                    .shape = &shape,
                                    .strides = nullptr,
                                    .byte_offset = 0};
    // Without an allocator, which torch tensors bring along, tvm-ffi raises what says so.
    if (environment().allocate(&prototype, &object_) != 0) throw Raised{};
    const FfiAny value = {.type_index = kFfiTensorObject, .padding = 0, .pointer = object_};
    return tensor_of(value)->data;
  }

 private:
  void* object_ = nullptr;
};

class Workspace {
 public:
  void reserve(fib_kernels_call& call, size_t bytes, fib_kernels_place place, const char* name) {
    call.workspace_bytes = bytes;
    if (bytes == 0) return;
    if (place.device_type == kFibKernelsCpu) {
      thread_local HostBlock block;
      call.workspace = block.reserve(bytes, name);
    } else {
      call.workspace = on_card_.reserve(bytes, place, name);
    }
  }

 private:
  EnvironmentBlock on_card_;
};

// ---- Arguments

constexpr int kMaxTensors = 32;

struct Arguments {
  std::array<fib_kernels_tensor, kMaxTensors> tensors;  // inputs, then outputs
  std::array<double, kMaxTensors> scalars;
  fib_kernels_place place{};
  fib_kernels_call call = FIB_KERNELS_CALL_INIT;
};

enum class Missing { kRefused, kAllowed };  // None where a tensor belongs

const char* kind_of(const FfiAny& value) {
  switch (value.type_index) {
    case kFfiNone: return "None";
    case kFfiInt: return "an int";
    case kFfiBool: return "a bool";
    case kFfiFloat: return "a float";
    default: return tensor_of(value) ? "a tensor" : "something else";
  }
}

double read_scalar(const FfiAny& value, const fib_kernels_signature_info& signature, int index) {
  switch (value.type_index) {
    case kFfiInt:
    case kFfiBool: return static_cast<double>(value.integer);
    case kFfiFloat: return value.real;
  }
  raise("TypeError", "%s: argument %d (%s) is %s; a number is expected", signature.name, index + 1,
        signature.inputs[index].name, kind_of(value));
}

// False where it is missing.
bool read_tensor(const FfiAny& value, const fib_kernels_signature_info& signature, int index,
                 const char* argument, Missing missing, fib_kernels_tensor& tensor) {
  if (const fib_kernels_tensor* given = tensor_of(value)) {
    tensor = *given;
    return true;
  }
  if (value.type_index != kFfiNone || missing == Missing::kRefused) {
    raise("TypeError", "%s: argument %d (%s) is %s; a tensor is expected", signature.name,
          index + 1, argument, kind_of(value));
  }
  return false;
}

// Where the call runs: the first tensor's place. The library checks that all others are there too.
void read_place(const FfiAny* args, int count, const fib_kernels_signature_info& signature,
                Arguments& arguments) {
  for (int i = 0; i < count; ++i) {
    if (const fib_kernels_tensor* tensor = tensor_of(args[i])) {
      arguments.place = tensor->device;
      if (arguments.place.device_type == kFibKernelsCuda && environment().current_stream) {
        arguments.call.stream =
            environment().current_stream(arguments.place.device_type, arguments.place.device_id);
      }
      return;
    }
  }
  raise("TypeError", "%s: no argument is a tensor", signature.name);
}

void read_inputs(const FfiAny* args, const fib_kernels_signature_info& signature, Missing missing,
                 Arguments& arguments) {
  for (int i = 0; i < signature.num_inputs; ++i) {
    const fib_kernels_tensor_info& input = signature.inputs[i];
    arguments.tensors[i] = {.data = nullptr,
                            .device = arguments.place,
                            .ndim = 0,
                            .dtype = input.dtype,
                            .shape = nullptr,
                            .strides = nullptr,
                            .byte_offset = 0};
    arguments.scalars[i] = 0.0;
    if (!input.is_host_scalar) {
      read_tensor(args[i], signature, i, input.name, input.is_weight ? Missing::kRefused : missing,
                  arguments.tensors[i]);
    } else if (missing == Missing::kRefused || args[i].type_index != kFfiNone) {
      arguments.scalars[i] = read_scalar(args[i], signature, i);
    }
  }
  arguments.call.num_inputs = signature.num_inputs;
  arguments.call.inputs = arguments.tensors.data();
  arguments.call.scalars = arguments.scalars.data();
}

void read_outputs(const FfiAny* args, const fib_kernels_signature_info& signature,
                  Arguments& arguments) {
  for (int j = 0; j < signature.num_outputs; ++j) {
    const fib_kernels_tensor_info& output = signature.outputs[j];
    const int i = signature.num_inputs + j;
    if (!read_tensor(args[i], signature, i, output.name,
                     output.in_place_of >= 0 ? Missing::kAllowed : Missing::kRefused,
                     arguments.tensors[i])) {
      arguments.tensors[i] = arguments.tensors[output.in_place_of];
    }
  }
  arguments.call.num_outputs = signature.num_outputs;
  arguments.call.outputs = arguments.tensors.data() + signature.num_inputs;
}

// A tensor of bytes, whatever its dtype; null for None.
struct Block {
  std::byte* data = nullptr;
  size_t bytes = 0;
};

Block read_block(const FfiAny& value, const fib_kernels_signature_info& signature, int index,
                 fib_kernels_place place) {
  fib_kernels_tensor tensor{};
  if (!read_tensor(value, signature, index, "prepared", Missing::kAllowed, tensor)) return {};
  if (tensor.ndim != 1 || tensor.dtype.bits != 8 || (tensor.strides && tensor.strides[0] != 1) ||
      tensor.device.device_type != place.device_type ||
      tensor.device.device_id != place.device_id) {
    raise("ValueError",
          "%s: argument %d (prepared) must be a row of bytes (uint8) on the device of "
          "the other tensors",
          signature.name, index + 1);
  }
  return {static_cast<std::byte*>(tensor.data) + tensor.byte_offset,
          static_cast<size_t>(tensor.shape[0])};
}

const fib_kernels_signature_info& signature_of(size_t row) {
  const fib_kernels_signature_info* signature = fib_kernels_signature(row);
  if (!signature) raise("RuntimeError", "this package has no row %zu: a bug of its exporter", row);
  if (signature->num_inputs + signature->num_outputs > kMaxTensors) {
    raise("RuntimeError", "%s: more than %d tensors", signature->name, kMaxTensors);
  }
  return *signature;
}

void launch(size_t row, const FfiAny* args, int num_args) {
  const fib_kernels_signature_info& signature = signature_of(row);
  const int expected = signature.num_inputs + signature.num_outputs;
  if (num_args != expected && num_args != expected + 1) {
    raise("TypeError",
          "%s: %d arguments; %d inputs and %d outputs are expected, then nothing or what "
          "was prepared",
          signature.name, num_args, signature.num_inputs, signature.num_outputs);
  }
  Arguments arguments;
  read_place(args, expected, signature, arguments);
  read_inputs(args, signature, Missing::kRefused, arguments);
  read_outputs(args, signature, arguments);
  fib_kernels_call& call = arguments.call;
  if (num_args > expected) {
    const Block prepared = read_block(args[expected], signature, expected, arguments.place);
    call.prepared = prepared.data;
    call.prepared_bytes = prepared.bytes;
  }
  const fib_kernels_op* op = op_at(row, signature, arguments.place);
  size_t bytes = 0;
  check(fib_kernels_workspace_bytes(op, &call, &bytes));
  Workspace workspace;
  workspace.reserve(call, bytes, arguments.place, signature.name);
  check(fib_kernels_launch(op, &call));
}

size_t prepare(size_t row, const FfiAny* args, int num_args) {
  const fib_kernels_signature_info& signature = signature_of(row);
  if (num_args != signature.num_inputs + 1) {
    raise("TypeError",
          "%s_prepare: %d arguments; %d inputs are expected, then None or a row of bytes",
          signature.name, num_args, signature.num_inputs);
  }
  Arguments arguments;
  read_place(args, signature.num_inputs, signature, arguments);
  read_inputs(args, signature, Missing::kAllowed, arguments);
  fib_kernels_call& call = arguments.call;
  const Block block =
      read_block(args[signature.num_inputs], signature, signature.num_inputs, arguments.place);
  const fib_kernels_op* op = op_at(row, signature, arguments.place);
  fib_kernels_prepare_info info{};
  info.struct_size = sizeof info;
  check(fib_kernels_query_prepare(op, &call, &info));
  if (!block.data || info.bytes == 0) return info.bytes;
  if (block.bytes < info.bytes) {
    raise("ValueError", "%s_prepare: a block of %zu bytes; %zu are needed", signature.name,
          block.bytes, info.bytes);
  }
  Workspace workspace;
  workspace.reserve(call, info.workspace_bytes, arguments.place, signature.name);
  check(fib_kernels_prepare(op, &call, block.data));
  return info.bytes;
}

// Nothing that is thrown may leave the package.
template <class Body>
int guarded(Body&& body) {
  try {
    body();
    return 0;
  } catch (const Raised&) {
  } catch (const std::exception& error) {
    if (environment().raise) environment().raise("RuntimeError", error.what());
  }
  return -1;
}

}  // namespace
}  // namespace fib::package

int fib_kernels_tvm_ffi_call(size_t row, void*, const void* args, int32_t num_args, void*) {
  using namespace fib::package;
  return guarded([&] { launch(row, static_cast<const FfiAny*>(args), num_args); });
}

int fib_kernels_tvm_ffi_prepare(size_t row, void*, const void* args, int32_t num_args,
                                void* result) {
  using namespace fib::package;
  return guarded([&] {
    const size_t bytes = prepare(row, static_cast<const FfiAny*>(args), num_args);
    *static_cast<FfiAny*>(result) = {
        .type_index = kFfiInt, .padding = 0, .integer = static_cast<int64_t>(bytes)};
  });
}
