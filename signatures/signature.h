#pragma once

// A Signature is a FlashInfer-Trace Definition plus what fib adds under the key `fib`.
// Format: docs/formats.md. Map order of inputs and outputs is the calling convention.

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "signatures/base/dtype.h"
#include "signatures/base/json.h"
#include "signatures/base/result.h"
#include "signatures/expression.h"

namespace fib {

enum class Strictness {
  kStrict,    // our own files: unknown keys are errors
  kTolerant,  // foreign files: unknown keys are kept and written back
};

struct Axis {
  enum class Kind { kConst, kVar };
  std::string name;
  Kind kind = Kind::kVar;
  int64_t value = 0;  // of a const axis
  std::optional<std::string> description;
  std::optional<std::string> parent;
};

struct TensorSpec {
  std::string name;
  // Axis names, outermost first; empty: a 0-D tensor; nullopt: a host scalar passed by value.
  std::optional<std::vector<std::string>> shape;
  DType dtype = DType::kFloat32;
  std::optional<std::string> description;
};

// How random values of an input are drawn. See workloads/generator.h for the exact definitions.
struct Distribution {
  enum class Kind {
    kDefault,     // by dtype: floats N(0,1), integers and bools over their range
    kNormal,      // mean `a`, standard deviation `b`
    kUniform,     // [a, b)
    kUniformInt,  // a..b inclusive
    kBits,        // every bit pattern alike (packed int4 words)
  };
  Kind kind = Kind::kDefault;
  double a = 0.0;
  double b = 1.0;
};

// How an integer input is made when a workload doesn't bring it (workloads/synthesis.h).
struct Synthesis {
  enum class Kind {
    kNone,
    kIndptr,        // non-decreasing offsets from 0; last element = axis `total`
    kPageTable,     // page ids in [0, `limit`), distinct within a request
    kLastPageLen,   // 1..`limit`
    kRouting,       // [tokens, k] expert ids in [0, `limit`), distinct within a row, skewed
    kRoutingWeights,  // [tokens, k] positive float32, each row sums to 1
    kSlots,         // distinct ids in [0, `limit`)
    kPositions,     // any ids in [0, `limit`), repeated or not
    kChoice,        // each element one of `values`, all as likely
  };
  Kind kind = Kind::kNone;
  std::string limit;   // axis name or expression giving the exclusive bound
  std::string total;   // kIndptr: axis that the last element must equal
  std::vector<double> values;  // kChoice
};

// When an output counts as right.
struct Tolerance {
  enum class Rule {
    kElements,      // each element is near its expected value: both bounds hold (harness/compare.h)
    kDistribution,  // each element is a random draw, judged together by how likely the draws are
                    // (harness/draws.h)
  };
  // RMS error relative to the reference's RMS may reach this many times that of an honest
  // implementation in the signature's own precision, measured on the same inputs.
  double honest_factor = 2.0;
  // No single element may be off by more than this many times the reference's RMS.
  double max_error_rms = 0.05;
  std::string reason;  // why these numbers
  Rule rule = Rule::kElements;
  // kDistribution: how far rounding may move the cuts between what can be drawn and what can't,
  // as a share of a probability or of all probability.
  double slack = 0.0;
};

struct CostModel {
  // Expressions (signatures/expression.h) over axes and integer inputs.
  std::string bytes;  // bytes that must cross device memory at least once
  std::string flops;  // arithmetic operations, a multiply-add counting as two
  std::string math;   // unit that does them: "bf16_tensor", "fp16_tensor", "fp32"
};

// Everything under the key `fib`.
struct SignatureExtension {
  std::string reference;                         // C++ reference id (reference/reference.h)
  std::map<std::string, double> parameters;      // constants of the mathematics, such as eps
  std::vector<std::string> weights;              // inputs that a `prepare` step may re-lay out
  std::vector<std::string> host_visible;         // integer inputs that plan.cpp may read
  std::map<std::string, Distribution> distributions;  // by input
  std::map<std::string, Synthesis> synthesis;         // by input
  std::map<std::string, Tolerance> tolerances;        // by output
  // Output -> the input whose content its memory comes with; a solution writes what changes.
  std::map<std::string, std::string> in_place;
  // Var axes whose size doesn't say how much work a call is: of memory that is indexed into (pages
  // of a cache), of lists for which a recorded graph keeps room. Where kernels are chosen by shape,
  // these aren't looked at.
  std::vector<std::string> capacity_axes;
  CostModel cost;
  std::string family;  // the family file this was expanded from, empty for plain Definitions
};

struct Signature {
  std::string name;     // "rmsnorm_h4096"
  std::string op_type;  // "rmsnorm"
  std::optional<std::string> description;
  std::vector<std::string> tags;
  std::vector<Axis> axes;            // file order
  std::vector<TensorSpec> inputs;    // calling order
  std::vector<TensorSpec> outputs;   // calling order
  std::vector<Expression> constraints;
  std::string reference;             // Python source with a top-level `def run`
  SignatureExtension fib;
  bool has_fib_key = false;          // false: a foreign definition, `fib` was inferred
  Json original;                     // the document as read, for lossless writing
  std::filesystem::path file;

  const Axis* find_axis(std::string_view name) const;
  const TensorSpec* find_input(std::string_view name) const;
  const TensorSpec* find_output(std::string_view name) const;
  bool is_weight(std::string_view input) const;
  bool is_host_visible(std::string_view input) const;
  bool is_capacity(std::string_view axis) const;
  double parameter(std::string_view name, double fallback) const;
};
using SignaturePtr = std::shared_ptr<const Signature>;

// Reads and checks one Definition against every rule of the trace format (docs/formats.md).
// A foreign definition (no `fib` key) gets its extension from `infer_extension`.
Result<Signature> signature_from_json(const Json& json, std::string_view where,
                                      Strictness strictness);
Result<Signature> read_signature(const std::filesystem::path& file, Strictness strictness);

// What fib assumes of a foreign definition, from op_type, input names and reference text (its
// `EPS = ...`): reference id, weights, host-visible inputs, synthesis, tolerances, cost.
SignatureExtension infer_extension(const Signature& signature);

// The Definition as JSON, equal in meaning to what was read, `fib` key included.
Json signature_to_json(const Signature& signature);

// What would stand under `fib`: also for foreign definitions, whose extension is inferred.
Json extension_to_json(const SignatureExtension& extension);

}  // namespace fib
