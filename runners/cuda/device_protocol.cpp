#include "runners/cuda/device_protocol.h"

#include <cstring>
#include <stdexcept>
#include <type_traits>

namespace fib {
namespace {

// Plain structs travel as the hex of their bytes: exact, infinities included.
template <class T>
std::string to_hex(const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  constexpr char kDigits[] = "0123456789abcdef";
  unsigned char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  std::string hex;
  for (const unsigned char byte : bytes) hex.append({kDigits[byte >> 4], kDigits[byte & 15]});
  return hex;
}

template <class T>
T from_hex(const std::string& hex) {
  if (hex.size() != 2 * sizeof(T)) throw std::logic_error("hex of a wrong length");
  unsigned char bytes[sizeof(T)];
  for (size_t i = 0; i < sizeof(T); ++i) {
    bytes[i] = static_cast<unsigned char>(std::stoi(hex.substr(2 * i, 2), nullptr, 16));
  }
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

Json tensor_to_json(const DeviceTensor& tensor) {
  Json json = {{"name", tensor.name},         {"dtype", static_cast<int>(tensor.dtype)},
               {"elements", tensor.elements}, {"bytes", tensor.bytes},
               {"scalar", tensor.is_scalar},  {"resident", tensor.is_resident}};
  if (tensor.in_place_of) json["in_place_of"] = *tensor.in_place_of;
  return json;
}

DeviceTensor tensor_from_json(const Json& json) {
  DeviceTensor tensor{.name = json.at("name"),
                      .dtype = static_cast<DType>(json.at("dtype").get<int>()),
                      .elements = json.at("elements"),
                      .bytes = json.at("bytes"),
                      .is_scalar = json.at("scalar"),
                      .is_resident = json.at("resident")};
  if (json.contains("in_place_of")) tensor.in_place_of = json.at("in_place_of").get<size_t>();
  return tensor;
}

template <class List, class Function>
Json list_to_json(const List& list, Function&& function) {
  Json json = Json::array();
  for (const auto& item : list) json.push_back(function(item));
  return json;
}

}  // namespace

Json to_json(const DeviceProblem& problem) {
  Json json;
  json["inputs"] = list_to_json(problem.inputs, tensor_to_json);
  json["outputs"] = list_to_json(problem.outputs, tensor_to_json);
  json["sets"] = list_to_json(problem.sets, [](const std::vector<DeviceSource>& set) {
    return list_to_json(set, [](const DeviceSource& source) -> Json {
      if (source.original) return {{"original", *source.original}};
      return {{"rule", to_hex(source.rule)}, {"seed", source.seed}, {"stream", source.stream}};
    });
  });
  json["original_bytes"] = problem.original_bytes;
  json["num_contenders"] = problem.num_contenders;
  json["call_timeout_s"] = problem.call_timeout_s;
  json["salt"] = problem.salt;
  return json;
}

DeviceProblem device_problem_from_json(const Json& json) {
  DeviceProblem problem;
  for (const Json& tensor : json.at("inputs")) problem.inputs.push_back(tensor_from_json(tensor));
  for (const Json& tensor : json.at("outputs")) problem.outputs.push_back(tensor_from_json(tensor));
  for (const Json& set : json.at("sets")) {
    std::vector<DeviceSource>& sources = problem.sets.emplace_back();
    for (const Json& item : set) {
      DeviceSource& source = sources.emplace_back();
      if (item.contains("original")) {
        source.original = item.at("original").get<size_t>();
      } else {
        source.rule = from_hex<ValueRule>(item.at("rule"));
        source.seed = item.at("seed");
        source.stream = item.at("stream");
      }
    }
  }
  problem.original_bytes = json.at("original_bytes").get<std::vector<uint64_t>>();
  problem.num_contenders = json.at("num_contenders");
  problem.call_timeout_s = json.at("call_timeout_s");
  problem.salt = json.at("salt");
  return problem;
}

Json to_json(const BlockRequest& request) {
  return {{"mode", static_cast<int>(request.mode)},
          {"contenders", request.contenders},
          {"first_round", request.first_round},
          {"rounds", request.rounds},
          {"warmup_rounds", request.warmup_rounds},
          {"set", request.set},
          {"seed", request.seed}};
}

BlockRequest block_request_from_json(const Json& json) {
  return {.mode = static_cast<TimingMode>(json.at("mode").get<int>()),
          .contenders = json.at("contenders").get<std::vector<uint32_t>>(),
          .first_round = json.at("first_round"),
          .rounds = json.at("rounds"),
          .warmup_rounds = json.at("warmup_rounds"),
          .set = json.at("set"),
          .seed = json.at("seed")};
}

Json to_json(const Fault& fault) {
  return {{"kind", static_cast<int>(fault.kind)}, {"message", fault.message}};
}

Fault fault_from_json(const Json& json) {
  return {static_cast<FaultKind>(json.at("kind").get<int>()), json.at("message")};
}

Json to_json(const BlockAnswer& answer) {
  Json json;
  json["samples"] = list_to_json(answer.samples, [](const Sample& sample) -> Json {
    return Json::array({sample.time_ns, sample.contender, sample.value_set, sample.round,
                        sample.sm_clock_mhz, sample.memory_clock_mhz, sample.throttle_reasons});
  });
  json["faults"] = list_to_json(answer.faults, [](const ContenderFault& fault) -> Json {
    return {{"contender", fault.contender}, {"fault", to_json(fault.fault)}};
  });
  json["kernels"] = list_to_json(answer.kernels, [](const std::vector<KernelShare>& kernels) {
    return list_to_json(kernels, [](const KernelShare& kernel) -> Json {
      return {{"name", kernel.name},
              {"share", kernel.share},
              {"registers", kernel.registers},
              {"shared_bytes", kernel.shared_bytes},
              {"grid", kernel.grid},
              {"block", kernel.block}};
    });
  });
  json["calls_checked"] = answer.calls_checked;
  json["lost"] = answer.lost;
  return json;
}

BlockAnswer block_answer_from_json(const Json& json) {
  BlockAnswer answer;
  for (const Json& item : json.at("samples")) {
    answer.samples.push_back({.time_ns = item.at(0),
                              .contender = item.at(1),
                              .value_set = item.at(2),
                              .round = item.at(3),
                              .sm_clock_mhz = item.at(4),
                              .memory_clock_mhz = item.at(5),
                              .throttle_reasons = item.at(6)});
  }
  for (const Json& item : json.at("faults")) {
    answer.faults.push_back({item.at("contender"), fault_from_json(item.at("fault"))});
  }
  for (const Json& list : json.at("kernels")) {
    std::vector<KernelShare>& kernels = answer.kernels.emplace_back();
    for (const Json& item : list) {
      KernelShare& kernel = kernels.emplace_back();
      kernel.name = item.at("name");
      kernel.share = item.at("share");
      kernel.registers = item.at("registers");
      kernel.shared_bytes = item.at("shared_bytes");
      for (int i = 0; i < 3; ++i) {
        kernel.grid[i] = item.at("grid").at(i);
        kernel.block[i] = item.at("block").at(i);
      }
    }
  }
  answer.calls_checked = json.at("calls_checked");
  answer.lost = json.at("lost");
  return answer;
}

Json to_json(const CompareRequest& request) {
  return {{"set", request.set},
          {"output", request.output},
          {"first", request.first},
          {"count", request.count},
          {"row_scales", request.row_scales},
          {"row_length", request.row_length},
          {"max_error_rms", to_hex(request.max_error_rms)},
          {"is_last", request.is_last}};
}

CompareRequest compare_request_from_json(const Json& json) {
  return {.set = json.at("set"),
          .output = json.at("output"),
          .first = json.at("first"),
          .count = json.at("count"),
          .row_scales = json.at("row_scales"),
          .row_length = json.at("row_length"),
          .max_error_rms = from_hex<double>(json.at("max_error_rms")),
          .is_last = json.at("is_last")};
}

Json to_json(const FetchRequest& request) {
  return {{"contender", request.contender},
          {"set", request.set},
          {"output", request.output},
          {"version", request.version}};
}

FetchRequest fetch_request_from_json(const Json& json) {
  return {.contender = json.at("contender"),
          .set = json.at("set"),
          .output = json.at("output"),
          .version = json.at("version")};
}

Json to_json(const std::vector<KeptStats>& stats) {
  return list_to_json(stats, [](const KeptStats& kept) -> Json {
    return {{"contender", kept.contender}, {"stats", to_hex(kept.stats)}};
  });
}

std::vector<KeptStats> kept_stats_from_json(const Json& json) {
  std::vector<KeptStats> stats;
  for (const Json& item : json) {
    stats.push_back({item.at("contender"), from_hex<DeviceErrorStats>(item.at("stats"))});
  }
  return stats;
}

}  // namespace fib
