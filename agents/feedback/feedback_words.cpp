// feedback_in_words (agents/feedback/feedback.h): the document as Markdown.

#include <fmt/format.h>

#include <algorithm>

#include "agents/feedback/feedback.h"
#include "agents/text.h"

namespace fib::agents {

namespace {

constexpr size_t kMostAxes = 12;

std::string text_of(const Json& json, const char* key) { return json.value(key, std::string()); }
double number_of(const Json& json, const char* key) { return json.value(key, 0.0); }
int64_t count_of(const Json& json, const char* key) { return json.value(key, int64_t{0}); }

// Numbers that JSON has no spelling for are strings.
std::string factor_of(const Json& json, const char* key) {
  const Json value = json.value(key, Json(0.0));
  return value.is_string() ? value.get<std::string>() : fmt::format("{:.3g}", value.get<double>());
}

std::string percent(double share) { return fmt::format("{:.3g} %", 100.0 * share); }

// "rmsnorm_h4096 batch_size=7"
std::string call_in_words(const Json& call) {
  std::string text = text_of(call, "signature");
  size_t count = 0;
  const Json axes = call.value("axes", Json::object());
  for (const auto& [axis, size] : axes.items()) {
    if (++count > kMostAxes) break;
    text += fmt::format(" {}={}", axis, size.dump());
  }
  return text;
}

std::string headline(const Json& feedback) {
  const std::string name = text_of(feedback, "solution"), outcome = text_of(feedback, "outcome");
  const Json workloads = feedback.value("workloads", Json::object());
  const std::string share = fmt::format("{} of {} workloads", count_of(workloads, "passed"),
                                        count_of(workloads, "judged"));
  std::string text = fmt::format("# {}: ", name);
  if (outcome == "compile-error") return text + "it doesn't compile\n";
  if (outcome == "built") return text + "it compiles; not yet judged\n";
  if (outcome == "right") {
    text += "right on " + share;
  } else if (outcome == "wrong") {
    text += "wrong numbers; right on " + share;
  } else if (outcome == "timeout") {
    text += "it doesn't end in time; right on " + share;
  } else {
    text += "it fails; right on " + share;
  }
  const Json time = feedback.value("time", Json::object());
  if (time.contains("speedup")) {
    text +=
        fmt::format(", {:.3f}x the baseline's speed ({:.3f} to {:.3f})", number_of(time, "speedup"),
                    number_of(time, "speedup_low"), number_of(time, "speedup_high"));
  }
  return text + "\n";
}

std::string compile_in_words(const Json& compile) {
  std::string text = "\n## Compiler\n";
  if (compile.contains("text")) return text + text_of(compile, "text") + "\n";
  for (const Json& message : compile.value("messages", Json::array())) {
    if (message.contains("file")) {
      text += fmt::format("{}:{}: ", text_of(message, "file"), count_of(message, "line"));
    }
    text += fmt::format("{}: {}\n", text_of(message, "severity"), text_of(message, "text"));
    text += text_of(message, "source");
    for (const Json& note : message.value("notes", Json::array())) {
      text += fmt::format("  {}\n", note.get<std::string>());
    }
  }
  if (const int64_t omitted = count_of(compile, "omitted"); omitted > 0) {
    text += fmt::format("... {} more messages\n", omitted);
  }
  return text;
}

// The 16 bins (harness/compare.h) as few shares as tell a slip from nonsense.
std::string histogram_in_words(const Json& histogram) {
  struct Range {
    size_t end;
    const char* name;
  };
  static constexpr Range kRanges[] = {{4, "under 1/4096"},
                                      {8, "up to 1/256"},
                                      {12, "up to 1/16"},
                                      {15, "up to 1/2"},
                                      {16, "more than 1/2"}};
  if (!histogram.is_array() || histogram.size() != kRanges[std::size(kRanges) - 1].end) return {};
  double all = 0.0;
  for (const Json& count : histogram) all += count.get<double>();
  if (all == 0.0) return {};
  std::string text;
  size_t bin = 0;
  for (const auto& [end, name] : kRanges) {
    double count = 0.0;
    for (; bin < end; ++bin) count += histogram[bin].get<double>();
    if (count > 0.0) {
      text += fmt::format("{}{}: {}", text.empty() ? "" : ", ", name, percent(count / all));
    }
  }
  return fmt::format("  errors by size, in units of their row's RMS: {}\n", text);
}

std::string output_in_words(const Json& output) {
  std::string text = fmt::format(
      "- output `{}`{}: error {}x an honest implementation's, {} of its "
      "RMS",
      text_of(output, "name"), output.value("passed", false) ? " (right)" : "",
      factor_of(output, "error_over_honest"), factor_of(output, "relative_rms_error"));
  if (count_of(output, "first_wrong_index") >= 0 && !output.value("passed", false)) {
    text += fmt::format(
        "; {} of {} elements wrong, {} NaN or Inf mismatches, the first at "
        "row-major index {}",
        count_of(output, "elements_wrong"), count_of(output, "elements"),
        count_of(output, "nonfinite_mismatches"), count_of(output, "first_wrong_index"));
  }
  return text + "\n" + histogram_in_words(output.value("error_histogram", Json()));
}

std::string failures_in_words(const Json& failures) {
  std::string text = fmt::format("\n## What fails: {} workloads\n", count_of(failures, "count"));
  for (const Json& failure : failures.value("examples", Json::array())) {
    text += fmt::format("{}: {}", call_in_words(failure), text_of(failure, "status"));
    if (const std::string reason = text_of(failure, "reason"); !reason.empty()) {
      text += fmt::format(" ({})", reason);
    }
    text += "\n" + text_of(failure, "message") + "\n";
    for (const Json& output : failure.value("outputs", Json::array())) {
      text += output_in_words(output);
    }
    if (const std::string log = text_of(failure, "log"); !log.empty()) {
      text += fmt::format("it printed:\n{}\n", log);
    }
  }
  return text;
}

std::string accuracy_in_words(const Json& accuracy) {
  return fmt::format(
      "\n## Accuracy\nworst: output `{}` of {}: error {}x an honest implementation's, "
      "{} of its RMS\n",
      text_of(accuracy, "output"), call_in_words(accuracy),
      factor_of(accuracy, "error_over_honest"), factor_of(accuracy, "relative_rms_error"));
}

std::string time_row_in_words(const char* which, const Json& row) {
  std::string text = fmt::format("- {}: {}: {}", which, call_in_words(row),
                                 time_in_words(number_of(row, "cold_median_ns")));
  if (row.contains("floor_ns")) {
    text += fmt::format(", {} of the roofline ({}, {} bound)",
                        percent(number_of(row, "roofline_fraction")),
                        time_in_words(number_of(row, "floor_ns")), text_of(row, "bound"));
  }
  for (const auto& [key, name] :
       {std::pair("warm_median_ns", "L2 warm"), std::pair("graph_median_ns", "as a graph")}) {
    if (row.contains(key)) text += fmt::format(", {} {}", name, time_in_words(number_of(row, key)));
  }
  if (row.contains("speedup")) {
    text += fmt::format(", {:.3f}x the baseline", number_of(row, "speedup"));
  }
  return text + "\n";
}

std::string time_in_words_of(const Json& time) {
  const int64_t workloads = count_of(time, "workloads");
  std::string text =
      fmt::format("\n## Time, over {} workload{}\n", workloads, workloads == 1 ? "" : "s");
  if (workloads == 1) return text + time_row_in_words("it", time.at("best"));
  text += time_row_in_words("nearest to the roofline", time.at("best"));
  if (time.contains("median")) text += time_row_in_words("in the middle", time.at("median"));
  text += time_row_in_words("furthest", time.at("worst"));
  if (time.contains("most_to_gain")) {
    const Json& gain = time.at("most_to_gain");
    text += fmt::format(
        "- most to gain: {}, with {} of all time above the floor, as traffic weighs "
        "it\n",
        call_in_words(gain), percent(number_of(gain, "share_of_the_time_above_the_floor")));
  }
  return text;
}

std::string counters_in_words(const Json& counters) {
  std::string text;
  const auto add = [&text](const std::string& part) {
    text += (text.empty() ? "  measured: " : ", ") + part;
  };
  if (counters.contains("device_bytes")) {
    add(bytes_in_words(number_of(counters, "device_bytes")) + " to and from device memory");
  }
  if (counters.contains("occupancy")) {
    add(percent(number_of(counters, "occupancy")) + " of the warps resident");
  }
  if (counters.contains("bank_conflicts")) {
    add(fmt::format("{:.4g} bank conflicts", number_of(counters, "bank_conflicts")));
  }
  for (const Json& stall : counters.value("stalls", Json::array())) {
    add(fmt::format("waiting for {} {}", text_of(stall, "reason"),
                    percent(number_of(stall, "share"))));
  }
  return text.empty() ? text : text + "\n";
}

std::string kernel_in_words(const Json& kernel) {
  std::string text = fmt::format("- `{}`", text_of(kernel, "name"));
  if (kernel.contains("threads")) {
    text += fmt::format(": {} of the time, {} blocks of {} threads, {} registers, {} shared",
                        percent(number_of(kernel, "share")), count_of(kernel, "blocks"),
                        count_of(kernel, "threads"), count_of(kernel, "registers"),
                        bytes_in_words(number_of(kernel, "shared_bytes")));
  }
  if (kernel.contains("theoretical_occupancy")) {
    text += fmt::format("; at most {} of the warps fit, limited by {}",
                        percent(number_of(kernel, "theoretical_occupancy")),
                        text_of(kernel, "occupancy_limited_by"));
  }
  if (kernel.contains("waves")) text += fmt::format("; {:.3g} waves", number_of(kernel, "waves"));
  return text + "\n" + counters_in_words(kernel.value("counters", Json::object()));
}

std::string kernels_in_words(const Json& kernels) {
  const std::string call = call_in_words(kernels);
  std::string text = fmt::format("\n## Kernels{}{}\n", call.empty() ? "" : " of ", call);
  if (kernels.contains("least_device_bytes")) {
    text += fmt::format("the call has to move at least {} of device memory\n",
                        bytes_in_words(number_of(kernels, "least_device_bytes")));
  }
  for (const Json& kernel : kernels.value("list", Json::array())) text += kernel_in_words(kernel);
  return text;
}

std::string resources_in_words(const Json& resources) {
  std::string text;
  const auto add = [&](const char* key, const char* name) {
    if (!resources.contains(key)) return;
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count_of(resources, key), name);
  };
  add("registers", "registers a thread");
  add("shared_bytes", "shared bytes a block");
  add("spilled_bytes", "bytes spilled a thread");
  add("code_bytes", "bytes of code");
  return text + "\n";
}

std::string parent_in_words(const Json& parent) {
  std::string text = fmt::format("\n## Against its parent {}\n", text_of(parent, "name"));
  if (parent.contains("speedup")) {
    text += fmt::format("{:.3f}x its speed; the parent's was {:.3f}x the baseline's\n",
                        number_of(parent, "speedup"), number_of(parent, "parent_speedup"));
  } else if (parent.contains("fate")) {
    text += fmt::format("the parent: {}", text_of(parent, "fate"));
    if (parent.contains("parent_speedup")) {
      text += fmt::format(", {:.3f}x the baseline's speed", number_of(parent, "parent_speedup"));
    }
    text += "\n";
  }
  if (parent.contains("resources")) {
    text += "the parent's binary: " + resources_in_words(parent.at("resources"));
  }
  const Json diff = parent.value("diff", Json::object());
  const Json files = diff.value("files", Json::array());
  if (files.empty()) return text + "the sources are the same\n";
  for (const Json& file : files) {
    text += fmt::format("{}: {} lines added, {} removed\n", text_of(file, "path"),
                        count_of(file, "added"), count_of(file, "removed"));
  }
  return text + fmt::format("```diff\n{}\n```\n", text_of(diff, "text"));
}

}  // namespace

std::string feedback_in_words(const Json& feedback, size_t max_bytes) {
  if (!feedback.is_object()) return {};
  std::string text = headline(feedback);
  const auto add = [&](const char* part, std::string (*in_words)(const Json&)) {
    if (feedback.contains(part)) text += in_words(feedback.at(part));
  };
  add("compile", compile_in_words);
  add("failures", failures_in_words);
  add("time", time_in_words_of);
  add("kernels", kernels_in_words);
  add("accuracy", accuracy_in_words);
  if (feedback.contains("resources")) {
    text += "\n## The binary\n" + resources_in_words(feedback.at("resources"));
  }
  add("parent", parent_in_words);
  if (text.size() <= max_bytes) return text;
  constexpr size_t kNoteBytes = 40;  // of what shortened() appends
  return shortened(text,
                   {.lines = text.size(), .bytes = max_bytes - std::min(max_bytes, kNoteBytes)});
}

}  // namespace fib::agents
