#include "integrations/serving/traffic/captured_row.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "signatures/base/hash.h"

namespace fib {
namespace {

using AxisSizes = std::map<std::string, int64_t>;

// `axes`: the variable ones.
AxisSizes axis_sizes(const Signature& signature, const std::vector<int64_t>& axes) {
  AxisSizes sizes;
  size_t next = 0;
  for (const Axis& axis : signature.axes) {
    sizes[axis.name] = axis.kind == Axis::Kind::kConst ? axis.value : axes[next++];
  }
  return sizes;
}

size_t size_bytes(const TensorSpec& spec, const AxisSizes& sizes) {
  int64_t elements = 1;
  for (const std::string& axis : *spec.shape) elements *= sizes.at(axis);
  return storage_bytes(spec.dtype, elements);
}

// An output in the same memory has written over the input by the time the tap sees the call.
bool is_overwritten(const KernelCall& call, size_t input) {
  return std::any_of(call.outputs.begin(), call.outputs.end(),
                     [&](const Operand& output) { return output.data == call.inputs[input].data; });
}

std::string as_uuid(std::string hex) {
  hex.resize(32);
  for (const size_t at : {8u, 13u, 18u, 23u}) hex.insert(at, 1, '-');
  return hex;
}

// How unlike two calls are: by what factors their axes differ.
double distance(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    sum += std::abs(std::log1p(static_cast<double>(a[i])) - std::log1p(static_cast<double>(b[i])));
  }
  return sum;
}

}  // namespace

size_t CapturedCall::bytes() const {
  size_t sum = 0;
  for (const auto& [input, tensor] : tensors) sum += tensor->size();
  return sum;
}

CallReader::CallReader(const Signature& signature, DeviceMemory memory)
    : signature_(&signature), memory_(memory) {
  const auto find = [&](const std::vector<TensorSpec>& specs, const std::string& axis,
                        AxisPlace& place) {
    for (place.operand = 0; place.operand < specs.size(); ++place.operand) {
      const auto& shape = specs[place.operand].shape;
      if (!shape) continue;
      const auto found = std::find(shape->begin(), shape->end(), axis);
      if (found == shape->end()) continue;
      place.dimension = static_cast<int>(found - shape->begin());
      return true;
    }
    return false;
  };
  std::map<std::string, size_t> variable;  // position in axes_
  for (const Axis& axis : signature.axes) {
    if (axis.kind != Axis::Kind::kVar) continue;
    variable[axis.name] = axes_.size();
    AxisPlace place;
    if (!find(signature.inputs, axis.name, place)) {
      place.is_output = true;
      // A kernel whose call shows an axis nowhere can't be had (CallShape).
      find(signature.outputs, axis.name, place);
    }
    axes_.push_back(place);
  }
  for (size_t i = 0; i < signature.inputs.size(); ++i) {
    const TensorSpec& spec = signature.inputs[i];
    if (signature.is_weight(spec.name)) continue;
    if (!spec.shape) {
      scalars_.push_back(i);
      continue;
    }
    (is_floating(spec.dtype) ? floats_ : integers_).push_back(i);
    const auto synthesis = signature.fib.synthesis.find(spec.name);
    if (synthesis != signature.fib.synthesis.end() &&
        synthesis->second.kind == Synthesis::Kind::kIndptr && spec.dtype == DType::kInt32) {
      const auto total = variable.find(synthesis->second.total);
      offsets_.push_back(
          {i, total == variable.end() ? std::nullopt : std::optional(total->second)});
    }
  }
}

void CallReader::read_axes(const KernelCall& call, std::vector<int64_t>& axes) const {
  axes.clear();
  for (const AxisPlace& place : axes_) {
    const auto operands = place.is_output ? call.outputs : call.inputs;
    axes.push_back(operands[place.operand].shape[static_cast<size_t>(place.dimension)]);
  }
  if (call.values == InputValues::kOfThisCall) return;
  for (const Offsets& offsets : offsets_) {
    const auto* const values = reinterpret_cast<const int32_t*>(values_of(call, offsets.input));
    if (values == nullptr || !offsets.total) continue;
    axes[*offsets.total] = values[call.inputs[offsets.input].shape[0] - 1];
  }
}

const std::byte* CallReader::values_of(const KernelCall& call, size_t input) const {
  const Operand& operand = call.inputs[input];
  if (operand.host != nullptr) return static_cast<const std::byte*>(operand.host);
  if (memory_ == DeviceMemory::kHidden || is_overwritten(call, input)) return nullptr;
  return operand.data;
}

void CallReader::append_longest(const KernelCall& call, std::vector<int64_t>& key) const {
  for (const auto& [input, total] : offsets_) {
    const auto* const offsets = reinterpret_cast<const int32_t*>(values_of(call, input));
    if (offsets == nullptr) continue;
    int32_t longest = 0;
    for (int64_t i = 1; i < call.inputs[input].shape[0]; ++i) {
      longest = std::max(longest, offsets[i] - offsets[i - 1]);
    }
    key.push_back(longest);
  }
}

void CallReader::read_inputs(const KernelCall& call, Part part, Budget& budget,
                             CapturedCall& row) const {
  const AxisSizes sizes = axis_sizes(*signature_, row.axes);
  for (const size_t input : part == Part::kIntegers ? integers_ : floats_) {
    const size_t bytes = size_bytes(signature_->inputs[input], sizes);
    const std::byte* const values = values_of(call, input);
    if (bytes > 0 && values == nullptr) {
      row.missing[input] = memory_ == DeviceMemory::kReadable
                               ? "the call writes over it"
                               : "on the device, without a copy on the host";
    } else if (bytes > budget.bytes) {
      row.missing[input] = fmt::format("{} bytes are over the limit of the capture", bytes);
    } else {
      budget.bytes -= bytes;
      row.tensors[input] = std::make_shared<const std::vector<std::byte>>(values, values + bytes);
    }
  }
}

void CallReader::read_scalars(const KernelCall& call, CapturedCall& row) const {
  for (const size_t input : scalars_) row.scalars[input] = call.inputs[input].scalar;
}

RenderedRow render_row(const CapturedCall& row, const RowContext& context) {
  const Signature& signature = context.signature;
  RenderedRow out;
  Workload& workload = out.trace.workload;
  out.trace.definition = signature.name;
  workload.weight = static_cast<double>(row.calls);

  Hasher hasher;
  hasher.add(signature.name);
  const AxisSizes sizes = axis_sizes(signature, row.axes);
  for (const Axis& axis : signature.axes) {
    if (axis.kind == Axis::Kind::kConst) continue;
    const int64_t size = sizes.at(axis.name);
    workload.axes.emplace_back(axis.name, size);
    hasher.add(axis.name).add(static_cast<uint64_t>(size));
  }
  for (const auto& [input, bytes] : row.tensors) {
    const TensorSpec& spec = signature.inputs[input];
    StoredTensor tensor{.name = spec.name, .dtype = spec.dtype, .data = *bytes};
    for (const std::string& axis : *spec.shape) tensor.shape.push_back(sizes.at(axis));
    out.tensors.push_back(std::move(tensor));
    hasher.add(spec.name).add(
        std::string_view(reinterpret_cast<const char*>(bytes->data()), bytes->size()));
  }
  for (const auto& [input, value] : row.scalars) {
    hasher.add(signature.inputs[input].name).add(fmt::format("{}", value));
  }
  workload.uuid = as_uuid(hasher.hex());
  if (!out.tensors.empty()) {
    out.blob_path = fmt::format("blob/workloads/{0}/{1}/{1}_{2}.safetensors", signature.op_type,
                                signature.name, workload.uuid);
  }
  for (size_t input = 0; input < signature.inputs.size(); ++input) {
    const std::string& name = signature.inputs[input].name;
    if (row.tensors.contains(input)) {
      workload.inputs.emplace_back(name, SafetensorsInput{"./" + out.blob_path, name});
    } else if (const auto scalar = row.scalars.find(input); scalar != row.scalars.end()) {
      workload.inputs.emplace_back(name, ScalarInput{scalar->second});
    } else {
      workload.inputs.emplace_back(name, RandomInput{});
    }
  }

  // In the order of the format; the writer puts the values in.
  Json fib = {{"weight", workload.weight}};
  if (context.time_share > 0.0) fib["time_share"] = context.time_share;
  if (!context.source.empty()) fib["source"] = context.source;
  for (const auto& [input, reason] : row.missing) {
    fib["missing"][signature.inputs[input].name] = reason;
  }
  workload.original = {
      {"axes", Json::object()}, {"inputs", Json::object()}, {"uuid", ""}, {"fib", fib}};
  return out;
}

std::vector<CapturedCall> select_rows(std::vector<CapturedCall> rows, size_t count) {
  // What takes the most time first; then, again and again, what takes much time and is far from all
  // that is kept.
  std::sort(rows.begin(), rows.end(), [](const CapturedCall& a, const CapturedCall& b) {
    return std::pair(b.time_ns, a.axes) < std::pair(a.time_ns, b.axes);
  });
  std::vector<double> gap(rows.size(), std::numeric_limits<double>::infinity());
  const size_t kept = std::min(count, rows.size());
  for (size_t next = 1; next < kept; ++next) {
    size_t best = next;
    const auto merit = [&](size_t i) { return rows[i].time_ns * gap[i] * gap[i]; };
    for (size_t i = next; i < rows.size(); ++i) {
      gap[i] = std::min(gap[i], distance(rows[i].axes, rows[next - 1].axes));
      if (merit(i) > merit(best)) best = i;
    }
    std::swap(rows[next], rows[best]);
    std::swap(gap[next], gap[best]);
  }
  for (size_t i = kept; i < rows.size(); ++i) {
    CapturedCall* nearest = &rows[0];
    for (size_t k = 1; k < kept; ++k) {
      if (distance(rows[i].axes, rows[k].axes) < distance(rows[i].axes, nearest->axes)) {
        nearest = &rows[k];
      }
    }
    nearest->calls += rows[i].calls;
    nearest->time_ns += rows[i].time_ns;
  }
  rows.resize(kept);
  return rows;
}

}  // namespace fib
