#pragma once

// One call of a signature, as the serving path makes it: tensors by address and shape, and the
// kernel that carries it out.

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "integrations/package/device.h"
#include "signatures/signature.h"

namespace fib {

// A view of a row-major contiguous tensor on the device, or a host scalar.
struct Operand {
  static constexpr int kMaxRank = 5;

  std::byte* data = nullptr;              // device address; null for host scalars and empty tensors
  std::array<int64_t, kMaxRank> shape{};
  int rank = 0;
  double scalar = 0.0;                    // of a host scalar
  // Host copy of an input, or null: what the device has there when the call runs, in a graph at
  // each launch. So it must stay at its place while a graph that holds the call lives.
  const void* host = nullptr;
  // Of an input that an earlier call of the step computes on a card: where its host copy will be
  // when the step is done, if a tap asks for such (CallTap::wants_computed).
  const void* host_at_end = nullptr;

  static Operand tensor(const DeviceArray& array, std::initializer_list<int64_t> shape);
  static Operand tensor(std::byte* data, std::initializer_list<int64_t> shape);
  static Operand value(double scalar);
};

// Weights laid out by a kernel's prepare step. Kept by whoever loaded the model.
class PreparedWeights {
 public:
  virtual ~PreparedWeights() = default;
  virtual size_t bytes() const = 0;
  // True if the call no longer reads the original weights, whose memory may then be freed.
  virtual bool replaces_originals() const = 0;
};

// Whether a call's integers are known when it is made.
enum class InputValues {
  kOfThisCall,  // a plan may follow the host copies of inputs that the signature marks host-visible
  // The call is, or is about to be, captured into a graph that is launched with other values: a plan
  // may depend on the axes alone, which are taken as capacities (a longer kv_indices than kv_indptr
  // says). A solution that can't do without values refuses, as it does where host copies are null.
  kOfEachLaunch,
};

struct KernelCall {
  std::span<const Operand> inputs;   // signature order
  std::span<const Operand> outputs;  // signature order
  const PreparedWeights* prepared = nullptr;
  InputValues values = InputValues::kOfThisCall;
  // How many of the last rows are a graph's padding at this launch, or null: none are. As host
  // copies it stays at its place.
  const int32_t* padding_rows = nullptr;
};

class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual const Signature& signature() const = 0;
  virtual std::string_view solution() const = 0;  // that served the last call: "rmsnorm-rows"
  // Whose it is, where that isn't the dispatch that handed it out: "house" of what a package lacks.
  virtual std::string_view lender() const { return {}; }

  // Enqueues the call on the device's queue. Shapes that don't fit the signature and a plan that
  // refuses the shape are errors (kInvalidInput, kUnsupported) before anything
  // is enqueued. Workspace is the dispatch's, grown on demand, but not while capturing.
  virtual Result<void> run(const KernelCall& call) = 0;

  // Lays out the weights among `inputs` (others may be null). nullptr: this kernel has no such step.
  virtual Result<std::unique_ptr<PreparedWeights>> prepare(std::span<const Operand> inputs) = 0;
};

}  // namespace fib
