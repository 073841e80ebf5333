#include "agents/proposers/tune/gaussian_process.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace fib::agents {

namespace {

// A coordinate's whole range is 1. From "each value for itself" to "makes no difference".
constexpr double kLengthScales[] = {0.15, 0.3, 0.6, 1.2, 2.4, 6.0};
constexpr double kUsualLengthScale = 0.8;
constexpr double kNuggets[] = {1e-4, 1e-2, 1e-1};

}  // namespace

GaussianProcess::GaussianProcess(std::vector<Observation> observations)
    : observations_(std::move(observations)) {
  if (observations_.empty()) throw std::logic_error("a Gaussian process of no observations");
  const double count = static_cast<double>(observations_.size());
  for (const Observation& one : observations_) offset_ += one.value / count;
  double variance = 0.0;
  for (const Observation& one : observations_) {
    variance += (one.value - offset_) * (one.value - offset_) / count;
  }
  if (variance > 0.0) scale_ = std::sqrt(variance);
  for (const Observation& one : observations_) values_.push_back((one.value - offset_) / scale_);
  choose_parameters();
}

double GaussianProcess::kernel(const Parameters& parameters, const std::vector<double>& a,
                               const std::vector<double>& b) {
  double squares = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double step = (a[i] - b[i]) / parameters.length_scales[i];
    squares += step * step;
  }
  const double r = std::sqrt(5.0 * squares);
  return (1.0 + r + r * r / 3.0) * std::exp(-r);
}

double GaussianProcess::factorise(const Parameters& parameters) {
  const size_t n = observations_.size();
  factor_.assign(n * n, 0.0);
  double log_likelihood = 0.0;
  for (size_t row = 0; row < n; ++row) {
    for (size_t column = 0; column <= row; ++column) {
      double value = kernel(parameters, observations_[row].at, observations_[column].at);
      if (row == column) {
        const double noise = observations_[row].noise / scale_;
        value += noise * noise + parameters.nugget;
      }
      for (size_t k = 0; k < column; ++k) value -= factor_[row * n + k] * factor_[column * n + k];
      factor_[row * n + column] =
          row == column ? std::sqrt(value) : value / factor_[column * n + column];
    }
    log_likelihood -= std::log(factor_[row * n + row]);
  }
  weights_ = values_;
  for (size_t row = 0; row < n; ++row) {  // forwards
    for (size_t k = 0; k < row; ++k) weights_[row] -= factor_[row * n + k] * weights_[k];
    weights_[row] /= factor_[row * n + row];
    log_likelihood -= 0.5 * weights_[row] * weights_[row];
  }
  for (size_t row = n; row-- > 0;) {  // backwards
    for (size_t k = row + 1; k < n; ++k) weights_[row] -= factor_[k * n + row] * weights_[k];
    weights_[row] /= factor_[row * n + row];
  }
  // Few observations say little about length scales: near the usual one unless they insist.
  for (const double scale : parameters.length_scales) {
    const double away = std::log(scale / kUsualLengthScale);
    log_likelihood -= 0.5 * away * away;
  }
  return log_likelihood;
}

void GaussianProcess::choose_parameters() {
  parameters_.length_scales.assign(observations_.front().at.size(), kUsualLengthScale);
  parameters_.nugget = kNuggets[1];
  double best = factorise(parameters_);
  const auto keep_if_better = [&](const Parameters& tried) {
    const double likelihood = factorise(tried);
    if (likelihood > best) {
      best = likelihood;
      parameters_ = tried;
    }
  };
  // One after the other: a second round finds little more and costs as much again.
  for (size_t i = 0; i < parameters_.length_scales.size(); ++i) {
    for (const double scale : kLengthScales) {
      Parameters tried = parameters_;
      tried.length_scales[i] = scale;
      keep_if_better(tried);
    }
  }
  for (const double nugget : kNuggets) {
    Parameters tried = parameters_;
    tried.nugget = nugget;
    keep_if_better(tried);
  }
  factorise(parameters_);
}

GaussianProcess::Prediction GaussianProcess::predict(const std::vector<double>& at) const {
  const size_t n = observations_.size();
  std::vector<double> solved(n);  // the factor's inverse times the covariance with the observations
  double mean = 0.0, explained = 0.0;
  for (size_t row = 0; row < n; ++row) {
    const double covariance = kernel(parameters_, at, observations_[row].at);
    mean += covariance * weights_[row];
    double value = covariance;
    for (size_t k = 0; k < row; ++k) value -= factor_[row * n + k] * solved[k];
    solved[row] = value / factor_[row * n + row];
    explained += solved[row] * solved[row];
  }
  return {.mean = offset_ + scale_ * mean,
          .deviation = scale_ * std::sqrt(std::max(1.0 - explained, 1e-9))};
}

}  // namespace fib::agents
