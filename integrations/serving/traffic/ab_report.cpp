#include "integrations/serving/traffic/ab_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <limits>
#include <map>

namespace fib {
namespace {

// A predicted gain below this is too small to be missed; being worse in spite of it is not.
constexpr double kPromise = 1.01;

double busy_s_per_token(const AbSide& side) {
  return side.busy_s / static_cast<double>(side.report.output_tokens);
}

bool is_whole(const AbSide& side) {
  return side.report.failed == 0 && side.report.unfinished == 0 && side.report.output_tokens > 0;
}

void add_parity(const AbPair& pair, OutputParity& parity) {
  for (size_t i = 0; i < pair.a.answers.size(); ++i) {
    const auto& a = pair.a.answers[i];
    const auto& b = pair.b.answers[i];
    const auto parted = std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first;
    ++parity.requests;
    parity.equal += a == b ? 1 : 0;
    parity.tokens += a.size();
    parity.tokens_before_parting += static_cast<uint64_t>(parted - a.begin());
  }
}

Json ratio_to_json(const AbRatio& ratio) {
  return {{"ratio", ratio.ratio},
          {"low", ratio.low},
          {"high", std::isfinite(ratio.high) ? Json(ratio.high) : Json("Infinity")},
          {"pairs", ratio.pairs}};
}

Json calls_to_json(const std::vector<CallTime>& calls) {
  Json json = Json::array();
  for (const CallTime& call : calls) {
    json.push_back({{"signature", call.signature},
                    {"solution", call.solution},
                    {"calls", call.calls},
                    {"time_s", time_s_of(call)}});
  }
  return json;
}

// "  gemm_n512_k256: gemm-dots 1200 -> 300, gemm-panels 0 -> 900", a line a signature.
std::string calls_lines(const AbReport& report) {
  struct Calls {
    uint64_t a = 0, b = 0;
  };
  std::map<std::string, std::map<std::string, Calls>> signatures;
  for (const CallTime& call : report.kernels_a) {
    if (call.calls > 0) signatures[call.signature][call.solution].a += call.calls;
  }
  for (const CallTime& call : report.kernels_b) {
    if (call.calls > 0) signatures[call.signature][call.solution].b += call.calls;
  }
  if (signatures.empty()) return "";
  std::string text = "calls by solution, of A -> of B:\n";
  for (const auto& [signature, solutions] : signatures) {
    std::string line;
    for (const auto& [solution, calls] : solutions) {
      line += fmt::format("{} {} {} -> {}", line.empty() ? "" : ",", solution, calls.a, calls.b);
    }
    text += fmt::format("  {}:{}\n", signature, line);
  }
  return text;
}

std::string ratio_line(std::string_view what, const AbRatio& ratio) {
  return fmt::format("  {:<28}{:.3f}x  [{:.3f}, {:.3f}]\n", what, ratio.ratio, ratio.low,
                     ratio.high);
}

std::string parity_line(const OutputParity& parity) {
  const double kept = parity.tokens == 0 ? 1.0
                                         : static_cast<double>(parity.tokens_before_parting) /
                                               static_cast<double>(parity.tokens);
  return fmt::format("  {:<28}{} of {} answers equal, {:.1f} % of tokens before they part\n",
                     "output parity", parity.equal, parity.requests, 100.0 * kept);
}

std::string verdict_line(const AbReport& report) {
  const double change = 100.0 * (report.busy.ratio - 1.0);
  switch (report.conclusion()) {
    case AbConclusion::kBetter: return fmt::format("B serves better: {:+.1f} %\n", change);
    case AbConclusion::kWorse: return fmt::format("B serves worse: {:+.1f} %\n", change);
    default: return "no difference that these pairs could show\n";
  }
}

}  // namespace

AbRatio combine_ratios(const std::vector<double>& ratios) {
  AbRatio combined{.pairs = ratios.size()};
  if (ratios.empty()) return {.low = 0.0, .high = std::numeric_limits<double>::infinity()};
  const auto n = static_cast<double>(ratios.size());
  double sum = 0.0, squares = 0.0;
  for (const double ratio : ratios) sum += std::log(ratio);
  const double mean = sum / n;
  combined.ratio = std::exp(mean);
  if (ratios.size() < 2) {
    combined.low = 0.0;
    combined.high = std::numeric_limits<double>::infinity();
    return combined;
  }
  for (const double ratio : ratios) squares += std::pow(std::log(ratio) - mean, 2);
  const double standard_error = std::sqrt(squares / (n - 1.0) / n);
  const double t = boost::math::quantile(boost::math::students_t(n - 1.0), 0.975);
  combined.low = std::exp(mean - t * standard_error);
  combined.high = std::exp(mean + t * standard_error);
  return combined;
}

std::string_view ab_conclusion_name(AbConclusion conclusion) {
  switch (conclusion) {
    case AbConclusion::kBetter: return "better";
    case AbConclusion::kWorse: return "worse";
    case AbConclusion::kNoDifference: return "no difference";
  }
  return "no difference";
}

AbConclusion AbReport::conclusion() const {
  if (busy.low > 1.0) return AbConclusion::kBetter;
  if (busy.high < 1.0) return AbConclusion::kWorse;
  return AbConclusion::kNoDifference;
}

bool AbReport::breaks_promise() const {
  if (!predicted) return false;
  switch (conclusion()) {
    case AbConclusion::kBetter: return false;
    case AbConclusion::kWorse: return *predicted > 1.0;
    case AbConclusion::kNoDifference: return *predicted >= kPromise;
  }
  return false;
}

AbReport compare_pairs(const std::vector<AbPair>& pairs) {
  AbReport report;
  std::vector<double> busy, tokens, ttft, tbt, end_to_end;
  for (const AbPair& pair : pairs) {
    report.failed_a += pair.a.report.failed;
    report.failed_b += pair.b.report.failed;
    if (!is_whole(pair.a) || !is_whole(pair.b)) continue;
    const ReplayReport &a = pair.a.report, &b = pair.b.report;
    busy.push_back(busy_s_per_token(pair.a) / busy_s_per_token(pair.b));
    tokens.push_back(b.output_tokens_per_s() / a.output_tokens_per_s());
    ttft.push_back(a.ttft_s.mean / b.ttft_s.mean);
    end_to_end.push_back(a.end_to_end_s.mean / b.end_to_end_s.mean);
    if (a.tbt_s.count > 0 && b.tbt_s.count > 0) tbt.push_back(a.tbt_s.mean / b.tbt_s.mean);
    add_parity(pair, report.parity);
  }
  report.busy = combine_ratios(busy);
  report.tokens_per_s = combine_ratios(tokens);
  report.ttft = combine_ratios(ttft);
  report.tbt = combine_ratios(tbt);
  report.end_to_end = combine_ratios(end_to_end);
  return report;
}

Json ab_to_json(const AbReport& report) {
  Json gains = Json::array();
  for (const KernelGain& gain : report.gains) {
    gains.push_back({{"signature", gain.signature},
                     {"solution_a", gain.solution_a},
                     {"solution_b", gain.solution_b},
                     {"share_of_a", gain.share},
                     {"speedup", gain.speedup}});
  }
  return {{"a", report.name_a},
          {"b", report.name_b},
          {"conclusion", ab_conclusion_name(report.conclusion())},
          {"breaks_promise", report.breaks_promise()},
          {"busy", ratio_to_json(report.busy)},
          {"output_tokens_per_s", ratio_to_json(report.tokens_per_s)},
          {"ttft", ratio_to_json(report.ttft)},
          {"tbt", ratio_to_json(report.tbt)},
          {"end_to_end", ratio_to_json(report.end_to_end)},
          {"predicted", report.predicted ? Json(*report.predicted) : Json()},
          {"gains", gains},
          {"parity",
           {{"requests", report.parity.requests},
            {"equal", report.parity.equal},
            {"tokens", report.parity.tokens},
            {"tokens_before_parting", report.parity.tokens_before_parting}}},
          {"failed_a", report.failed_a},
          {"failed_b", report.failed_b},
          {"kernels_a", calls_to_json(report.kernels_a)},
          {"kernels_b", calls_to_json(report.kernels_b)}};
}

std::string ab_to_text(const AbReport& report) {
  std::string text = fmt::format("A: {}\nB: {}\nB over A, {} pairs, 95 % intervals:\n",
                                 report.name_a, report.name_b, report.busy.pairs);
  text += ratio_line("engine time a token", report.busy);
  if (report.predicted) {
    text += fmt::format("  {:<28}{:.3f}x\n", "  predicted by its kernels", *report.predicted);
  }
  text += ratio_line("output tokens/s", report.tokens_per_s);
  text += ratio_line("time to first token", report.ttft);
  text += ratio_line("time between tokens", report.tbt);
  text += ratio_line("end to end", report.end_to_end);
  text += parity_line(report.parity);
  if (report.failed_a + report.failed_b > 0) {
    text += fmt::format("  {:<28}{} of A, {} of B\n", "failed requests", report.failed_a,
                        report.failed_b);
  }
  for (const KernelGain& gain : report.gains) {
    text +=
        fmt::format("  {}: {} -> {}, {:.2f}x over {:.1f} % of A's kernel time\n", gain.signature,
                    gain.solution_a, gain.solution_b, gain.speedup, 100.0 * gain.share);
  }
  text += calls_lines(report) + verdict_line(report);
  if (report.breaks_promise()) {
    text += fmt::format("B wins its micro-benchmarks ({:+.1f} % predicted) and doesn't win here\n",
                        100.0 * (*report.predicted - 1.0));
  }
  return text;
}

}  // namespace fib
