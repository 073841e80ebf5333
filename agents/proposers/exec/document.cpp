#include "agents/proposers/exec/document.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "agents/contract.h"
#include "agents/feedback/feedback.h"
#include "agents/proposers/llm/answer.h"
#include "agents/proposers/llm/briefing.h"
#include "agents/proposers/llm/patch.h"
#include "agents/text.h"
#include "signatures/base/file.h"

namespace fib::agents {

namespace {

constexpr int kVersion = 1;
constexpr size_t kLargestFile = size_t{1} << 20;  // as of a solution folder's
constexpr TextLimit kNoteLimit{.lines = 1, .bytes = 200};
constexpr TextLimit kReasonLimit{.lines = 1, .bytes = 40};
constexpr TextLimit kMessageLimit{.lines = 4, .bytes = 600};

constexpr const char* kTask =
    "Change the parent so that it is faster and stays right by the contract. Answer on stdout with "
    "one JSON object: {\"files\": {path: whole content, or null to remove}} or {\"patches\": "
    "[{\"path\", \"search\", \"replace\"}]}, with a \"note\" of one line; or {\"refusal\": why}.";

Json files_to_json(const Solution& solution) {
  Json files = Json::object();
  for (const SourceFile& file : editable_files(solution)) files[file.path] = file.content;
  return files;
}

Json ancestor_to_json(const Ancestor& ancestor) {
  const CandidateRecord& record = ancestor.record;
  Json json{{"name", ancestor.solution.name},
            {"note", record.note},
            {"outcome", outcome_in_words(record)},
            {"files", files_to_json(ancestor.solution)}};
  if (record.speedup > 0.0) json["speedup"] = record.speedup;
  if (record.feedback.is_object()) {
    json["feedback"] = record.feedback;
    json["feedback_in_words"] = feedback_in_words(record.feedback);
  }
  return json;
}

// The parent's children, the last of them.
Json tried_to_json(const ProposalRequest& request, size_t most) {
  std::vector<const CandidateRecord*> children;
  for (const CandidateRecord& record : *request.history) {
    const bool is_child =
        !record.parents.empty() && record.parents.front() == request.parent.record.number;
    if (is_child && !record.note.empty()) children.push_back(&record);
  }
  Json tried = Json::array();
  for (size_t i = children.size() - std::min(children.size(), most); i < children.size(); ++i) {
    tried.push_back({{"note", children[i]->note}, {"outcome", outcome_in_words(*children[i])}});
  }
  return tried;
}

Refusal malformed(std::string message) { return {"malformed", std::move(message)}; }

// The first thing that is wrong with an answer ends its reading.
class AnswerReader {
 public:
  explicit AnswerReader(const Solution& parent) : parent_(parent), files_(editable_files(parent)) {}

  ProposalOutcome read(std::string_view text) {
    ProposalOutcome outcome;
    const auto json = parse_json(text, "stdout");
    if (!json) {
      outcome.refusal = malformed(json.error().to_string());
      return outcome;
    }
    auto solution = read_object(JsonView(*json, "stdout"), outcome);
    if (solution) {
      outcome.solution = *std::move(solution);
      return outcome;
    }
    // Set where the program itself, or a path, is the reason.
    if (!outcome.refusal) outcome.refusal = malformed(solution.error().to_string());
    return outcome;
  }

 private:
  // Error: there is none; where outcome.refusal isn't set, the error says why.
  Result<Solution> read_object(const JsonView& answer, ProposalOutcome& outcome) {
    FIB_CHECK(answer.only_keys({"files", "patches", "refusal", "note", "cost"}));
    if (const auto cost = answer.find("cost")) FIB_CHECK(read_cost(*cost, outcome.cost));
    if (const auto note = answer.find("note")) {
      const std::string text = FIB_TRY(note->string());
      const std::vector<std::string_view> lines = lines_of(text);
      if (!lines.empty()) outcome.note = shortened(lines.front(), kNoteLimit);
    }
    const auto files = answer.find("files"), patches = answer.find("patches");
    if (const auto refusal = answer.find("refusal")) {
      if (files || patches) return answer.error("has a refusal and changes too");
      outcome.refusal = FIB_TRY(read_refusal(*refusal));
      return refusal->error("is a refusal");
    }
    if (!files && !patches) return answer.error("has none of files, patches and refusal");
    if (patches) FIB_CHECK(read_patches(*patches, outcome));
    if (files) FIB_CHECK(read_files(*files, outcome));
    Solution solution = FIB_TRY(with_files(parent_, files_));
    if (solution_key(solution) == solution_key(parent_)) {
      outcome.refusal = Refusal{"unchanged", "the files are the parent's"};
      return answer.error("changes nothing");
    }
    if (outcome.note.empty()) outcome.note = fmt::format("changed {}", fmt::join(changed_, ", "));
    return solution;
  }

  Result<void> read_cost(const JsonView& view, ProposalCost& cost) {
    FIB_CHECK(view.only_keys({"prompt_tokens", "answer_tokens", "money"}));
    for (auto [key, tokens] : {std::pair("prompt_tokens", &cost.prompt_tokens),
                               std::pair("answer_tokens", &cost.answer_tokens)}) {
      if (const auto count = view.find(key)) *tokens = FIB_TRY(count->integer());
      if (*tokens < 0) return view.error(fmt::format("{} is less than 0", key));
    }
    if (const auto money = view.find("money")) cost.money = FIB_TRY(money->number());
    if (!(cost.money >= 0.0) || std::isinf(cost.money)) return view.error("money is no amount");
    return {};
  }

  // A sentence, or a word to count by and a sentence.
  Result<Refusal> read_refusal(const JsonView& view) {
    if (view.json().is_string()) {
      return Refusal{"declined", shortened(FIB_TRY(view.non_empty_string()), kMessageLimit)};
    }
    FIB_CHECK(view.only_keys({"reason", "message"}));
    return Refusal{shortened(FIB_TRY(FIB_TRY(view.at("reason")).non_empty_string()), kReasonLimit),
                   shortened(FIB_TRY(FIB_TRY(view.at("message")).string()), kMessageLimit)};
  }

  Result<void> read_patches(const JsonView& patches, ProposalOutcome& outcome) {
    for (const JsonView& patch : FIB_TRY(patches.array())) {
      FIB_CHECK(patch.only_keys({"path", "search", "replace"}));
      const std::string path = FIB_TRY(FIB_TRY(patch.at("path")).string());
      FIB_CHECK(check_path(path, patch, outcome));
      const auto file = std::ranges::find(files_, path, &SourceFile::path);
      if (file == files_.end()) return patch.error(fmt::format("there is no file '{}'", path));
      const std::string search = FIB_TRY(FIB_TRY(patch.at("search")).non_empty_string());
      const std::string replacement = FIB_TRY(FIB_TRY(patch.at("replace")).string());
      file->content = FIB_TRY(
          apply_edits(file->content,
                      {{.search = lines_of(search), .replacement = lines_of(replacement)}}, path));
      note_change(path);
    }
    return {};
  }

  Result<void> read_files(const JsonView& files, ProposalOutcome& outcome) {
    for (const auto& [path, content] : FIB_TRY(files.object())) {
      FIB_CHECK(check_path(path, content, outcome));
      const auto file = std::ranges::find(files_, path, &SourceFile::path);
      if (content.json().is_null()) {
        if (file == files_.end()) return content.error("is to be removed and isn't there");
        files_.erase(file);
        note_change(path);
        continue;
      }
      std::string text = FIB_TRY(content.string());
      if (text.size() > kLargestFile) return content.error("has more than 1 MiB");
      if (file == files_.end()) {
        files_.push_back({path, std::move(text)});
        note_change(path);
      } else if (file->content != text) {
        file->content = std::move(text);
        note_change(path);
      }
    }
    return {};
  }

  Result<void> check_path(const std::string& path, const JsonView& view, ProposalOutcome& outcome) {
    if (is_safe_relative_path(path)) return {};
    outcome.refusal = Refusal{
        "path", shortened(fmt::format("'{}' leads out of the solution", path), kMessageLimit)};
    return view.error("leads out of the solution");
  }

  void note_change(const std::string& path) {
    if (std::ranges::find(changed_, path) == changed_.end()) changed_.push_back(path);
  }

  const Solution& parent_;
  std::vector<SourceFile> files_;
  std::vector<std::string> changed_;
};

}  // namespace

Json request_document(const ProposalRequest& request, const DocumentOptions& options) {
  Json others = Json::array();
  for (const Ancestor& other : request.others) {
    if (others.size() < options.others) others.push_back(ancestor_to_json(other));
  }
  return {{"version", kVersion},
          {"task", kTask},
          {"signature", signature_to_json(*request.signature)},
          {"contract", contract_in_words(*request.signature)},
          {"target", request.target},
          {"architecture", request.architecture},
          {"hardware", request.hardware},
          {"headers_folder", options.abi.string()},
          {"seed", request.seed},
          {"parent", ancestor_to_json(request.parent)},
          {"others", std::move(others)},
          {"tried", tried_to_json(request, options.tried)}};
}

ProposalOutcome read_answer(std::string_view text, const Solution& parent) {
  return AnswerReader(parent).read(text);
}

}  // namespace fib::agents
