#pragma once

// A design space with what each of its configurations reached, as a JSON file: strategies are
// compared on it without a device. docs/tunables.md describes the file.
//
//   {"name": "...", "about": "...", "signature": "...", "hardware": "...", "noise": 0.02,
//    "axes": {"hidden_size": 4096},
//    "tunables": {...}, "constraints": [...],
//    "measurements": [{"values": [32, 2], "speedup": 1.25}, {"values": [64, 4], "failed": "..."}]}

#include <filesystem>
#include <string>
#include <vector>

#include "agents/proposers/proposer.h"
#include "agents/proposers/tune/admitted_space.h"

namespace fib::agents {

struct Measurement {
  Point point;
  double speedup = 0.0;  // over a baseline that is the same for all; 0: it failed
  std::string failure;   // why
};

struct MeasuredSpace {
  std::string name, about, signature, hardware;
  double noise = 0.0;  // of one measurement: standard deviation of the speedup's logarithm
  std::vector<std::pair<std::string, int64_t>> axes;  // const ones that the constraints mention
  DesignSpace space;
  std::vector<Measurement> measurements;  // each configuration once; at least one worked

  double optimum() const;  // the best speedup
};

// Strict. Errors name the measurement: a value that is none of the tunable's, a configuration that
// the constraints don't admit or that is there twice.
Result<MeasuredSpace> measured_space_from_json(const Json& json, std::string_view where);
Result<MeasuredSpace> read_measured_space(const std::filesystem::path& file);
// One measurement a line.
std::string measured_space_text(const MeasuredSpace& space);

// What a search found out about one of its solutions: `parent` and all candidates that are `parent`
// set otherwise, as far as `others` has their sources. Error: fewer than two of them were measured.
Result<MeasuredSpace> measured_space_of(const Ancestor& parent, const std::vector<Ancestor>& others,
                                        const Signature& signature);

}  // namespace fib::agents
