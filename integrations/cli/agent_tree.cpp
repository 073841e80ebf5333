#include "integrations/cli/agent_tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <ostream>
#include <set>

#include "harness/verdict_json.h"
#include "integrations/cli/agent_run_view.h"

namespace fib {

namespace {

// Numbers by first parent, in order; those without a parent are the children of kNobody.
constexpr int64_t kNobody = -1;
using Children = std::map<int64_t, std::vector<int64_t>>;

Children children_of(const agents::RunReport& report) {
  Children children;
  for (const CandidateRecord& candidate : report.candidates) {
    const bool has_parent =
        !candidate.parents.empty() && report.find(candidate.parents.front()) != nullptr;
    children[has_parent ? candidate.parents.front() : kNobody].push_back(candidate.number);
  }
  return children;
}

// What led to `of`, and all that came of it. Nothing asked for: everybody.
std::set<int64_t> family_of(const agents::RunReport& report, const std::optional<int64_t>& of) {
  std::set<int64_t> family;
  if (!of) {
    for (const CandidateRecord& candidate : report.candidates) family.insert(candidate.number);
    return family;
  }
  for (const int64_t ancestor : report.line_of(*of)) family.insert(ancestor);
  std::set<int64_t> descendants = {*of};
  for (const CandidateRecord& candidate : report.candidates) {  // parents come before children
    if (!candidate.parents.empty() && descendants.contains(candidate.parents.front())) {
      descendants.insert(candidate.number);
    }
  }
  family.merge(descendants);
  return family;
}

class TreePrinter {
 public:
  TreePrinter(std::ostream& out, const Style& style, const agents::RunReport& report,
              const TreeView& view)
      : out_(out),
        style_(style),
        report_(report),
        view_(view),
        children_(children_of(report)),
        family_(family_of(report, view.of)) {}

  void print() { print_children(kNobody, ""); }

 private:
  bool is_summed(const CandidateRecord& candidate) const {
    return view_.leaves == TreeLeaves::kSummed && !agents::is_ranked(candidate) &&
           !children_.contains(candidate.number) && candidate.number != view_.of;
  }

  void print_children(int64_t parent, const std::string& indent) {
    const auto found = children_.find(parent);
    if (found == children_.end()) return;
    std::vector<const CandidateRecord*> shown;
    std::map<CandidateFate, int64_t> summed;
    for (const int64_t number : found->second) {
      if (!family_.contains(number)) continue;
      const CandidateRecord& candidate = *report_.find(number);
      if (is_summed(candidate)) {
        ++summed[candidate.fate];
      } else {
        shown.push_back(&candidate);
      }
    }
    for (size_t i = 0; i < shown.size(); ++i) {
      const bool is_last = i + 1 == shown.size() && summed.empty();
      const bool is_root = parent == kNobody;
      out_ << indent << (is_root ? "" : is_last ? "└─ " : "├─ ");
      print_line(*shown[i]);
      print_children(shown[i]->number, indent + (is_root ? "" : is_last ? "   " : "│  "));
    }
    if (!summed.empty()) print_sum(summed, indent + (parent == kNobody ? "" : "└─ "));
  }

  void print_line(const CandidateRecord& candidate) {
    const bool is_improvement = report_.improvements.contains(candidate.number);
    const std::string name = fmt::format("#{}", candidate.number);
    out_ << (is_improvement ? style_.bold(name) : name) << " " << printable(candidate.proposer)
         << "  " << outcome_cell(candidate, style_);
    if (is_improvement) out_ << "  " << style_.green("▲ new best");
    if (!candidate.note.empty()) out_ << "  " << style_.dim(printable(candidate.note));
    out_ << "\n";
  }

  void print_sum(const std::map<CandidateFate, int64_t>& fates, const std::string& indent) {
    std::string text;
    for (const auto& [fate, count] : fates) {
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, candidate_fate_name(fate));
    }
    out_ << indent << style_.dim(text) << "\n";
  }

  std::ostream& out_;
  const Style& style_;
  const agents::RunReport& report_;
  const TreeView view_;
  const Children children_;
  const std::set<int64_t> family_;
};

}  // namespace

void print_tree(std::ostream& out, const Style& style, const agents::RunReport& report,
                const TreeView& view) {
  TreePrinter(out, style, report, view).print();
}

Json tree_to_json(const agents::RunReport& report, const std::optional<int64_t>& of) {
  Json candidates = Json::array();
  for (const int64_t number : family_of(report, of)) {
    const CandidateRecord& candidate = *report.find(number);
    candidates.push_back({{"number", candidate.number},
                          {"parents", candidate.parents},
                          {"proposer", candidate.proposer},
                          {"fate", candidate_fate_name(candidate.fate)},
                          {"reason", candidate.refusal.reason},
                          {"speedup", number_to_json(candidate.speedup)},
                          {"speedup_low", number_to_json(candidate.speedup_low)},
                          {"speedup_high", number_to_json(candidate.speedup_high)},
                          {"is_improvement", report.improvements.contains(candidate.number)},
                          {"note", candidate.note}});
  }
  return {{"run", report.run.id}, {"candidates", candidates}};
}

}  // namespace fib
