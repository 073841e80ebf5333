#include "agents/proposers/tune/measured_space.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "agents/proposers/tune/trials.h"

namespace fib::agents {

namespace {

// A signature of these axes and no more, for the constraints.
Signature signature_of(const MeasuredSpace& space) {
  Signature signature;
  signature.name = space.name;
  for (const auto& [name, value] : space.axes) {
    signature.axes.push_back({.name = name, .kind = Axis::Kind::kConst, .value = value});
  }
  return signature;
}

Result<Point> read_values(const JsonView& view, const MeasuredSpace& space,
                          const Signature& signature) {
  const auto items = FIB_TRY(view.array());
  if (items.size() != space.space.tunables.size()) {
    return view.error(
        fmt::format("{} values for {} tunables", items.size(), space.space.tunables.size()));
  }
  Configuration configuration;
  for (const JsonView& item : items) configuration.push_back(FIB_TRY(item.integer()));
  const auto point = point_of(space.space, configuration);
  if (!point) return view.error("a value is not one of its tunable's");
  if (!FIB_TRY(admits(space.space, configuration, signature))) {
    return view.error("the constraints don't admit this configuration");
  }
  return *point;
}

Result<Measurement> read_measurement(const JsonView& view, const MeasuredSpace& space,
                                     const Signature& signature) {
  FIB_CHECK(view.only_keys({"values", "speedup", "failed"}));
  Measurement measurement;
  measurement.point = FIB_TRY(read_values(FIB_TRY(view.at("values")), space, signature));
  const auto speedup = view.find("speedup"), failed = view.find("failed");
  if (speedup.has_value() == failed.has_value()) {
    return view.error("either 'speedup' or 'failed' says what became of it");
  }
  if (failed) {
    measurement.failure = FIB_TRY(failed->non_empty_string());
    return measurement;
  }
  measurement.speedup = FIB_TRY(speedup->number());
  if (!(measurement.speedup > 0.0) || !std::isfinite(measurement.speedup)) {
    return speedup->error("a speedup is positive");
  }
  return measurement;
}

Result<void> read_measurements(const JsonView& view, MeasuredSpace& space) {
  const Signature signature = signature_of(space);
  FIB_CHECK(check_constraints(space.space, signature));
  const auto items = FIB_TRY(view.array());
  PointSet seen;
  for (const JsonView& item : items) {
    Measurement measurement = FIB_TRY(read_measurement(item, space, signature));
    if (!seen.insert(measurement.point).second) {
      return item.error("this configuration is there twice");
    }
    space.measurements.push_back(std::move(measurement));
  }
  if (space.optimum() == 0.0) return view.error("no configuration worked");
  return {};
}

Result<std::string> optional_string(const JsonView& view, std::string_view key) {
  const auto member = view.find(key);
  return member ? member->string() : std::string();
}

Measurement measurement_of(const Point& point, const CandidateRecord& record) {
  Measurement measurement{.point = point};
  if (record.fate == CandidateFate::kMeasured || record.was_beaten()) {
    measurement.speedup = record.speedup;
  } else if (record.fate == CandidateFate::kSlow && record.screen_speedup > 0.0) {
    measurement.speedup = record.screen_speedup;
  } else {
    measurement.failure = record.refusal.reason.empty() ? "failed" : record.refusal.reason;
  }
  return measurement;
}

}  // namespace

double MeasuredSpace::optimum() const {
  double best = 0.0;
  for (const Measurement& measurement : measurements) best = std::max(best, measurement.speedup);
  return best;
}

Result<MeasuredSpace> measured_space_from_json(const Json& json, std::string_view where) {
  const JsonView root(json, std::string(where));
  FIB_CHECK(root.only_keys({"name", "about", "signature", "hardware", "noise", "axes", "tunables",
                            "constraints", "measurements"}));
  MeasuredSpace space;
  space.name = FIB_TRY(FIB_TRY(root.at("name")).non_empty_string());
  space.about = FIB_TRY(optional_string(root, "about"));
  space.signature = FIB_TRY(optional_string(root, "signature"));
  space.hardware = FIB_TRY(optional_string(root, "hardware"));
  if (const auto noise = root.find("noise")) {
    space.noise = FIB_TRY(noise->number());
    if (!(space.noise >= 0.0 && space.noise < 1.0)) return noise->error("noise is from 0 to 1");
  }
  if (const auto axes = root.find("axes")) {
    const auto members = FIB_TRY(axes->object());
    for (const auto& [name, value] : members) {
      space.axes.emplace_back(name, FIB_TRY(value.integer()));
    }
  }
  space.space = FIB_TRY(read_design_space(root, {}));
  const JsonView measurements = FIB_TRY(root.at("measurements"));
  if (space.space.tunables.empty()) return root.error("no 'tunables' are declared");
  FIB_CHECK(read_measurements(measurements, space));
  return space;
}

Result<MeasuredSpace> read_measured_space(const std::filesystem::path& file) {
  return measured_space_from_json(FIB_TRY(read_json_file(file)), file.string());
}

std::string measured_space_text(const MeasuredSpace& space) {
  Json json = {{"name", space.name},         {"about", space.about}, {"signature", space.signature},
               {"hardware", space.hardware}, {"noise", space.noise}, {"axes", Json::object()}};
  for (const auto& [name, value] : space.axes) json["axes"][name] = value;
  write_design_space(space.space, json);
  std::string text = dump_json_pretty(json);
  text.erase(text.rfind("\n}"));
  text += ",\n  \"measurements\": [";
  const char* separator = "\n";
  for (const Measurement& measurement : space.measurements) {
    Json row = {{"values", configuration_at(space.space, measurement.point)}};
    if (measurement.failure.empty()) {
      row["speedup"] = measurement.speedup;
    } else {
      row["failed"] = measurement.failure;
    }
    text += separator + ("    " + dump_json(row));
    separator = ",\n";
  }
  return text + "\n  ]\n}\n";
}

Result<MeasuredSpace> measured_space_of(const Ancestor& parent, const std::vector<Ancestor>& others,
                                        const Signature& signature) {
  MeasuredSpace space;
  space.name = parent.solution.name;
  space.about = parent.solution.description;
  space.signature = signature.name;
  for (const Axis& axis : signature.axes) {
    if (axis.kind == Axis::Kind::kConst) space.axes.emplace_back(axis.name, axis.value);
  }
  space.space = FIB_TRY(design_space_of(parent.solution));
  space.space.variations.clear();
  if (space.space.tunables.empty()) {
    return fail(ErrorCode::kInvalidInput, "declares no tunables", parent.solution.name);
  }
  PointSet seen;
  double deviations = 0.0;
  int64_t measured = 0;
  const auto add = [&](const Ancestor& one) {
    const auto configuration = configuration_of(one.solution, space.space);
    if (!configuration || !is_set_otherwise(one.solution, parent.solution, space.space)) return;
    const auto point = point_of(space.space, *configuration);
    const bool is_admitted = admits(space.space, *configuration, signature).value_or(false);
    if (!is_admitted || !seen.insert(*point).second) return;
    space.measurements.push_back(measurement_of(*point, one.record));
    if (one.record.fate != CandidateFate::kMeasured) return;
    ++measured;
    deviations += noise_of(one.record);
  };
  add(parent);
  for (const Ancestor& other : others) add(other);
  if (measured < 2) {
    return fail(ErrorCode::kInvalidInput, "fewer than two configurations were measured",
                parent.solution.name, "let `tune` search it first");
  }
  space.noise = deviations / static_cast<double>(measured);
  return space;
}

}  // namespace fib::agents
