#include "agents/report/lineage_svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <vector>

#include "agents/report/chart_scale.h"
#include "agents/report/markup.h"

namespace fib::agents {

namespace {

constexpr double kWidth = 960.0, kLeft = 92.0, kRight = 936.0;
constexpr double kSpeedHeight = 300.0, kStripRow = 15.0;
constexpr double kLetter = 6.6;  // width of a letter of 12 px, on average

// What came to nothing, in the order of the strip's rows.
constexpr CandidateFate kStripFates[] = {CandidateFate::kSlow, CandidateFate::kDuplicate,
                                         CandidateFate::kFailed, CandidateFate::kRefused};

constexpr std::string_view kStyle = R"css(
.fib-run{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
.fib-run .paper{fill:#ffffff}
.fib-run text{fill:#24292f}
.fib-run .quiet{fill:#57606a}
.fib-run .title{font-size:16px;font-weight:600}
.fib-run .grid{stroke:#d8dee4;stroke-width:1}
.fib-run .one{stroke:#57606a;stroke-width:1;stroke-dasharray:4 4}
.fib-run .best{stroke:#24292f;stroke-width:1.6;fill:none}
.fib-run .line{stroke:#24292f;stroke-width:2.2;fill:none}
.fib-run .ring{stroke:#24292f;stroke-width:1.6;fill:none}
.fib-run .edge{stroke:#8c959f;stroke-width:0.8;fill:none}
.fib-run .lent{stroke-dasharray:2 3}
.fib-run .label{font-weight:600}
@media (prefers-color-scheme: dark){
.fib-run .paper{fill:#0d1117}
.fib-run text{fill:#e6edf3}
.fib-run .quiet{fill:#9198a1}
.fib-run .grid{stroke:#2a313a}
.fib-run .one{stroke:#9198a1}
.fib-run .best,.fib-run .line,.fib-run .ring{stroke:#e6edf3}
.fib-run .edge{stroke:#6e7681}
}
)css";

class Picture {
 public:
  explicit Picture(const RunReport& report) : report_(report) {
    const auto& candidates = report.candidates;
    if (!candidates.empty()) last_number_ = static_cast<double>(candidates.back().number);
    for (const CandidateRecord& candidate : candidates) {
      // Parents come first, so their depth is known.
      const auto parent =
          candidate.parents.empty() ? depths_.end() : depths_.find(candidate.parents.front());
      const int depth = parent == depths_.end() ? 0 : parent->second + 1;
      depths_[candidate.number] = depth;
      if (has_solution(candidate)) deepest_ = std::max(deepest_, depth);
    }
  }

  std::string draw() {
    heading();
    legend();
    crowd(report_.candidates.size());
    const double speed_top = y_;
    speeds(speed_top, speed_top + kSpeedHeight);
    y_ = speed_top + kSpeedHeight;
    strip();
    const double generations_top = y_ + 44.0;
    generations(generations_top);
    return document();
  }

 private:
  template <class... Arguments>
  void add(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    fmt::format_to(std::back_inserter(body_), format, std::forward<Arguments>(arguments)...);
  }

  double x_of(int64_t number) const {
    const double span = std::max(last_number_, 1.0);
    return kLeft + 8.0 + static_cast<double>(number) / span * (kRight - kLeft - 16.0);
  }

  static bool has_solution(const CandidateRecord& candidate) {
    return candidate.fate != CandidateFate::kRefused;
  }

  void heading() {
    const RunRecord& run = report_.run;
    add("<text class='title' x='20' y='30'>{}</text>\n", escape_markup(run.signature));
    const std::string about =
        fmt::format("run {} on {}, {}", run.id, run.hardware, run_state_name(run.state));
    add("<text class='quiet' x='20' y='49'>{}</text>\n",
        escape_markup(run.end_reason.empty() ? about : about + ": " + run.end_reason));
    y_ = 72.0;
  }

  // Thousands of candidates are drawn finer than dozens.
  void crowd(size_t candidates) {
    if (candidates > 250) radius_ = 2.2, faintness_ = 0.28;
    if (candidates > 1000) radius_ = 1.6, faintness_ = 0.14;
  }

  // One entry after the other, in as many rows as they need.
  void legend() {
    double x = 20.0;
    const auto entry = [&](std::string_view name, auto draw_sign) {
      const double width = 30.0 + kLetter * static_cast<double>(name.size());
      if (x + width > kRight) {
        x = 20.0;
        y_ += 20.0;
      }
      draw_sign(x, y_ - 4.0);
      add("<text x='{:.1f}' y='{:.1f}'>{}</text>\n", x + 22.0, y_, escape_markup(name));
      x += width + 12.0;
    };
    for (const auto& [proposer, tally] : report_.tally.proposers()) {
      entry(proposer, [&](double left, double middle) {
        add("<circle cx='{:.1f}' cy='{:.1f}' r='4' fill='{}'/>\n", left + 10.0, middle,
            proposer_colour(proposer));
      });
    }
    if (report_.best() != nullptr) {
      entry("best so far, and its lineage", [&](double left, double middle) {
        add("<path class='line' d='M{:.1f} {:.1f}h18'/>\n", left, middle);
      });
    }
    if (std::ranges::any_of(report_.candidates, &CandidateRecord::is_confirmed)) {
      entry("confirmed", [&](double left, double middle) {
        add("<circle class='ring' cx='{:.1f}' cy='{:.1f}' r='5'/>\n", left + 10.0, middle);
      });
    }
    const auto borrowed = [](const CandidateRecord& it) { return it.parents.size() > 1; };
    if (std::ranges::any_of(report_.candidates, borrowed)) {
      entry("lent blocks", [&](double left, double middle) {
        add("<path class='edge lent' d='M{:.1f} {:.1f}h18'/>\n", left, middle);
      });
    }
    y_ += 22.0;
  }

  // The names beside a panel, from bottom to top, and the ticks of the numbers below it.
  void axis_title(double top, double bottom, std::string_view title) {
    const double middle = (top + bottom) / 2.0;
    add("<text class='quiet' text-anchor='middle' transform='translate(26 {:.1f}) rotate(-90)'>"
        "{}</text>\n",
        middle, title);
  }
  void numbers(double top, double bottom) {
    for (const Tick& tick : count_ticks(last_number_, 10)) {
      const double x = x_of(static_cast<int64_t>(tick.value));
      add("<path class='grid' d='M{:.1f} {:.1f}V{:.1f}'/>\n", x, top, bottom + 4.0);
      add("<text class='quiet' text-anchor='middle' x='{:.1f}' y='{:.1f}'>{}</text>\n", x,
          bottom + 18.0, tick.label);
    }
  }

  LogScale speed_scale(double top, double bottom) const {
    double low = 1.0, high = 1.0;  // the baseline is always on the paper
    for (const int64_t number : report_.ranking) {
      low = std::min(low, report_.find(number)->speedup);
      high = std::max(high, report_.find(number)->speedup);
    }
    const double margin = std::max(std::pow(high / low, 0.08), 1.03);
    return {low / margin, high * margin, bottom, top};
  }

  void speeds(double top, double bottom) {
    const LogScale scale = speed_scale(top, bottom);
    axis_title(top, bottom, "speedup over the baseline, log scale");
    for (const Tick& tick : scale.ticks()) {
      const double y = scale.position(tick.value);
      add("<path class='grid' d='M{:.1f} {:.1f}H{:.1f}'/>\n", kLeft, y, kRight);
      add("<text class='quiet' text-anchor='end' x='{:.1f}' y='{:.1f}'>{}</text>\n", kLeft - 8.0,
          y + 4.0, tick.label);
    }
    add("<path class='one' d='M{:.1f} {:.1f}H{:.1f}'/>\n", kLeft, scale.position(1.0), kRight);
    whiskers(scale);
    best_so_far(scale);
    for (const CandidateRecord& candidate : report_.candidates) {
      if (is_ranked(candidate)) point(candidate, scale.position(candidate.speedup));
    }
    label_best(scale, top);
  }

  // One path a proposer: there may be thousands.
  void whiskers(const LogScale& scale) {
    std::map<std::string, std::string> paths;
    for (const CandidateRecord& candidate : report_.candidates) {
      if (!is_ranked(candidate)) continue;
      fmt::format_to(std::back_inserter(paths[candidate.proposer]), "M{:.1f} {:.1f}V{:.1f}",
                     x_of(candidate.number), scale.position(candidate.speedup_low),
                     scale.position(candidate.speedup_high));
    }
    for (const auto& [proposer, path] : paths) {
      add("<path stroke='{}' stroke-width='1' opacity='0.55' fill='none' d='{}'/>\n",
          proposer_colour(proposer), path);
    }
  }

  void best_so_far(const LogScale& scale) {
    std::string path;
    double best_low = 0.0;
    for (const CandidateRecord& candidate : report_.candidates) {
      if (!is_ranked(candidate) || (!path.empty() && candidate.speedup_low <= best_low)) continue;
      best_low = candidate.speedup_low;
      path += fmt::format(fmt::runtime(path.empty() ? "M{:.1f} {:.1f}" : "H{:.1f}V{:.1f}"),
                          x_of(candidate.number), scale.position(candidate.speedup));
    }
    if (!path.empty()) add("<path class='best' d='{}H{:.1f}'/>\n", path, kRight);
  }

  static std::string tooltip(const CandidateRecord& candidate) {
    std::string text = fmt::format("#{} {}", candidate.number, candidate.proposer);
    if (!candidate.parents.empty()) text += fmt::format(" of #{}", candidate.parents.front());
    if (!candidate.note.empty()) text += ": " + candidate.note;
    text += is_ranked(candidate) ? "; " + speedup_in_words(candidate)
                                 : fmt::format("; {}: {}", candidate_fate_name(candidate.fate),
                                               candidate.refusal.reason);
    return escape_markup(text);
  }

  void point(const CandidateRecord& candidate, double y) {
    const double x = x_of(candidate.number);
    add("<circle cx='{:.1f}' cy='{:.1f}' r='{}' fill='{}'><title>{}</title></circle>\n", x, y,
        radius_, proposer_colour(candidate.proposer), tooltip(candidate));
    if (candidate.is_confirmed) add("<circle class='ring' cx='{:.1f}' cy='{:.1f}' r='5'/>\n", x, y);
  }

  void label_best(const LogScale& scale, double top) {
    const CandidateRecord* best = report_.best();
    if (best == nullptr) return;
    const double x = x_of(best->number);
    const bool is_right = x > (kLeft + kRight) / 2.0;
    add("<text class='label' text-anchor='{}' x='{:.1f}' y='{:.1f}'>#{} {:.2f}x</text>\n",
        is_right ? "end" : "start", x + (is_right ? -8.0 : 8.0),
        std::max(scale.position(best->speedup) - 8.0, top + 12.0), best->number, best->speedup);
  }

  // A row of ticks for each way of coming to nothing.
  void strip() {
    const double top = y_ + 8.0;
    const double bottom = top + kStripRow * static_cast<double>(std::size(kStripFates));
    numbers(y_, bottom);
    for (size_t row = 0; row < std::size(kStripFates); ++row) {
      const double y = top + kStripRow * (static_cast<double>(row) + 0.5);
      add("<text class='quiet' text-anchor='end' x='{:.1f}' y='{:.1f}'>{}</text>\n", kLeft - 8.0,
          y + 4.0, candidate_fate_name(kStripFates[row]));
      std::map<std::string, std::string> paths;
      for (const CandidateRecord& candidate : report_.candidates) {
        if (candidate.fate != kStripFates[row]) continue;
        fmt::format_to(std::back_inserter(paths[candidate.proposer]), "M{:.1f} {:.1f}v9",
                       x_of(candidate.number), y - 4.5);
      }
      for (const auto& [proposer, path] : paths) {
        add("<path stroke='{}' stroke-width='1.4' fill='none' d='{}'/>\n",
            proposer_colour(proposer), path);
      }
    }
    y_ = bottom;
  }

  double generation_y(int64_t number) const {
    return generations_top_ + generation_height_ * (depths_.at(number) + 0.5);
  }

  std::string edge_between(int64_t parent, int64_t child) const {
    const double from_x = x_of(parent), to_x = x_of(child);
    const double from_y = generation_y(parent), to_y = generation_y(child);
    const double bend = (from_y + to_y) / 2.0;
    return fmt::format("M{:.1f} {:.1f}C{:.1f} {:.1f} {:.1f} {:.1f} {:.1f} {:.1f}", from_x, from_y,
                       from_x, bend, to_x, bend, to_x, to_y);
  }

  void generations(double top) {
    generations_top_ = top;
    generation_height_ = std::clamp(240.0 / (deepest_ + 1), 12.0, 40.0);
    const double bottom = top + generation_height_ * (deepest_ + 1);
    axis_title(top, bottom, "generation");
    numbers(top, bottom);
    for (const Tick& tick : count_ticks(deepest_, 8)) {
      add("<text class='quiet' text-anchor='end' x='{:.1f}' y='{:.1f}'>{}</text>\n", kLeft - 8.0,
          top + generation_height_ * (tick.value + 0.5) + 4.0, tick.label);
    }
    edges();
    for (const CandidateRecord& candidate : report_.candidates) {
      if (!has_solution(candidate)) continue;
      if (is_ranked(candidate)) {
        point(candidate, generation_y(candidate.number));
      } else {
        add("<circle cx='{:.1f}' cy='{:.1f}' r='{}' fill='{}' opacity='0.6'><title>{}</title>"
            "</circle>\n",
            x_of(candidate.number), generation_y(candidate.number), 0.55 * radius_,
            proposer_colour(candidate.proposer), tooltip(candidate));
      }
    }
    add("<text class='quiet' text-anchor='middle' x='{:.1f}' y='{:.1f}'>candidate, in the order in "
        "which they were decided on</text>\n",
        (kLeft + kRight) / 2.0, bottom + 40.0);
    y_ = bottom + 56.0;
  }

  void edges() {
    std::string changed, lent, line;
    for (const CandidateRecord& candidate : report_.candidates) {
      if (!has_solution(candidate)) continue;
      for (size_t i = 0; i < candidate.parents.size(); ++i) {
        // A parent may have been left out by whoever read the records.
        if (!depths_.contains(candidate.parents[i])) continue;
        (i == 0 ? changed : lent) += edge_between(candidate.parents[i], candidate.number);
      }
    }
    if (const CandidateRecord* best = report_.best()) {
      const std::vector<int64_t> ancestors = report_.line_of(best->number);
      for (size_t i = 1; i < ancestors.size(); ++i) {
        line += edge_between(ancestors[i - 1], ancestors[i]);
      }
    }
    if (!changed.empty()) {
      add("<path class='edge' opacity='{}' d='{}'/>\n", faintness_, changed);
    }
    if (!lent.empty()) add("<path class='edge lent' opacity='{}' d='{}'/>\n", faintness_, lent);
    if (!line.empty()) add("<path class='line' d='{}'/>\n", line);
  }

  std::string document() const {
    const CandidateRecord* best = report_.best();
    return fmt::format(
        "<svg xmlns='http://www.w3.org/2000/svg' class='fib-run' role='img' viewBox='0 0 {:.0f} "
        "{:.0f}' width='{:.0f}' height='{:.0f}'>\n<title>{}</title>\n<style>{}</style>\n"
        "<rect class='paper' width='100%' height='100%'/>\n{}</svg>\n",
        kWidth, y_, kWidth, y_,
        escape_markup(fmt::format(
            "{}: {} candidates, best {}", report_.run.signature, report_.candidates.size(),
            best == nullptr ? "none"
                            : fmt::format("#{} {}", best->number, speedup_in_words(*best)))),
        kStyle, body_);
  }

  const RunReport& report_;
  std::string body_;
  double y_ = 0.0;  // where the next part begins
  double last_number_ = 0.0;
  std::map<int64_t, int> depths_;  // steps from a seed, by first parents
  int deepest_ = 0;
  double generations_top_ = 0.0, generation_height_ = 0.0;
  double radius_ = 3.0, faintness_ = 0.5;  // of points; of edges between them
};

}  // namespace

std::string lineage_svg(const RunReport& report) { return Picture(report).draw(); }

}  // namespace fib::agents
