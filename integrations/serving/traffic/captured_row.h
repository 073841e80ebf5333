#pragma once

// One captured call: how its axes and inputs are read from a kernel's operands, and how it becomes
// a row of a dataset.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "integrations/package/kernel.h"
#include "signatures/base/safetensors.h"
#include "signatures/trace.h"

namespace fib {

// Calls that were timed on the device, of which most are not.
struct SampledTime {
  uint64_t calls = 0;
  double device_ns = 0.0;

  void add(double call_ns) {
    ++calls;
    device_ns += call_ns;
  }
  double mean_ns() const { return calls == 0 ? 0.0 : device_ns / static_cast<double>(calls); }
};

struct CapturedCall {  // and those like it
  uint64_t calls = 0;
  double host_ns = 0.0;
  SampledTime sampled;
  double time_ns = 0.0;       // of all the calls, as Capture::write() works it out
  std::vector<int64_t> axes;  // the variable ones, in the signature's order
  using Bytes = std::shared_ptr<const std::vector<std::byte>>;
  std::map<size_t, Bytes> tensors;        // by position among the inputs
  bool has_floats = false;                // among the tensors, as far as they could be had
  std::map<size_t, double> scalars;       // likewise
  std::map<size_t, std::string> missing;  // wanted inputs that couldn't be had, and why
  size_t bytes() const;
};

// Knows where a signature's calls show what.
class CallReader {
 public:
  enum class DeviceMemory { kReadable, kHidden };
  CallReader(const Signature& signature, DeviceMemory memory);

  const Signature& signature() const { return *signature_; }
  // Of a call in a graph the page tables are as long as their offsets say at this launch, not as
  // long as the graph has room for.
  void read_axes(const KernelCall& call, std::vector<int64_t>& axes) const;
  // The longest request by each of the offsets (queries, keys), as far as they can be read.
  void append_longest(const KernelCall& call, std::vector<int64_t>& key) const;

  enum class Part { kIntegers, kFloats };
  struct Budget {
    size_t bytes = 0;  // that may still be kept
  };
  // Copies the inputs of this kind, weights aside, into `row`, which has its axes.
  void read_inputs(const KernelCall& call, Part part, Budget& budget, CapturedCall& row) const;
  void read_scalars(const KernelCall& call, CapturedCall& row) const;

 private:
  struct AxisPlace {
    bool is_output = false;
    size_t operand = 0;
    int dimension = 0;
  };
  struct Offsets {
    size_t input = 0;
    std::optional<size_t> total;  // which of axes_ the last one is
  };
  // The values of an input as they were when the call was made; null: can't be had.
  const std::byte* values_of(const KernelCall& call, size_t input) const;

  const Signature* signature_;
  const DeviceMemory memory_;
  std::vector<AxisPlace> axes_;
  std::vector<Offsets> offsets_;
  std::vector<size_t> integers_, floats_, scalars_;  // positions of inputs
};

// The row, its blob's path relative to the dataset's root and its content (valid while `row` is).
// The id follows from the content, so that equal captures give equal files.
struct RenderedRow {
  Trace trace;
  std::string blob_path;  // empty: nothing to store
  std::vector<StoredTensor> tensors;
};
struct RowContext {
  const Signature& signature;
  std::string source;
  double time_share = 0.0;  // of all calls; 0 where it isn't known
};
RenderedRow render_row(const CapturedCall& row, const RowContext& context);

// At most `count` of the calls, those that stand for the traffic's time and its variety; each that
// is left out adds its numbers to the nearest that is kept.
std::vector<CapturedCall> select_rows(std::vector<CapturedCall> rows, size_t count);

}  // namespace fib
