// What lies in the buffers of a call before it and after: values, rubbish, digests.

#include <algorithm>

#include "runners/cuda/device_measure.h"

namespace fib {

Result<void> DeviceMeasure::fill_input(size_t index, uint32_t set, CUdeviceptr address) {
  const DeviceTensor& input = problem_.inputs[index];
  const DeviceSource& source = problem_.sets.at(set).at(index);
  if (input.bytes == 0) return {};
  if (source.original) {
    const CudaDriver& driver = device_.context.driver();
    return driver.check(
        driver.cuMemcpyDtoDAsync(address,
                                 device_.originals.address() + original_offsets_[*source.original],
                                 input.bytes, device_.context.stream()),
        "input copy");
  }
  return device_.kernels.fill({.rule = source.rule,
                               .seed = source.seed,
                               .stream = source.stream,
                               .out = address,
                               .count = static_cast<uint64_t>(input.elements)});
}

// What an earlier call might have left: all ones (NaN in every float format), zeros, or plausible
// values. Drawn, so that it can't be told from a real output.
Result<void> DeviceMeasure::poison(CUdeviceptr address, uint64_t bytes, LayoutRandom& random) {
  if (bytes == 0) return {};
  const uint64_t kind = random() % 4;
  if (kind < 2) {
    const CudaDriver& driver = device_.context.driver();
    return driver.check(driver.cuMemsetD8Async(address, kind == 0 ? 0xFF : 0x00, bytes,
                                               device_.context.stream()),
                        "poison");
  }
  FillArguments fill{.seed = random(), .stream = 0, .out = address, .count = bytes / 2};
  fill.rule = {.kind = kNormalValue,
               .format = kStoreBFloat16,  // plausible as fp16 and as float32 too
               .width = 16,
               .scale = kind == 2 ? 1.0f : 0.01f,
               .offset = 0.0f,
               .lowest = -4.0f,
               .highest = 4.0f,
               .count = 1};
  return device_.kernels.fill(fill);
}

Result<void> DeviceMeasure::furnish_outputs(const Layout& layout, uint32_t set,
                                            LayoutRandom& random) {
  for (size_t i = 0; i < problem_.outputs.size(); ++i) {
    const CUdeviceptr address = layout.addresses[call_inputs_.size() + i];
    if (const auto input = problem_.outputs[i].in_place_of) {
      FIB_CHECK(fill_input(*input, set, address));
    } else {
      FIB_CHECK(poison(address, problem_.outputs[i].bytes, random));
    }
  }
  return {};
}

Result<void> DeviceMeasure::digest_inputs(const Layout& layout, bool with_residents,
                                          CUdeviceptr digest) {
  const auto add = [&](size_t input, CUdeviceptr address) {
    return device_.kernels.digest({.address = address,
                                   .bytes = problem_.inputs[input].bytes,
                                   .salt = problem_.salt + input,
                                   .digest = digest});
  };
  for (size_t i = 0; i < call_inputs_.size(); ++i) {
    FIB_CHECK(add(call_inputs_[i], layout.addresses[i]));
  }
  if (!with_residents) return {};
  for (size_t i = 0; i < resident_inputs_.size(); ++i) {
    FIB_CHECK(add(resident_inputs_[i], residents_.addresses[i]));
  }
  return {};
}

Result<void> DeviceMeasure::digest_outputs(const Layout& layout, CUdeviceptr digest) {
  for (size_t i = 0; i < problem_.outputs.size(); ++i) {
    FIB_CHECK(device_.kernels.digest({.address = layout.addresses[call_inputs_.size() + i],
                                      .bytes = problem_.outputs[i].bytes,
                                      .salt = problem_.salt + kOutputSalt + i,
                                      .digest = digest}));
  }
  return {};
}

Result<DeviceMeasure::Digest> DeviceMeasure::read_digest(CUdeviceptr digest) {
  const CudaDriver& driver = device_.context.driver();
  Digest* copy = device_.report_copy.as<Digest>();
  FIB_CHECK(driver.check(
      driver.cuMemcpyDtoHAsync(copy, digest, sizeof(Digest), device_.context.stream()), "digest"));
  FIB_CHECK(device_.context.wait(problem_.call_timeout_s));
  return *copy;
}

Result<void> DeviceMeasure::place_residents(uint32_t set, LayoutRandom& random) {
  resident_set_ = set;
  const std::vector<LayoutBuffer> buffers = resident_buffers();
  residents_ = lay_out(buffers, device_.arena.address() + call_room_,
                       std::max(resident_room_, layout_bytes(buffers)), problem_.salt ^ random(),
                       random);
  for (size_t i = 0; i < resident_inputs_.size(); ++i) {
    FIB_CHECK(fill_input(resident_inputs_[i], set, residents_.addresses[i]));
  }
  size_t next = resident_inputs_.size();
  for (Contender& contender : contenders_) {
    contender.prepared =
        contender.plan.prepared_bytes > 0 ? residents_.addresses[next++] : CUdeviceptr{0};
  }
  return device_.kernels.write_guards(residents_.guards);
}

PlanAddresses DeviceMeasure::addresses_of(const Contender& contender, const Layout& layout) const {
  PlanAddresses addresses;
  addresses.inputs.resize(problem_.inputs.size());
  for (size_t i = 0; i < call_inputs_.size(); ++i) {
    addresses.inputs[call_inputs_[i]] = layout.addresses[i];
  }
  for (size_t i = 0; i < resident_inputs_.size(); ++i) {
    addresses.inputs[resident_inputs_[i]] = residents_.addresses[i];
  }
  for (size_t i = 0; i < problem_.outputs.size(); ++i) {
    addresses.outputs.push_back(layout.addresses[call_inputs_.size() + i]);
  }
  addresses.workspace = layout.addresses.back();
  addresses.prepared = contender.prepared;
  return addresses;
}

}  // namespace fib
