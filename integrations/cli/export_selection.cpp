// Whom `fib export` exports.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <ostream>
#include <set>

#include "integrations/cli/export_options.h"
#include "integrations/cli/serving_options.h"
#include "integrations/package/export/evidence_origin.h"
#include "integrations/package/export/store_evidence.h"
#include "integrations/package/house_solutions.h"
#include "integrations/package/signature_request.h"
#include "integrations/serving/model/blocks.h"
#include "integrations/serving/model/model_config.h"
#include "runners/cpu/host_cpu.h"

namespace fib {

namespace {

constexpr std::string_view kNoLevels = "none";
constexpr std::string_view kPortable = "portable";
constexpr const char* kPortableLevels[] = {"x86-64-v4-amx", "x86-64-v4-bf16", "x86-64-v4",
                                           "x86-64-v3"};

WinnerPolicy policy_of(const std::string& name) {
  if (name == "conservative") return WinnerPolicy::kConservative;
  return name == "fastest" ? WinnerPolicy::kFastest : WinnerPolicy::kConfirmed;
}

// What is packed is for other machines than this one.
std::vector<std::string> levels_of(const ExportArgs& args) {
  std::vector<std::string> levels;
  if (args.cpu_levels.empty()) {
    if (!args.has_archive && !args.has_wheel) return {"native"};
    levels.assign(std::begin(kPortableLevels), std::end(kPortableLevels));
  }
  for (const std::string& level : args.cpu_levels) {
    if (level == kPortable) {
      levels.insert(levels.end(), std::begin(kPortableLevels), std::end(kPortableLevels));
    } else if (level != kNoLevels) {
      levels.push_back(level);
    }
  }
  return levels;
}

// Those of the cards that the evidence is of, where none were asked for.
std::vector<std::string> architectures_of(const ExportArgs& args, const StoreEvidence* evidence) {
  if (!args.architectures.empty() || evidence == nullptr) return args.architectures;
  std::set<std::string> found;
  for (const auto& [key, hardware] : evidence->hardware()) {
    if (hardware.target == "cuda" && !hardware.architecture.empty()) {
      found.insert(hardware.architecture);
    }
  }
  return {found.begin(), found.end()};
}

Result<std::vector<SignatureRequest>> model_requests(const Context& context,
                                                     const std::string& model) {
  const ModelConfig config = FIB_TRY(read_model_config(FIB_TRY(find_model(context, model))));
  return model_signatures(config, ExecutorOptions{}.page_size);
}

class Selector {
 public:
  Selector(const Context& context, const ExportArgs& args, const StoreEvidence* evidence)
      : context_(context), args_(args), evidence_(evidence) {}

  Result<ExportSelection> run() && {
    selection_.cpu_levels = levels_of(args_);
    selection_.architectures = architectures_of(args_, evidence_);
    if (!selection_.cpu_levels.empty()) FIB_CHECK(read_house("cpu"));
    if (!selection_.architectures.empty()) FIB_CHECK(read_house("cuda"));
    if (houses_.empty()) {
      return fail(ErrorCode::kInvalidInput, "neither for a processor nor for a card",
                  "--cpu-level none", "name a card's architecture: --arch sm_90a");
    }
    FIB_CHECK(check_only());
    const Catalog catalog = FIB_TRY(open_catalog(context_));
    for (const SignatureRequest& request : FIB_TRY(requests())) {
      FIB_CHECK(select(catalog, request));
    }
    if (selection_.winners.empty()) {
      return fail(ErrorCode::kNotFound, "no signature is left to export", "",
                  fmt::format("{}", fmt::join(selection_.notes, "; ")));
    }
    selection_.origin = origin();
    return std::move(selection_);
  }

 private:
  Result<void> read_house(const std::string& target) {
    houses_.emplace(target, FIB_TRY(HouseSolutions::read(context_.home.solutions(), target)));
    return {};
  }

  Result<void> check_only() const {
    for (const std::string& name : args_.only) {
      if (evidence_ != nullptr && evidence_->has_solution(name)) continue;
      return fail(ErrorCode::kNotFound, fmt::format("no solution '{}' was compared", name),
                  "--only", fmt::format("'fib compare {} house' compares it", name));
    }
    return {};
  }

  Result<std::vector<SignatureRequest>> requests() const {
    std::vector<SignatureRequest> requests;
    if (!args_.model.empty()) requests = FIB_TRY(model_requests(context_, args_.model));
    for (const std::string& name : args_.signatures) requests.push_back({.name = name});
    if (!requests.empty()) return requests;
    if (evidence_ == nullptr) {
      return fail(ErrorCode::kInvalidInput, "the house's solutions for what?", "--house",
                  "name a model (--model fib-tiny-moe) or signatures (--signature NAME)");
    }
    for (std::string& name : evidence_->signatures()) requests.push_back({.name = std::move(name)});
    return requests;
  }

  bool is_asked_for_by_name() const { return !args_.signatures.empty() || !args_.model.empty(); }

  Result<void> select(const Catalog& catalog, const SignatureRequest& request) {
    auto found = find_signature(catalog, request);
    if (!found) {
      if (is_asked_for_by_name()) return fail(found.error());
      selection_.notes.push_back(found.error().to_string());
      return {};
    }
    WinnerInput input{.signature = *std::move(found)};
    if (!known_.insert({input.signature->name, input.signature->fib.parameters}).second) return {};
    for (const auto& [name, value] : FIB_TRY(catalog.find(request.name))->fib.parameters) {
      input.own_parameters.push_back(value);
    }
    for (const auto& [target, house] : houses_) {
      auto solutions = house.for_signature(*input.signature);
      if (!solutions && solutions.error().code != ErrorCode::kNotFound) {
        return fail(solutions.error());
      }
      if (!solutions) continue;
      for (const Solution* solution : *solutions) input.house.push_back(*solution);
    }
    if (evidence_ != nullptr) FIB_CHECK(evidence_->add_to(input));
    std::erase_if(input.records,
                  [&](const PairedRecord& record) { return !houses_.contains(record.target); });
    auto winners = select_winners(
        input, {.policy = policy_of(args_.policy), .min_gain = args_.min_gain, .only = args_.only});
    if (winners) {
      if (evidence_ != nullptr) FIB_CHECK(check_origins_of(*winners));
      selection_.winners.push_back(*std::move(winners));
    } else if (is_asked_for_by_name()) {
      return fail(winners.error());
    } else {
      selection_.notes.push_back(winners.error().to_string());
    }
    return {};
  }

  Result<void> check_origins_of(Winners& winners) {
    for (std::string& note : FIB_TRY(check_origins(
             winners,
             {.store = evidence_->store(), .abi = context_.home.abi(), .host = describe_host()}))) {
      selection_.notes.push_back(std::move(note));
    }
    return {};
  }

  std::string origin() const {
    if (evidence_ == nullptr) return "the house's solutions";
    std::string text =
        fmt::format("{}: policy {}, gains of {:g} % at least",
                    context_.store_file.filename().string(), args_.policy, 100.0 * args_.min_gain);
    if (!args_.only.empty()) text += fmt::format(", only {}", fmt::join(args_.only, ", "));
    if (!args_.hardware.empty()) text += fmt::format(", on {}", fmt::join(args_.hardware, ", "));
    return text;
  }

  const Context& context_;
  const ExportArgs& args_;
  const StoreEvidence* evidence_;
  std::map<std::string, HouseSolutions> houses_;  // by target
  std::set<std::pair<std::string, std::map<std::string, double>>> known_;
  ExportSelection selection_;
};

Failure no_evidence(const Context& context, const ExportArgs& args) {
  const std::string signature = args.signatures.empty() ? "" : " --signature " + args.signatures[0];
  return fail(ErrorCode::kNotFound, "no solutions were compared yet, so nobody can have won",
              context.store_file.string(),
              fmt::format("'fib compare MINE house{}' compares; --house exports the house's "
                          "solutions without winners",
                          signature));
}

}  // namespace

Result<std::unique_ptr<Store>> open_export_store(const Context& context, const ExportArgs& args) {
  if (args.is_house) return std::unique_ptr<Store>();
  // Looking makes no file.
  if (!std::filesystem::exists(context.store_file)) return no_evidence(context, args);
  return Store::open(context.store_file);
}

Result<ExportSelection> select_for_export(const Context& context, const ExportArgs& args,
                                          const Store* store) {
  if (store == nullptr) return Selector(context, args, nullptr).run();
  const StoreEvidence evidence = FIB_TRY(StoreEvidence::read(*store, args.hardware));
  if (evidence.signatures().empty()) return no_evidence(context, args);
  return Selector(context, args, &evidence).run();
}

size_t ExportSelection::buckets_measured() const {
  size_t count = 0;
  for (const Winners& one : winners) {
    count += std::ranges::count_if(one.explanations, [](const WinnerExplanation& explanation) {
      return !explanation.bucket.empty();
    });
  }
  return count;
}

size_t ExportSelection::buckets_won() const {
  size_t count = 0;
  for (const Winners& one : winners) {
    count += std::ranges::count_if(one.explanations, [](const WinnerExplanation& explanation) {
      return !explanation.chosen.empty();
    });
  }
  return count;
}

void print_explanations(const Context& context, const ExportSelection& selection) {
  std::string board;
  for (const Winners& one : selection.winners) {
    for (const WinnerExplanation& why : one.explanations) {
      if (const std::string title = why.signature + "  " + why.hardware; title != board) {
        context.out << (board.empty() ? "" : "\n") << context.out_style.bold(why.signature) << "  "
                    << why.hardware << "\n";
        board = title;
      }
      if (!why.bucket.empty()) {
        context.out << "  " << why.bucket << ": "
                    << (why.chosen.empty() ? "the fallback" : context.out_style.bold(why.chosen))
                    << "\n";
      }
      for (const std::string& reason : why.reasons) context.out << "    " << reason << "\n";
    }
  }
}

Json explanations_to_json(const ExportSelection& selection) {
  Json explanations = Json::array();
  for (const Winners& one : selection.winners) {
    for (const WinnerExplanation& why : one.explanations) {
      explanations.push_back({{"signature", why.signature},
                              {"hardware", why.hardware},
                              {"bucket", why.bucket},
                              {"chosen", why.chosen},
                              {"reasons", why.reasons}});
    }
  }
  return explanations;
}

}  // namespace fib
