#pragma once

// Regression by a Gaussian process: a smooth function guessed from few noisy observations, and how
// sure the guess is. Matern 5/2 kernel with a length scale for each coordinate, chosen by the
// likelihood of the observations.

#include <vector>

namespace fib::agents {

struct Observation {
  std::vector<double> at;  // coordinates, each in [0, 1]
  double value = 0.0;
  double noise = 0.0;  // its standard deviation
};

class GaussianProcess {
 public:
  // Needs at least one observation; all have the same number of coordinates.
  explicit GaussianProcess(std::vector<Observation> observations);

  struct Prediction {
    double mean = 0.0, deviation = 0.0;
  };
  Prediction predict(const std::vector<double>& at) const;

 private:
  struct Parameters {
    std::vector<double> length_scales;
    double nugget = 0.0;  // variance that the observations' own noise doesn't explain
  };
  static double kernel(const Parameters& parameters, const std::vector<double>& a,
                       const std::vector<double>& b);
  // Factorises and returns the log of likelihood times prior.
  double factorise(const Parameters& parameters);
  void choose_parameters();

  std::vector<Observation> observations_;
  double offset_ = 0.0, scale_ = 1.0;  // values are standardised
  std::vector<double> values_;         // standardised, [n]
  Parameters parameters_;
  std::vector<double> factor_;   // [n, n], lower triangle of the covariance's Cholesky factor
  std::vector<double> weights_;  // [n], the covariance's inverse times the values
};

}  // namespace fib::agents
