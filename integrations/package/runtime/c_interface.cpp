// include/fib_kernels.h: every function checks what it is handed and lets nothing be thrown out.

#include <exception>
#include <new>

#include "integrations/package/runtime/device.h"
#include "integrations/package/runtime/struct_size.h"

namespace {

using fib::package::refuse;

[[gnu::cold]] fib_kernels_status refuse_null(const char* what) {
  return refuse(FIB_KERNELS_INVALID_ARGUMENT, "{} is NULL", what);
}

[[gnu::cold]] fib_kernels_status explain_exception() {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return refuse(FIB_KERNELS_OUT_OF_MEMORY, std::string_view("no host memory"));
  } catch (const std::exception& bug) {
    return refuse(FIB_KERNELS_INTERNAL, "a bug in the package: {}", bug.what());
  } catch (...) {
    return refuse(FIB_KERNELS_INTERNAL, std::string_view("a bug in the package"));
  }
}

template <class Body>
fib_kernels_status guarded(const Body& body) noexcept {
  try {
    return body();
  } catch (...) {
    return explain_exception();
  }
}

}  // namespace

extern "C" {

const char* fib_kernels_status_name(fib_kernels_status status) {
  switch (status) {
    case FIB_KERNELS_OK: return "OK";
    case FIB_KERNELS_INVALID_ARGUMENT: return "INVALID_ARGUMENT";
    case FIB_KERNELS_NOT_FOUND: return "NOT_FOUND";
    case FIB_KERNELS_UNSUPPORTED: return "UNSUPPORTED";
    case FIB_KERNELS_NO_DRIVER: return "NO_DRIVER";
    case FIB_KERNELS_OUT_OF_MEMORY: return "OUT_OF_MEMORY";
    case FIB_KERNELS_WORKSPACE_TOO_SMALL: return "WORKSPACE_TOO_SMALL";
    case FIB_KERNELS_NOT_PREPARED: return "NOT_PREPARED";
    case FIB_KERNELS_DEVICE_ERROR: return "DEVICE_ERROR";
    case FIB_KERNELS_INTERNAL: return "INTERNAL";
  }
  return "unknown";
}

const char* fib_kernels_last_error(void) { return fib::package::last_error(); }

uint32_t fib_kernels_abi_version(void) {
  return FIB_KERNELS_ABI_MAJOR << 16 | FIB_KERNELS_ABI_MINOR;
}

const char* fib_kernels_manifest(void) { return fib_kernels_table.manifest; }

size_t fib_kernels_num_signatures(void) { return fib_kernels_table.signatures.size; }

const fib_kernels_signature_info* fib_kernels_signature(size_t index) {
  const auto& signatures = fib_kernels_table.signatures;
  return index < signatures.size ? &signatures[index].info : nullptr;
}

fib_kernels_status fib_kernels_open(const fib_kernels_device_options* options,
                                    fib_kernels_device** device) {
  return guarded([&] {
    if (options == nullptr) return refuse_null("options");
    if (device == nullptr) return refuse_null("device");
    *device = nullptr;
    if (const auto status = fib::package::check_size(*options, "options");
        status != FIB_KERNELS_OK) {
      return status;
    }
    std::unique_ptr<fib_kernels_device> opened;
    const auto status = fib::package::open_device(fib_kernels_table, *options, &opened);
    *device = opened.release();
    return status;
  });
}

void fib_kernels_close(fib_kernels_device* device) { delete device; }

const char* fib_kernels_hardware(const fib_kernels_device* device) {
  return device == nullptr ? "" : device->hardware().c_str();
}

int32_t fib_kernels_has_winners(const fib_kernels_device* device) {
  return device != nullptr && device->has_winners() ? 1 : 0;
}

fib_kernels_status fib_kernels_find(fib_kernels_device* device, const char* signature,
                                    const fib_kernels_parameter* parameters, size_t num_parameters,
                                    const fib_kernels_op** op) {
  return guarded([&] {
    if (device == nullptr) return refuse_null("device");
    if (signature == nullptr) return refuse_null("signature");
    if (parameters == nullptr && num_parameters > 0) return refuse_null("parameters");
    if (op == nullptr) return refuse_null("op");
    *op = nullptr;
    return device->find(signature, parameters, num_parameters, op);
  });
}

fib_kernels_status fib_kernels_workspace_bytes(const fib_kernels_op* op,
                                               const fib_kernels_call* call, size_t* bytes) {
  return guarded([&] {
    if (op == nullptr || call == nullptr) return refuse_null("op or call");
    if (bytes == nullptr) return refuse_null("bytes");
    return op->workspace_bytes(*call, bytes);
  });
}

fib_kernels_status fib_kernels_launch(const fib_kernels_op* op, const fib_kernels_call* call) {
  return guarded([&] {
    if (op == nullptr || call == nullptr) return refuse_null("op or call");
    return op->launch(*call);
  });
}

fib_kernels_status fib_kernels_raw_workspace_bytes(const fib_kernels_op* op,
                                                   const fib_kernels_raw_call* call,
                                                   size_t* bytes) {
  return guarded([&] {
    if (op == nullptr || call == nullptr) return refuse_null("op or call");
    if (bytes == nullptr) return refuse_null("bytes");
    return op->workspace_bytes(*call, bytes);
  });
}

fib_kernels_status fib_kernels_launch_raw(const fib_kernels_op* op,
                                          const fib_kernels_raw_call* call) {
  return guarded([&] {
    if (op == nullptr || call == nullptr) return refuse_null("op or call");
    return op->launch(*call);
  });
}

fib_kernels_status fib_kernels_query_prepare(const fib_kernels_op* op, const fib_kernels_call* call,
                                             fib_kernels_prepare_info* info) {
  return guarded([&] {
    if (op == nullptr || call == nullptr) return refuse_null("op or call");
    if (info == nullptr) return refuse_null("info");
    return op->query_prepare(*call, info);
  });
}

fib_kernels_status fib_kernels_prepare(const fib_kernels_op* op, const fib_kernels_call* call,
                                       void* prepared) {
  return guarded([&] {
    if (op == nullptr || call == nullptr) return refuse_null("op or call");
    return op->prepare(*call, prepared);
  });
}

fib_kernels_status fib_kernels_choose(const fib_kernels_op* op, const fib_kernels_call* call,
                                      fib_kernels_choice* choice) {
  return guarded([&] {
    if (op == nullptr || call == nullptr) return refuse_null("op or call");
    if (choice == nullptr) return refuse_null("choice");
    return op->choose(*call, choice);
  });
}

fib_kernels_status fib_kernels_raw_choose(const fib_kernels_op* op,
                                          const fib_kernels_raw_call* call,
                                          fib_kernels_choice* choice) {
  return guarded([&] {
    if (op == nullptr || call == nullptr) return refuse_null("op or call");
    if (choice == nullptr) return refuse_null("choice");
    return op->choose(*call, choice);
  });
}

const fib_kernels_api* fib_kernels_get_api(uint32_t abi_major) {
  static constexpr fib_kernels_api kApi = {
      .struct_size = sizeof(fib_kernels_api),
      .abi_version = FIB_KERNELS_ABI_MAJOR << 16 | FIB_KERNELS_ABI_MINOR,
      .status_name = fib_kernels_status_name,
      .last_error = fib_kernels_last_error,
      .manifest = fib_kernels_manifest,
      .num_signatures = fib_kernels_num_signatures,
      .signature = fib_kernels_signature,
      .open = fib_kernels_open,
      .close = fib_kernels_close,
      .hardware = fib_kernels_hardware,
      .has_winners = fib_kernels_has_winners,
      .find = fib_kernels_find,
      .workspace_bytes = fib_kernels_workspace_bytes,
      .launch = fib_kernels_launch,
      .raw_workspace_bytes = fib_kernels_raw_workspace_bytes,
      .launch_raw = fib_kernels_launch_raw,
      .query_prepare = fib_kernels_query_prepare,
      .prepare = fib_kernels_prepare,
      .choose = fib_kernels_choose,
      .raw_choose = fib_kernels_raw_choose,
  };
  return abi_major == FIB_KERNELS_ABI_MAJOR ? &kApi : nullptr;
}

}  // extern "C"
