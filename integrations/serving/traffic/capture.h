#pragma once

// Real traffic as workloads: a tap that keeps what the serving path's calls saw, and writes it as a
// FlashInfer-Trace dataset that `fib submit --workloads` judges kernels on. Calls that are alike
// are one row, whose weight is their number. On the hot path a call costs a hash of its axes and a
// counter; inputs are copied for new rows alone.

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "integrations/package/dispatch.h"
#include "integrations/serving/traffic/captured_row.h"

namespace fib {

// Floating inputs that a row brings along; integers it always does, as far as they can be read.
enum class FloatInputs {
  kNone,          // they are generated when the row is judged
  kFirstOfShape,  // the first row of each set of axes
  kAll,
};
// Which calls are one row.
enum class CaptureGroup {
  kCall,     // each is its own
  kShape,    // those of the same axes
  kLengths,  // those of axes alike, that is within an eighth, and of alike longest requests
};

struct CaptureOptions {
  std::filesystem::path folder;
  FloatInputs floats = FloatInputs::kNone;
  CaptureGroup group = CaptureGroup::kLengths;
  size_t max_rows = 64;      // of a signature, written; what is left out counts for its neighbours
  size_t max_groups = 4096;  // of a signature, kept; calls of further ones are counted alone
  size_t max_bytes = size_t{256} << 20;  // of inputs kept, in memory and so on disk
  std::string source;                    // said in each row: what was served, under what traffic
};

struct CapturedSignature {
  std::string name;
  uint64_t calls = 0;
  uint64_t calls_uncaptured = 0;  // beyond max_groups
  double host_s = 0.0;            // cpu: the calls themselves; cuda: enqueuing them
  // Cuda: of the calls, those that were timed on the device, and what all of them take going by
  // these.
  uint64_t sampled_calls = 0;
  double device_s = 0.0;
  // Of all signatures' time: cpu host_s, cuda device_s. 0 where no call was timed.
  double time_share = 0.0;
  size_t groups = 0, rows = 0;
};
struct CaptureSummary {
  std::vector<CapturedSignature> signatures;  // the longest first
  size_t bytes_kept = 0;
};

class Capture final : public CallTap {
 public:
  // kConflict: the folder holds workloads already.
  static Result<std::unique_ptr<Capture>> start(Dispatch& dispatch, CaptureOptions options);
  ~Capture() override;

  void on_call(const Kernel& kernel, const KernelCall& call, double host_ns) override;
  void on_device_time(const Kernel& kernel, const KernelCall& call, double device_ns) override;
  bool wants_computed() const override { return true; }

  // Writes what there is, from any thread, as often as wanted: workloads/<op_type>/<name>.jsonl,
  // blobs beside, capture.json with the summary. A reader sees an earlier state or this one.
  Result<CaptureSummary> write();

 private:
  struct KeyHash {
    size_t operator()(const std::vector<int64_t>& key) const;
  };
  struct SignatureCalls {
    std::unique_ptr<CallReader> reader;
    std::unordered_map<std::vector<int64_t>, CapturedCall, KeyHash> groups;
    // Of the last call: the layers of a step come one after the other with the same.
    std::vector<int64_t> last_key;
    CapturedCall* last_row = nullptr;
    std::set<std::vector<int64_t>> shapes_with_floats;
    uint64_t calls = 0, calls_uncaptured = 0;
    double host_ns = 0.0;
    SampledTime sampled;
  };
  struct Snapshot;

  Capture(Dispatch& dispatch, CaptureOptions options);
  SignatureCalls& calls_of(const Kernel& kernel);
  void make_key(const CallReader& reader, const KernelCall& call);
  void keep(SignatureCalls& signature, CapturedCall& row, const KernelCall& call);
  std::vector<Snapshot> snapshot() const;
  Snapshot snapshot_of(const std::string& name, const SignatureCalls& signature) const;
  Result<void> write_signature(const Snapshot& signature, double total_s);
  Result<void> write_blob(const RenderedRow& row);
  Result<void> write_summary(const CaptureSummary& summary) const;
  void remove_old_blobs();

  Dispatch& dispatch_;
  const CaptureOptions options_;
  const bool can_read_device_;
  mutable std::mutex mutex_;  // of what follows
  // By name: kernels may differ in parameters alone.
  std::map<std::string, SignatureCalls> signatures_;
  std::unordered_map<const Kernel*, SignatureCalls*> kernels_;
  std::vector<int64_t> axes_, key_;  // of the call at hand
  size_t bytes_kept_ = 0;
  std::mutex write_mutex_;                // of what follows
  std::set<std::string> blobs_, wanted_;  // on disk; of the rows being written
};

}  // namespace fib
