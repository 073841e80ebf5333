// plot_report: two panels of cumulative distributions over a logarithmic axis of milliseconds.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "integrations/serving/traffic/replay_report.h"

namespace fib {
namespace {

constexpr double kPanelWidth = 360, kPanelHeight = 220;  // of the axes, in pixels
constexpr double kLeft = 56, kTop = 56, kGap = 70;
constexpr double kPictureWidth = kLeft + 2 * kPanelWidth + kGap + 24;
constexpr double kPictureHeight = kTop + kPanelHeight + 52;
constexpr size_t kMostPoints = 400;  // of a curve; more can't be told apart

std::string escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '&': out += "&amp;"; break;
      default: out += c;
    }
  }
  return out;
}

class Panel {
 public:
  Panel(double left, std::string_view name, const std::vector<double>& sorted_s, double level_s)
      : left_(left), name_(name), sorted_s_(sorted_s), level_ms_(1e3 * level_s) {
    // Whole decades that hold all samples and the level.
    double low = level_ms_, high = level_ms_;
    if (!sorted_s.empty()) {
      constexpr double kLeastMs = 1e-3;  // tokens that came in one piece have no gap to speak of
      low = std::max(kLeastMs, std::min(low, 1e3 * sorted_s.front()));
      high = std::max(high, 1e3 * sorted_s.back());
    }
    first_decade_ = static_cast<int>(std::floor(std::log10(low)));
    last_decade_ = std::max(first_decade_ + 1, static_cast<int>(std::ceil(std::log10(high))));
  }

  std::string draw() const {
    std::string svg = fmt::format(
        "<text x=\"{:.0f}\" y=\"{:.0f}\" class=\"name\">{}</text>\n"
        "<rect x=\"{:.0f}\" y=\"{:.0f}\" width=\"{:.0f}\" height=\"{:.0f}\" class=\"frame\"/>\n",
        left_, kTop - 8, name_, left_, kTop, kPanelWidth, kPanelHeight);
    for (int decade = first_decade_; decade <= last_decade_; ++decade) {
      const double ms = std::pow(10.0, decade);
      svg += vertical(ms, "grid") +
             fmt::format("<text x=\"{:.1f}\" y=\"{:.0f}\" class=\"x\">{:g}</text>\n", x(ms),
                         kTop + kPanelHeight + 16, ms);
    }
    for (const int percent : {0, 25, 50, 75, 100}) {
      const double at = y(percent / 100.0);
      svg += fmt::format(
          "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" class=\"grid\"/>\n"
          "<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"y\">{} %</text>\n",
          left_, at, left_ + kPanelWidth, at, left_ - 6, at + 4, percent);
    }
    svg += vertical(level_ms_, "level");
    svg += fmt::format("<text x=\"{:.0f}\" y=\"{:.0f}\" class=\"x\">ms</text>\n",
                       left_ + kPanelWidth / 2, kTop + kPanelHeight + 34);
    return svg + curve();
  }

 private:
  double x(double ms) const {
    const double decades = std::log10(std::max(ms, std::pow(10.0, first_decade_))) - first_decade_;
    return left_ + kPanelWidth * decades / (last_decade_ - first_decade_);
  }
  static double y(double share) { return kTop + kPanelHeight * (1.0 - share); }

  std::string vertical(double ms, std::string_view style) const {
    return fmt::format(
        "<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{0:.1f}\" y2=\"{2:.1f}\" class=\"{3}\"/>\n",
        x(ms), kTop, kTop + kPanelHeight, style);
  }

  std::string curve() const {
    if (sorted_s_.empty()) return {};
    std::string points = fmt::format("{:.1f},{:.1f}", x(1e3 * sorted_s_.front()), y(0.0));
    const size_t count = sorted_s_.size(), drawn = std::min(count, kMostPoints);
    for (size_t i = 1; i <= drawn; ++i) {
      const size_t rank = i * count / drawn;  // the last point is the last sample
      points += fmt::format(" {:.1f},{:.1f}", x(1e3 * sorted_s_[rank - 1]),
                            y(static_cast<double>(rank) / static_cast<double>(count)));
    }
    return fmt::format("<polyline points=\"{}\" class=\"curve\"/>\n", points);
  }

  double left_;
  std::string_view name_;
  const std::vector<double>& sorted_s_;
  double level_ms_;
  int first_decade_ = 0, last_decade_ = 1;
};

}  // namespace

std::string plot_report(const ReplayReport& report, std::string_view title) {
  const Panel ttft(kLeft, "Time to first token", report.ttft_samples_s, report.level.ttft_s);
  const Panel tbt(kLeft + kPanelWidth + kGap, "Time between tokens", report.tbt_samples_s,
                  report.level.tbt_s);
  return fmt::format(
             "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
             "viewBox=\"0 0 {0:.0f} {1:.0f}\">\n"
             "<style>text{{font:12px sans-serif;fill:#333}} .title{{font-size:14px}} "
             ".x{{text-anchor:middle}} .y{{text-anchor:end}} .grid{{stroke:#ddd}} "
             ".frame{{fill:none;stroke:#888}} .level{{stroke:#c33;stroke-dasharray:5 4}} "
             ".curve{{fill:none;stroke:#26a;stroke-width:2}}</style>\n"
             "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
             "<text x=\"{2:.0f}\" y=\"24\" class=\"title\">{3}</text>\n",
             kPictureWidth, kPictureHeight, kLeft, escape(title)) +
         ttft.draw() + tbt.draw() + "</svg>\n";
}

}  // namespace fib
