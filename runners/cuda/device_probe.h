#pragma once

// What is on this machine, asked in a short-lived worker: CUDA must not be initialised in a
// process that starts others.

#include "harness/runner.h"
#include "runners/cuda/device_context.h"
#include "runners/cuda/libraries.h"
#include "runners/cuda/nvml.h"
#include "signatures/base/json.h"

namespace fib {

// {"driver": "CUDA 13.0", "devices": [...], "driver_version": "580.159.04"}; runs in the worker.
Result<Json> probe_devices(const std::filesystem::path& nvml_library);

// The datasheet's ceilings for known cards, else estimates from clocks and bus width.
void set_ceilings(const DeviceFacts& facts, DeviceInfo& info);

Json device_to_json(const DeviceInfo& info, const FibPlanDevice& plan);
DeviceInfo device_info_from_json(const Json& json);
FibPlanDevice plan_device_from_json(const Json& json);

}  // namespace fib
