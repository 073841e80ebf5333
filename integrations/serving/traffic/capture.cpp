#include "integrations/serving/traffic/capture.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <tuple>
#include <utility>

#include "signatures/base/file.h"
#include "signatures/base/json.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

// Sizes up to 15 as they are; of larger ones the four highest bits, which makes those alike that
// are within an eighth of one another.
int64_t alike(int64_t size) {
  constexpr int kBits = 4;
  const int low_bits =
      std::max(0, static_cast<int>(std::bit_width(static_cast<uint64_t>(size))) - kBits);
  return size >> low_bits << low_bits;
}

Json signature_to_json(const CapturedSignature& signature) {
  return {{"name", signature.name},
          {"calls", signature.calls},
          {"calls_uncaptured", signature.calls_uncaptured},
          {"host_s", signature.host_s},
          {"sampled_calls", signature.sampled_calls},
          {"device_s", signature.device_s},
          {"time_share", signature.time_share},
          {"groups", signature.groups},
          {"rows", signature.rows}};
}

}  // namespace

// What a write needs of a signature, so that calls go on meanwhile.
struct Capture::Snapshot {
  const CallReader* reader = nullptr;
  std::vector<CapturedCall> rows;
  CapturedSignature counts;
  double time_s = 0.0;  // of its calls, where they run; 0: not known
};

size_t Capture::KeyHash::operator()(const std::vector<int64_t>& key) const {
  uint64_t hash = key.size();
  for (const int64_t value : key) {
    hash = (hash ^ static_cast<uint64_t>(value)) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 32;
  }
  return hash;
}

Capture::Capture(Dispatch& dispatch, CaptureOptions options)
    : dispatch_(dispatch),
      options_(std::move(options)),
      can_read_device_(dispatch.device().info().target == "cpu") {
  dispatch_.add_tap(*this);
}

Capture::~Capture() { dispatch_.remove_tap(*this); }

Result<std::unique_ptr<Capture>> Capture::start(Dispatch& dispatch, CaptureOptions options) {
  std::error_code error;
  for (const char* part : {"workloads", "blob"}) {
    if (!fs::exists(options.folder / part, error)) continue;
    return fail(ErrorCode::kConflict, fmt::format("there is a '{}' in it already", part),
                options.folder.string(), "name another folder, or remove what is there");
  }
  fs::create_directories(options.folder, error);
  if (error) return fail(ErrorCode::kIo, error.message(), options.folder.string());
  return std::unique_ptr<Capture>(new Capture(dispatch, std::move(options)));
}

Capture::SignatureCalls& Capture::calls_of(const Kernel& kernel) {
  SignatureCalls*& known = kernels_[&kernel];
  if (known == nullptr) {
    known = &signatures_[kernel.signature().name];
    if (!known->reader) {
      known->reader = std::make_unique<CallReader>(
          kernel.signature(), can_read_device_ ? CallReader::DeviceMemory::kReadable
                                               : CallReader::DeviceMemory::kHidden);
    }
  }
  return *known;
}

void Capture::make_key(const CallReader& reader, const KernelCall& call) {
  key_ = axes_;
  if (options_.group != CaptureGroup::kLengths) return;
  reader.append_longest(call, key_);
  for (int64_t& size : key_) size = alike(size);
}

void Capture::on_call(const Kernel& kernel, const KernelCall& call, double host_ns) {
  const std::lock_guard lock(mutex_);
  SignatureCalls& signature = calls_of(kernel);
  ++signature.calls;
  signature.host_ns += host_ns;
  signature.reader->read_axes(call, axes_);
  make_key(*signature.reader, call);
  if (options_.group == CaptureGroup::kCall) key_ = {static_cast<int64_t>(signature.calls)};

  if (signature.last_row == nullptr || signature.last_key != key_) {
    auto found = signature.groups.find(key_);
    if (found == signature.groups.end()) {
      if (signature.groups.size() >= options_.max_groups) {
        ++signature.calls_uncaptured;
        return;
      }
      found = signature.groups.try_emplace(key_).first;
    }
    signature.last_key = key_;
    signature.last_row = &found->second;
  }
  CapturedCall& row = *signature.last_row;
  ++row.calls;
  row.host_ns += host_ns;
  // A group's first call is often its smallest: lengths grow as requests go on. So the 2nd, the 4th
  // and so on take its place, and the row comes from the later half of its calls.
  if (std::has_single_bit(row.calls)) keep(signature, row, call);
}

// What enqueuing takes says nothing of a card's calls: their time is that of the sampled ones.
void Capture::on_device_time(const Kernel& kernel, const KernelCall& call, double device_ns) {
  if (can_read_device_) return;
  const std::lock_guard lock(mutex_);
  SignatureCalls& signature = calls_of(kernel);
  signature.sampled.add(device_ns);
  if (options_.group == CaptureGroup::kCall) return;  // which one it was is not known any more
  signature.reader->read_axes(call, axes_);
  make_key(*signature.reader, call);
  const auto row = signature.groups.find(key_);
  if (row != signature.groups.end()) row->second.sampled.add(device_ns);
}

void Capture::keep(SignatureCalls& signature, CapturedCall& row, const KernelCall& call) {
  const CallReader& reader = *signature.reader;
  const bool had_floats = std::exchange(row.has_floats, false);
  if (had_floats) signature.shapes_with_floats.erase(row.axes);
  bytes_kept_ -= row.bytes();
  row.axes = axes_;
  row.tensors.clear();
  row.missing.clear();
  CallReader::Budget budget{options_.max_bytes - std::min(bytes_kept_, options_.max_bytes)};
  reader.read_scalars(call, row);
  reader.read_inputs(call, CallReader::Part::kIntegers, budget, row);
  row.has_floats =
      options_.floats == FloatInputs::kAll || (options_.floats == FloatInputs::kFirstOfShape &&
                                               signature.shapes_with_floats.insert(axes_).second);
  if (row.has_floats) reader.read_inputs(call, CallReader::Part::kFloats, budget, row);
  bytes_kept_ += row.bytes();
}

std::vector<Capture::Snapshot> Capture::snapshot() const {
  const std::lock_guard lock(mutex_);
  std::vector<Snapshot> all;
  for (const auto& [name, signature] : signatures_) all.push_back(snapshot_of(name, signature));
  std::sort(all.begin(), all.end(), [](const Snapshot& a, const Snapshot& b) {
    return std::tuple(b.time_s, b.counts.host_s, a.counts.name) <
           std::tuple(a.time_s, a.counts.host_s, b.counts.name);
  });
  return all;
}

Capture::Snapshot Capture::snapshot_of(const std::string& name,
                                       const SignatureCalls& signature) const {
  Snapshot snapshot{.reader = signature.reader.get()};
  const double mean_ns = signature.sampled.mean_ns();
  double device_ns = mean_ns * static_cast<double>(signature.calls_uncaptured);
  for (const auto& [key, row] : signature.groups) {
    CapturedCall& copy = snapshot.rows.emplace_back(row);
    const double row_ns = row.sampled.calls > 0 ? row.sampled.mean_ns() : mean_ns;
    copy.time_ns = row_ns * static_cast<double>(row.calls);
    device_ns += copy.time_ns;
    // On a card without a sample enqueuing says at least how often they were called.
    if (signature.sampled.calls == 0) copy.time_ns = row.host_ns;
  }
  snapshot.counts = {.name = name,
                     .calls = signature.calls,
                     .calls_uncaptured = signature.calls_uncaptured,
                     .host_s = signature.host_ns / 1e9,
                     .sampled_calls = signature.sampled.calls,
                     .device_s = device_ns / 1e9,
                     .groups = signature.groups.size()};
  snapshot.time_s = can_read_device_ ? snapshot.counts.host_s : snapshot.counts.device_s;
  return snapshot;
}

Result<CaptureSummary> Capture::write() {
  const std::lock_guard lock(write_mutex_);
  std::vector<Snapshot> signatures = snapshot();
  double total_s = 0.0;
  for (const Snapshot& signature : signatures) total_s += signature.time_s;
  CaptureSummary summary;
  wanted_.clear();
  for (Snapshot& signature : signatures) {
    signature.rows = select_rows(std::move(signature.rows), options_.max_rows);
    CapturedSignature& counts = signature.counts;
    counts.rows = signature.rows.size();
    counts.time_share = total_s > 0.0 ? signature.time_s / total_s : 0.0;
    FIB_CHECK(write_signature(signature, total_s));
    summary.signatures.push_back(counts);
  }
  FIB_CHECK(write_summary(summary));
  remove_old_blobs();
  const std::lock_guard counting(mutex_);
  summary.bytes_kept = bytes_kept_;
  return summary;
}

Result<void> Capture::write_signature(const Snapshot& signature, double total_s) {
  const Signature& definition = signature.reader->signature();
  std::vector<Trace> rows;
  std::map<std::string, size_t> by_id;  // equal calls, where each was to be a row of its own
  for (const CapturedCall& row : signature.rows) {
    const double share = signature.time_s > 0.0 ? row.time_ns / 1e9 / total_s : 0.0;
    RenderedRow rendered =
        render_row(row, {.signature = definition, .source = options_.source, .time_share = share});
    Workload& workload = rendered.trace.workload;
    const auto [known, is_new] = by_id.emplace(workload.uuid, rows.size());
    if (!is_new) {
      rows[known->second].workload.weight += workload.weight;
      continue;
    }
    if (!rendered.blob_path.empty()) FIB_CHECK(write_blob(rendered));
    rows.push_back(std::move(rendered.trace));
  }
  std::string text;
  for (const Trace& row : rows) text += dump_json(trace_to_json(row)) + "\n";
  const fs::path file =
      options_.folder / "workloads" / definition.op_type / (definition.name + ".jsonl");
  std::error_code error;
  fs::create_directories(file.parent_path(), error);
  if (error) return fail(ErrorCode::kIo, error.message(), file.parent_path().string());
  return write_file_atomically(file, text);
}

Result<void> Capture::write_blob(const RenderedRow& row) {
  wanted_.insert(row.blob_path);
  if (blobs_.contains(row.blob_path)) return {};
  const fs::path blob = options_.folder / row.blob_path;
  std::error_code error;
  fs::create_directories(blob.parent_path(), error);
  if (error) return fail(ErrorCode::kIo, error.message(), blob.parent_path().string());
  FIB_CHECK(write_safetensors(blob, row.tensors));
  blobs_.insert(row.blob_path);
  return {};
}

Result<void> Capture::write_summary(const CaptureSummary& summary) const {
  const ServingDeviceInfo& device = dispatch_.device().info();
  Json json = {{"source", options_.source},
               {"target", device.target},
               {"device", device.name},
               {"signatures", Json::array()}};
  for (const CapturedSignature& signature : summary.signatures) {
    json["signatures"].push_back(signature_to_json(signature));
  }
  return write_file_atomically(options_.folder / "capture.json", dump_json_pretty(json));
}

// Those of an earlier write whose rows have given way to others; no row names them any more.
void Capture::remove_old_blobs() {
  for (auto blob = blobs_.begin(); blob != blobs_.end();) {
    if (wanted_.contains(*blob)) {
      ++blob;
      continue;
    }
    std::error_code ignored;  // a file left behind does no harm
    fs::remove(options_.folder / *blob, ignored);
    blob = blobs_.erase(blob);
  }
}

}  // namespace fib
