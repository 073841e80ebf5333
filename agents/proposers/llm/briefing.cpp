#include "agents/proposers/llm/briefing.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "agents/contract.h"
#include "agents/feedback/feedback.h"
#include "agents/proposers/llm/answer.h"
#include "agents/text.h"
#include "signatures/base/file.h"
#include "signatures/base/hash.h"

namespace fib::agents {

namespace {

constexpr TextLimit kReferenceLimit{.lines = 200, .bytes = 12'000};
constexpr TextLimit kReasonLimit{.lines = 2, .bytes = 240};

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

std::string files_in_words(const std::vector<SourceFile>& files) {
  std::string text;
  for (const SourceFile& file : files) {
    text +=
        fmt::format("{}{}", text.empty() ? "" : "\n\n", fenced("file " + file.path, file.content));
  }
  return text;
}

// Names between the brackets of #include <fib/...>, in order, each once.
std::vector<std::string> included_headers(const Solution& solution, std::string_view target) {
  std::vector<std::string> headers{target == "cpu" ? "fib/cpu.h" : "fib/plan.h"};
  for (const SourceFile& source : solution.sources) {
    for (const std::string_view line : lines_of(source.content)) {
      const size_t open = line.find("<fib/");
      const size_t close = line.find('>', open == std::string_view::npos ? 0 : open);
      if (!line.starts_with("#include") || open == std::string_view::npos ||
          close == std::string_view::npos) {
        continue;
      }
      std::string name(line.substr(open + 1, close - open - 1));
      if (!is_safe_relative_path(name)) continue;
      if (std::find(headers.begin(), headers.end(), name) != headers.end()) continue;
      headers.push_back(std::move(name));
    }
  }
  return headers;
}

// The first, the interface itself, always; of the others what there is room for.
std::string headers_in_words(const ProposalRequest& request, const std::filesystem::path& abi,
                             size_t max_bytes) {
  std::string text;
  std::vector<std::string> left_out;
  size_t bytes = 0;
  const auto names = included_headers(request.parent.solution, request.target);
  for (const std::string& name : names) {
    const auto content =
        abi.empty() ? fail(ErrorCode::kNotFound, "") : Result<std::string>(read_file(abi / name));
    const bool is_interface = name == names.front();
    if (!content || (!is_interface && bytes + content->size() > max_bytes)) {
      left_out.push_back(fmt::format("<{}>", name));
      continue;
    }
    if (!is_interface) bytes += content->size();
    text += fmt::format("`<{}>`:\n\n{}\n\n", name, fenced("cpp", *content));
  }
  if (!left_out.empty()) {
    text += fmt::format("Not shown: {}.\n", fmt::join(left_out, ", "));
  }
  return text;
}

// A seed that hasn't been judged has none.
std::string feedback_of(const CandidateRecord& record, size_t max_bytes) {
  return record.feedback.is_object() ? feedback_in_words(record.feedback, max_bytes)
                                     : "Nothing was measured in detail.";
}

std::string tried_in_words(const ProposalRequest& request, size_t most) {
  std::vector<std::string> lines;
  for (const CandidateRecord& record : *request.history) {
    if (record.parents.empty() || record.parents.front() != request.parent.record.number) continue;
    if (record.note.empty()) continue;
    lines.push_back(fmt::format("- {}: {}", one_line(record.note), outcome_in_words(record)));
  }
  if (lines.empty()) return "Nothing yet.";
  if (lines.size() > most) lines.erase(lines.begin(), lines.end() - static_cast<long>(most));
  return fmt::format("{}", fmt::join(lines, "\n"));
}

// Of a solution, the files that differ from the parent's: the rest is known.
std::vector<SourceFile> different_files(const Solution& other, const Solution& parent) {
  const std::vector<SourceFile> known = editable_files(parent);
  std::vector<SourceFile> files = editable_files(other);
  std::erase_if(files, [&](const SourceFile& file) {
    return std::any_of(known.begin(), known.end(), [&](const SourceFile& same) {
      return same.path == file.path && same.content == file.content;
    });
  });
  return files;
}

std::string others_in_words(const ProposalRequest& request, size_t max_bytes) {
  if (request.others.empty()) return "Nothing yet.";
  std::string text;
  for (const Ancestor& other : request.others) {
    text += fmt::format("- `{}`{}: {}\n", other.solution.name,
                        other.record.note.empty() ? "" : ", " + one_line(other.record.note),
                        outcome_in_words(other.record));
  }
  const Ancestor& best = request.others.front();
  std::vector<SourceFile> shown;
  std::vector<std::string> left_out;
  size_t bytes = 0;
  for (SourceFile& file : different_files(best.solution, request.parent.solution)) {
    if (bytes + file.content.size() > max_bytes) {
      left_out.push_back(file.path);
      continue;
    }
    bytes += file.content.size();
    shown.push_back(std::move(file));
  }
  if (!shown.empty()) {
    text += fmt::format("\nThe first of these, where it differs from the one to change:\n\n{}\n",
                        files_in_words(shown));
  }
  if (!left_out.empty()) {
    text += fmt::format("\nIts {} {} not shown: too long.\n", fmt::join(left_out, ", "),
                        left_out.size() == 1 ? "is" : "are");
  }
  return text;
}

}  // namespace

std::string fenced(std::string_view header, std::string_view content) {
  size_t longest = 2, run = 0;
  for (const char c : content) {
    run = c == '`' ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  const std::string fence(longest + 1, '`');
  return fmt::format("{}{}\n{}{}{}", fence, header, content, content.ends_with('\n') ? "" : "\n",
                     fence);
}

std::string outcome_in_words(const CandidateRecord& record) {
  const std::string reason = one_line(shortened(record.refusal.message, kReasonLimit));
  switch (record.fate) {
    case CandidateFate::kMeasured:
      return fmt::format("{:.3f} times as fast as the baseline ({:.3f} to {:.3f})", record.speedup,
                         record.speedup_low, record.speedup_high);
    case CandidateFate::kSlow:
      if (record.was_beaten()) {
        return fmt::format(
            "right, but slower than the best: {:.3f} times as fast as the baseline ({:.3f} to "
            "{:.3f}), by a brief look",
            record.speedup, record.speedup_low, record.speedup_high);
      }
      return record.screen_speedup > 0.0
                 ? fmt::format(
                       "right, but too slow to be timed in full: {:.3f} times as fast as "
                       "the baseline",
                       record.screen_speedup)
                 : "too slow to be timed in full";
    case CandidateFate::kDuplicate: return "compiles to the same machine code as an earlier one";
    case CandidateFate::kFailed: return "failed: " + reason;
    case CandidateFate::kRefused: return "refused: " + reason;
  }
  return {};
}

PromptValues briefing(const ProposalRequest& request, const std::filesystem::path& abi,
                      const std::vector<std::string>& directions, const BriefingLimits& limits) {
  const Signature& signature = *request.signature;
  const Ancestor& parent = request.parent;
  const uint64_t draw = Hasher().add("direction").add(request.seed).u64();
  const std::string reference = shortened(signature.reference, kReferenceLimit);
  return {{"signature", signature.name},
          {"op_type", signature.op_type},
          {"description", signature.description.value_or("")},
          {"contract", contract_in_words(signature)},
          {"reference", fenced("python", reference)},
          {"hardware", request.hardware},
          {"architecture", request.architecture},
          {"parent_name", parent.solution.name},
          {"parent_files", files_in_words(editable_files(parent.solution))},
          {"headers", headers_in_words(request, abi, limits.headers_bytes)},
          {"parent_outcome", outcome_in_words(parent.record)},
          {"parent_feedback", feedback_of(parent.record, limits.feedback_bytes)},
          {"tried", tried_in_words(request, limits.tried)},
          {"others", others_in_words(request, limits.others_bytes)},
          {"direction", directions[draw % directions.size()]}};
}

}  // namespace fib::agents
