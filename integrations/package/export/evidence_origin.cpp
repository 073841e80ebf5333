#include "integrations/package/export/evidence_origin.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "integrations/package/export/buckets.h"
#include "runners/worker/header_digests.h"

namespace fib {
namespace {

// What the verdicts of one bucket, or of several, were measured of.
struct Origin {
  std::set<std::string> changed;        // headers
  std::set<int64_t> untold;             // verdicts that don't say
  std::set<std::string> architectures;  // of processors
};

class OriginReader {
 public:
  OriginReader(const OriginCheck& check, const std::string& target)
      : check_(check), target_(target) {}

  Result<Origin> read(const std::vector<int64_t>& verdicts) {
    Origin origin;
    for (const int64_t id : verdicts) FIB_CHECK(add(id, origin));
    return origin;
  }

 private:
  Result<void> add(int64_t id, Origin& origin) {
    const Verdict verdict = FIB_TRY(check_.store.get(id));
    origin.architectures.insert(verdict.device.architecture);
    const auto& libraries = verdict.device.libraries;
    const auto kept = std::find_if(libraries.begin(), libraries.end(), [](const auto& library) {
      return library.first == kHeadersLibrary;
    });
    if (kept == libraries.end()) {
      origin.untold.insert(id);
      return {};
    }
    if (!today_) today_ = FIB_TRY(header_digests(check_.abi, target_));
    const HeaderDigests then = parse_header_digests(kept->second);
    for (const std::string& key : {verdict.solution_key, verdict.incumbent_key}) {
      for (const std::string& header : *FIB_TRY(headers_of(key))) {
        const auto was = then.find(header);
        const HeaderDigests::const_iterator is = today_->find(header);
        const bool is_same =
            was == then.end() ? is == today_->end() : is != today_->end() && *was == *is;
        if (!is_same) origin.changed.insert(header);
      }
    }
    return {};
  }

  Result<const std::set<std::string>*> headers_of(const std::string& key) {
    const auto [known, is_new] = headers_.try_emplace(key);
    if (is_new) {
      known->second = FIB_TRY(included_headers(FIB_TRY(check_.store.solution(key)), check_.abi));
    }
    return &known->second;
  }

  const OriginCheck& check_;
  const std::string& target_;
  std::optional<HeaderDigests> today_;
  std::map<std::string, std::set<std::string>> headers_;  // by the solution's key
};

std::string changed_text(const std::string& winner, const BucketChoice& bucket,
                         const std::set<std::string>& changed) {
  return fmt::format("{} at {} was measured with another {}: 'fib compare' compares anew", winner,
                     describe_intervals(bucket.where), fmt::join(changed, ", "));
}

}  // namespace

Result<std::vector<std::string>> check_origins(Winners& winners, const OriginCheck& check) {
  std::vector<std::string> notes;
  PackagedSignature& packaged = winners.packaged;
  for (HardwareChoices& hardware : packaged.hardware) {
    OriginReader reader(check, hardware.target);
    WinnerExplanation told{.signature = packaged.signature->name, .hardware = hardware.hardware};
    Origin all;
    for (BucketChoice& bucket : hardware.buckets) {
      Origin origin = FIB_TRY(reader.read(bucket.evidence.verdicts));
      if (origin.untold.empty()) {
        bucket.evidence.changed_headers.emplace(origin.changed.begin(), origin.changed.end());
      }
      if (!origin.changed.empty()) {
        told.reasons.push_back(
            changed_text(packaged.solutions[bucket.solution].name, bucket, origin.changed));
        notes.push_back(
            fmt::format("{} on {}: {}", told.signature, told.hardware, told.reasons.back()));
      }
      all.untold.merge(origin.untold);
      all.architectures.merge(origin.architectures);
    }
    if (!all.untold.empty()) {
      told.reasons.push_back(
          fmt::format("measured before verdicts told which fib headers they are of: verdict{} {}",
                      all.untold.size() == 1 ? "" : "s", fmt::join(all.untold, ", ")));
    }
    if (hardware.target == "cpu") {
      if (hardware.hardware == check.host.key) all.architectures.insert(check.host.architecture);
      if (all.architectures.size() > 1) {
        told.reasons.push_back(
            fmt::format("processors of this name differ: {}", fmt::join(all.architectures, "; ")));
        notes.push_back(
            fmt::format("{} on {}: {}", told.signature, told.hardware, told.reasons.back()));
      }
    }
    if (!told.reasons.empty()) winners.explanations.push_back(std::move(told));
  }
  return notes;
}

}  // namespace fib
