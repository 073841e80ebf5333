#include "integrations/package/package_evidence.h"

#include <cmath>

namespace fib {
namespace {

struct LogMean {
  double sum = 0.0;
  int count = 0;
};
using LogMeans = std::map<std::pair<std::string, std::string>, LogMean>;

void add_bucket(const std::string& signature, const Json& bucket, LogMeans& means) {
  const double speedup = bucket.at("evidence").at("speedup").get<double>();
  if (speedup <= 0.0) return;  // a choice that nothing was measured for
  LogMean& mean = means[{signature, bucket.at("solution").get<std::string>()}];
  mean.sum += std::log(speedup);
  ++mean.count;
}

}  // namespace

Result<PromisedSpeedups> promised_speedups(const Json& manifest, std::string_view hardware) {
  LogMeans means;
  try {
    for (const Json& signature : manifest.at("signatures")) {
      const auto name = signature.at("name").get<std::string>();
      for (const Json& choices : signature.at("hardware")) {
        if (choices.at("hardware").get<std::string>() != hardware) continue;
        for (const Json& bucket : choices.at("buckets")) add_bucket(name, bucket, means);
      }
    }
  } catch (const Json::exception& error) {
    return fail(ErrorCode::kInvalidInput, error.what(), "manifest.json",
                "export the package anew with this fib");
  }
  PromisedSpeedups speedups;
  for (const auto& [key, mean] : means) speedups[key] = std::exp(mean.sum / mean.count);
  return speedups;
}

}  // namespace fib
