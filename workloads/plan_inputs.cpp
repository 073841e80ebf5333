// plan_inputs: where each input's values come from. Loads blobs, makes what is missing
// (workloads/synthesis.h), checks every index (workloads/index_checks.h).

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <optional>

#include "signatures/base/file.h"
#include "signatures/base/hash.h"
#include "signatures/base/safetensors.h"
#include "workloads/index_checks.h"
#include "workloads/inputs.h"
#include "workloads/synthesis.h"

namespace fib {
namespace {

namespace fs = std::filesystem;
using Kind = Synthesis::Kind;

constexpr uint32_t kFirstStructureStream = 1u << 16;  // apart from the generated values' streams

// A blob that was never fetched is like one that isn't there; any other damage is an error.
bool is_missing(const fs::path& file) {
  std::error_code error;
  if (!fs::exists(file, error)) return true;
  constexpr std::string_view kPointer = "version https://git-lfs.github.com/spec/v1";
  constexpr uintmax_t kLargestPointer = 1024;
  if (fs::file_size(file, error) > kLargestPointer || error) return false;
  const Result<std::string> text = read_file(file);
  return text && text->starts_with(kPointer);
}

std::vector<int64_t> decode_integers(DType dtype, const std::vector<std::byte>& bytes,
                                     int64_t count) {
  std::vector<int64_t> values(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    values[i] = static_cast<int64_t>(load_element(dtype, bytes.data(), i));
  }
  return values;
}

template <class Number>
InputBytes encode(DType dtype, const std::vector<Number>& values) {
  auto bytes = std::make_shared<std::vector<std::byte>>(
      storage_bytes(dtype, static_cast<int64_t>(values.size())));
  for (size_t i = 0; i < values.size(); ++i) {
    store_element(dtype, bytes->data(), static_cast<int64_t>(i), static_cast<double>(values[i]));
  }
  return bytes;
}

class InputPlanner final : private ExpressionScope {
 public:
  InputPlanner(const Problem& problem, uint64_t structure_seed)
      : signature_(*problem.signature), workload_(problem.workload), seed_(structure_seed) {
    plan_.problem = problem;
    plan_.structure.resize(problem.inputs.size());
    if (seed_ == 0) seed_ = Hasher().add("structure").add(workload_id(workload_)).u64();
  }

  Result<InputPlan> run() {
    for (size_t i = 0; i < inputs().size(); ++i) FIB_CHECK(place(i));
    FIB_CHECK(check_indices());
    FIB_CHECK(make_missing());
    FIB_CHECK(check_indices());
    FIB_CHECK(check_constraints());
    for (size_t i = 0; i < inputs().size(); ++i) plan_.structure[i].desc = inputs()[i];
    return std::move(plan_);
  }

 private:
  const std::vector<TensorDesc>& inputs() const { return plan_.problem.inputs; }

  Failure error(ErrorCode code, std::string message, std::string remedy = {}) const {
    return fail(code, std::move(message), workload_.where, std::move(remedy));
  }

  // ---- Where values come from -----------------------------------------------------------------

  Result<void> place(size_t i) {
    const auto listed =
        std::find_if(workload_.inputs.begin(), workload_.inputs.end(),
                     [&](const auto& entry) { return entry.first == inputs()[i].name; });
    if (listed == workload_.inputs.end()) return place_random(i);
    if (const auto* scalar = std::get_if<ScalarInput>(&listed->second)) {
      set_scalar(i, std::visit([](auto v) { return static_cast<double>(v); }, scalar->value));
      return {};
    }
    if (const auto* blob = std::get_if<SafetensorsInput>(&listed->second)) {
      return place_blob(i, *blob);
    }
    return place_random(i);
  }

  Result<void> place_random(size_t i) {
    const TensorDesc& desc = inputs()[i];
    const auto given = signature_.fib.distributions.find(desc.name);
    const bool has_distribution = given != signature_.fib.distributions.end();
    const bool is_scalar = desc.is_host_scalar || desc.shape.empty();
    if (is_scalar && !has_distribution) {
      return error(
          ErrorCode::kInvalidInput,
          fmt::format("the workload gives no value for the scalar {}", desc.name),
          fmt::format("write \"{}\": {{\"type\": \"scalar\", \"value\": ...}}", desc.name));
    }
    if (synthesis_of(i).kind != Kind::kNone) {
      missing_.push_back(i);
      return {};
    }
    const Distribution distribution =
        resolve_distribution(has_distribution ? given->second : Distribution{}, desc.dtype);
    const bool draws_floats = distribution.kind == Distribution::Kind::kNormal ||
                              distribution.kind == Distribution::Kind::kUniform;
    if (draws_floats && !is_floating(desc.dtype)) {
      return fail(ErrorCode::kInvalidInput,
                  fmt::format("{} is {}, but its distribution draws floating values", desc.name,
                              dtype_name(desc.dtype)),
                  signature_.file.string(), "use uniform_int or bits in fib.distributions");
    }
    if (is_scalar) {  // a constant of the model, not a value that changes from set to set
      const Generated constant = {seed_, static_cast<uint32_t>(i), distribution};
      set_scalar(i, generated_source(desc, constant)->scalar());
      return {};
    }
    plan_.structure[i].source = Generated{0, static_cast<uint32_t>(i), distribution};
    return {};
  }

  void set_scalar(size_t i, double value) {
    const TensorDesc& desc = inputs()[i];
    if (desc.is_host_scalar) {
      plan_.structure[i].source = value;
    } else {
      plan_.structure[i].source = encode(desc.dtype, std::vector<double>{value});
    }
  }

  Result<void> place_blob(size_t i, const SafetensorsInput& blob) {
    const TensorDesc& desc = inputs()[i];
    if (!is_safe_relative_path(blob.path)) {
      return error(ErrorCode::kInvalidInput,
                   fmt::format("{}: blob path '{}' leaves the dataset", desc.name, blob.path));
    }
    const fs::path file = (workload_.root / blob.path).lexically_normal();
    if (is_missing(file)) {
      if (synthesis_of(i).kind == Kind::kNone && !is_router_input(i)) {
        return error(ErrorCode::kNotFound,
                     fmt::format("{}: blob {} is not there", desc.name, file.string()),
                     "fetch the dataset's blobs; only integer structure can be synthesised");
      }
      missing_.push_back(i);
      plan_.notes.push_back(
          fmt::format("{}: blob {} not found, synthesised", desc.name, blob.path));
      return {};
    }
    const SafetensorsFile stored_file = FIB_TRY(SafetensorsFile::open(file));
    const StoredTensor stored = FIB_TRY(stored_file.tensor(blob.tensor_key));
    if (stored.dtype != desc.dtype) {
      return error(ErrorCode::kInvalidInput,
                   fmt::format("{}: {} holds {}, the signature wants {}", desc.name, file.string(),
                               dtype_name(stored.dtype), dtype_name(desc.dtype)));
    }
    if (stored.shape != desc.shape) {
      return error(
          ErrorCode::kInvalidInput,
          fmt::format("{}: {} has shape [{}], the workload's axes give [{}]", desc.name,
                      file.string(), fmt::join(stored.shape, ", "), fmt::join(desc.shape, ", ")));
    }
    set_bytes(i, std::make_shared<std::vector<std::byte>>(stored.data.begin(), stored.data.end()));
    return {};
  }

  void set_bytes(size_t i, InputBytes bytes) {
    const TensorDesc& desc = inputs()[i];
    if (desc.is_host_scalar) {
      plan_.structure[i].source = load_element(desc.dtype, bytes->data(), 0);
      return;
    }
    if (is_integer(desc.dtype)) {
      integers_[desc.name] = decode_integers(desc.dtype, *bytes, desc.num_elements());
    }
    plan_.structure[i].source = std::move(bytes);
  }

  // ---- How inputs hang together ---------------------------------------------------------------

  Synthesis synthesis_of(size_t i) const {
    const auto found = signature_.fib.synthesis.find(inputs()[i].name);
    return found == signature_.fib.synthesis.end() ? Synthesis{} : found->second;
  }
  // Router logits and bias: floating, but structure all the same.
  bool is_router_input(size_t i) const {
    return inputs()[i].name == "routing_logits" || inputs()[i].name == "routing_bias";
  }
  std::string first_axis(const TensorSpec& spec) const {
    return spec.shape && !spec.shape->empty() ? spec.shape->front() : std::string();
  }
  // The axis that the last element of offsets equals.
  std::string total_axis(size_t i) const {
    const Synthesis synthesis = synthesis_of(i);
    if (!synthesis.total.empty()) return synthesis.total;
    for (const Expression& constraint : signature_.constraints) {
      const auto last = constraint.as_last_element();
      if (last && last->second == inputs()[i].name) return last->first;
    }
    return {};
  }
  std::optional<size_t> find_kind(Kind kind, const std::function<bool(size_t)>& fits) const {
    for (size_t i = 0; i < inputs().size(); ++i) {
      if (synthesis_of(i).kind == kind && fits(i)) return i;
    }
    return std::nullopt;
  }
  bool are_query_offsets(size_t i) const {
    return total_axis(i) == first_axis(signature_.outputs.front());
  }
  // Lengths in queries of the requests that offsets `i` speak of; nullopt where each has one.
  std::optional<std::vector<int64_t>> query_lengths(size_t i) const {
    const auto queries = find_kind(Kind::kIndptr, [&](size_t other) {
      return other != i && are_query_offsets(other) && inputs()[other].shape == inputs()[i].shape;
    });
    if (!queries || !integers_.contains(inputs()[*queries].name)) return std::nullopt;
    return lengths_of(integers_.at(inputs()[*queries].name));
  }
  std::optional<size_t> page_table_of(size_t offsets) const {
    return find_kind(Kind::kPageTable, [&](size_t table) {
      return first_axis(signature_.inputs[table]) == total_axis(offsets);
    });
  }
  // Pages of each request in page table `i`: one row a request, or ragged behind offsets.
  std::vector<int64_t> pages_of_table(size_t i) const {
    const std::vector<int64_t>& shape = inputs()[i].shape;
    if (shape.size() > 1) return std::vector<int64_t>(static_cast<size_t>(shape[0]), shape[1]);
    const auto offsets = find_kind(Kind::kIndptr, [&](size_t other) {
      return total_axis(other) == first_axis(signature_.inputs[i]);
    });
    return offsets ? lengths_of(integers_.at(inputs()[*offsets].name)) : shape;
  }
  // The page offsets of the requests that last-page lengths `i` speak of; nullopt where they are
  // plain lengths.
  std::optional<size_t> offsets_of_last_pages(size_t i) const {
    return find_kind(Kind::kIndptr, [&](size_t other) {
      return synthesis_of(i).limit == "page_size" && page_table_of(other) &&
             integers_.contains(inputs()[other].name) &&
             inputs()[other].num_elements() == inputs()[i].num_elements() + 1;
    });
  }

  Result<int64_t> limit_of(size_t i) const {
    const Expression limit = FIB_TRY(Expression::parse(
        synthesis_of(i).limit, signature_.name + ": fib.synthesis." + inputs()[i].name));
    return static_cast<int64_t>(FIB_TRY(limit.evaluate(*this)));
  }
  int64_t page_size() const {
    const auto found = plan_.problem.axes.find("page_size");
    return found == plan_.problem.axes.end() ? 1 : found->second;
  }

  // Raises the axis that is table `i`'s limit, and with it the shapes that use it.
  Result<void> widen_limit(size_t i, int64_t value, const std::string& reason) {
    const std::string axis = synthesis_of(i).limit;
    const auto found = plan_.problem.axes.find(axis);
    const auto uses_axis = [&](const TensorSpec& spec) {
      return spec.shape && std::count(spec.shape->begin(), spec.shape->end(), axis) > 0;
    };
    for (size_t other = 0; other < inputs().size(); ++other) {
      if (found == plan_.problem.axes.end() ||
          (uses_axis(signature_.inputs[other]) &&
           std::holds_alternative<InputBytes>(plan_.structure[other].source))) {
        return error(ErrorCode::kInvalidInput, fmt::format("{}: {}, but {} can't grow to {}",
                                                           inputs()[i].name, reason, axis, value));
      }
    }
    plan_.notes.push_back(fmt::format("{}: {}; {} raised from {} to {}", inputs()[i].name, reason,
                                      axis, found->second, value));
    found->second = value;
    const auto reshape = [&](const std::vector<TensorSpec>& specs, std::vector<TensorDesc>& descs) {
      for (size_t t = 0; t < specs.size(); ++t) {
        for (size_t d = 0; d < descs[t].shape.size(); ++d) {
          if ((*specs[t].shape)[d] == axis) descs[t].shape[d] = value;
        }
      }
    };
    reshape(signature_.inputs, plan_.problem.inputs);
    reshape(signature_.outputs, plan_.problem.outputs);
    return {};
  }

  // ---- Making what is missing -----------------------------------------------------------------

  Result<void> make_missing() {
    // Query offsets, then other offsets (which look at the queries), then what hangs on those.
    const auto rank = [&](size_t i) {
      if (synthesis_of(i).kind != Kind::kIndptr) return 2;
      return are_query_offsets(i) ? 0 : 1;
    };
    std::stable_sort(missing_.begin(), missing_.end(),
                     [&](size_t a, size_t b) { return rank(a) < rank(b); });
    for (const size_t i : missing_) FIB_CHECK(make(i));
    return {};
  }

  Result<void> make(size_t i) {
    const TensorDesc& desc = inputs()[i];
    Draws draws(seed_, kFirstStructureStream + static_cast<uint32_t>(i));
    const int64_t rows = desc.shape[0];
    const int64_t width = rows == 0 ? 0 : desc.num_elements() / rows;
    switch (synthesis_of(i).kind) {
      case Kind::kIndptr: return make_offsets(i, draws);
      case Kind::kPageTable: return make_page_table(i, draws);
      case Kind::kLastPageLen: return make_last_page_lengths(i, draws);
      case Kind::kRouting: {
        const int64_t experts = FIB_TRY(limit_of(i));
        FIB_CHECK(check_fits(i, width, experts));
        set_bytes(i, encode(desc.dtype, expert_ids(rows, width, experts, draws)));
        return {};
      }
      case Kind::kRoutingWeights:
        set_bytes(i, encode(desc.dtype, expert_weights(rows, width, draws)));
        return {};
      case Kind::kSlots: {
        const int64_t limit = FIB_TRY(limit_of(i));
        FIB_CHECK(check_fits(i, desc.num_elements(), limit));
        set_bytes(i, encode(desc.dtype, distinct_ids(desc.num_elements(), limit, draws)));
        return {};
      }
      case Kind::kPositions: {
        const int64_t limit = FIB_TRY(limit_of(i));
        FIB_CHECK(check_fits(i, std::min<int64_t>(desc.num_elements(), 1), limit));
        set_bytes(i, encode(desc.dtype, any_ids(desc.num_elements(), limit, draws)));
        return {};
      }
      case Kind::kChoice:
        set_bytes(i,
                  encode(desc.dtype, choices(desc.num_elements(), synthesis_of(i).values, draws)));
        return {};
      case Kind::kNone: break;
    }
    set_bytes(i, encode(desc.dtype, desc.shape.size() == 1
                                        ? std::vector<double>(static_cast<size_t>(rows), 0.0)
                                        : router_logits(rows, width, draws)));
    return {};
  }

  Result<void> check_fits(size_t i, int64_t count, int64_t limit) const {
    if (count <= limit) return {};
    return error(ErrorCode::kInvalidInput,
                 fmt::format("{} needs {} distinct ids below {} ({})", inputs()[i].name, count,
                             limit, synthesis_of(i).limit));
  }

  Result<void> make_offsets(size_t i, Draws& draws) {
    const TensorDesc& desc = inputs()[i];
    const std::string axis = total_axis(i);
    const auto found = plan_.problem.axes.find(axis);
    if (found == plan_.problem.axes.end()) {
      return error(ErrorCode::kInvalidInput,
                   fmt::format("{}: nothing says what its last element must be", desc.name),
                   "add a constraint of the form 'axis == " + desc.name + "[-1].item()'");
    }
    const int64_t total = found->second;
    const int64_t requests = desc.shape[0] - 1;
    if (requests < 1 && total > 0) {
      return error(ErrorCode::kInvalidInput,
                   fmt::format("{}: {} elements for {} {}", desc.name, desc.shape[0], axis, total));
    }
    if (requests < 0) {
      return error(ErrorCode::kInvalidInput, fmt::format("{} is empty", desc.name));
    }

    const auto table = page_table_of(i);
    const auto queries = query_lengths(i);
    std::vector<int64_t> minimum = least_lengths(i, total, requests, queries, table.has_value());
    int64_t maximum = total;
    if (table) {
      const int64_t pages = FIB_TRY(limit_of(*table));
      const int64_t longest =
          minimum.empty() ? 0 : *std::max_element(minimum.begin(), minimum.end());
      if (longest > pages || total > pages * requests) {
        FIB_CHECK(widen_limit(*table, total,
                              fmt::format("{} pages don't hold {} {}", pages, axis, total)));
      } else {
        maximum = std::min(pages, total);
      }
    }

    // Now and then a slot of a padded decode batch is empty.
    constexpr int64_t kBatchWithPadding = 8;
    const bool has_empty = table && !queries && requests >= kBatchWithPadding &&
                           draws.below(4) == 0 && total <= maximum * (requests - 1);
    const int64_t empty = has_empty ? draws.below(requests) : 0;
    if (has_empty) minimum.pop_back();
    std::vector<int64_t> lengths = skewed_lengths(total, minimum, maximum, draws);
    if (has_empty) lengths.insert(lengths.begin() + empty, 0);
    set_bytes(i, encode(desc.dtype, offsets_of(lengths)));
    return {};
  }

  // The least length of each request: under a causal mask as many keys as queries, else 1.
  std::vector<int64_t> least_lengths(size_t i, int64_t total, int64_t requests,
                                     const std::optional<std::vector<int64_t>>& queries,
                                     bool in_pages) {
    if (queries) {
      const int64_t unit = in_pages ? page_size() : 1;
      std::vector<int64_t> least = *queries;
      for (int64_t& length : least) length = (length + unit - 1) / unit;
      if (std::accumulate(least.begin(), least.end(), int64_t{0}) <= total) return least;
      plan_.notes.push_back(fmt::format(
          "{}: {} {} are fewer than the queries, so the first queries of some requests see no keys",
          inputs()[i].name, total_axis(i), total));
    }
    return std::vector<int64_t>(static_cast<size_t>(requests), total >= requests ? 1 : 0);
  }

  Result<void> make_page_table(size_t i, Draws& draws) {
    const std::vector<int64_t> lengths = pages_of_table(i);
    const int64_t longest = lengths.empty() ? 0 : *std::max_element(lengths.begin(), lengths.end());
    if (longest > FIB_TRY(limit_of(i))) {
      FIB_CHECK(widen_limit(i, longest, fmt::format("a request has {} pages", longest)));
    }
    set_bytes(i, encode(inputs()[i].dtype, page_table(lengths, FIB_TRY(limit_of(i)), draws)));
    return {};
  }

  Result<void> make_last_page_lengths(size_t i, Draws& draws) {
    const int64_t limit = FIB_TRY(limit_of(i));
    const auto offsets = offsets_of_last_pages(i);
    const std::vector<int64_t> one_each(static_cast<size_t>(inputs()[i].num_elements()), 1);
    const auto pages = offsets ? lengths_of(integers_[inputs()[*offsets].name]) : one_each;
    const auto queries = offsets ? query_lengths(*offsets) : std::nullopt;
    set_bytes(i, encode(inputs()[i].dtype,
                        last_page_lengths(pages, queries.value_or(one_each), limit, draws)));
    return {};
  }

  // ---- Checking -------------------------------------------------------------------------------

  Result<void> check_indices() {
    for (size_t i = 0; i < inputs().size(); ++i) {
      if (integers_.contains(inputs()[i].name)) FIB_CHECK(check_index(i));
    }
    return {};
  }

  Result<void> check_index(size_t i) {
    const IndexTensor tensor = {inputs()[i].name, workload_.where, integers_[inputs()[i].name]};
    const Synthesis synthesis = synthesis_of(i);
    switch (synthesis.kind) {
      case Kind::kIndptr: {
        const std::string axis = total_axis(i);
        const auto total = plan_.problem.axes.find(axis);
        if (total == plan_.problem.axes.end()) return {};
        return check_indptr(tensor, total->second, axis);
      }
      case Kind::kPageTable: return check_page_table(i, tensor);
      case Kind::kLastPageLen: return check_last_page_lengths(i);
      case Kind::kRouting:
      case Kind::kSlots: {
        const int64_t limit = FIB_TRY(limit_of(i));
        FIB_CHECK(check_in_range(tensor, 0, limit - 1, synthesis.limit));
        return check_distinct(tensor, inputs()[i].shape.back());
      }
      case Kind::kPositions:
        return check_in_range(tensor, 0, FIB_TRY(limit_of(i)) - 1, synthesis.limit);
      default: return {};
    }
  }

  Result<void> check_page_table(size_t i, const IndexTensor& tensor) {
    const int64_t pages = FIB_TRY(limit_of(i));
    if (!tensor.values.empty()) {
      const auto [lowest, highest] =
          std::minmax_element(tensor.values.begin(), tensor.values.end());
      if (*lowest >= 1 && *highest == pages) {
        return widen_limit(i, pages + 1, fmt::format("pages are numbered 1 to {}", pages));
      }
    }
    return check_in_range(tensor, 0, pages - 1, synthesis_of(i).limit);
  }

  Result<void> check_last_page_lengths(size_t i) {
    std::vector<int64_t> values = integers_[inputs()[i].name];
    if (const auto offsets = offsets_of_last_pages(i)) {
      const std::vector<int64_t> pages = lengths_of(integers_[inputs()[*offsets].name]);
      for (size_t request = 0; request < pages.size(); ++request) {
        if (pages[request] == 0) values[request] = 1;  // nobody reads it
      }
    }
    return check_in_range({inputs()[i].name, workload_.where, values}, 1, FIB_TRY(limit_of(i)),
                          synthesis_of(i).limit);
  }

  Result<void> check_constraints() {
    for (const Expression& constraint : signature_.constraints) {
      const Result<double> holds = constraint.evaluate(*this);
      if (!holds) {
        plan_.notes.push_back(fmt::format("constraint '{}' not checked: {}", constraint.text(),
                                          holds.error().message));
      } else if (*holds == 0.0) {
        return error(ErrorCode::kInvalidInput,
                     fmt::format("the constraint '{}' of {} does not hold", constraint.text(),
                                 signature_.name));
      }
    }
    return {};
  }

  // ---- ExpressionScope ------------------------------------------------------------------------

  std::optional<double> axis(std::string_view name) const override {
    const auto found = plan_.problem.axes.find(std::string(name));
    if (found == plan_.problem.axes.end()) return std::nullopt;
    return static_cast<double>(found->second);
  }
  std::optional<std::span<const int64_t>> integers(std::string_view input) const override {
    const auto found = integers_.find(std::string(input));
    if (found == integers_.end()) return std::nullopt;
    return std::span<const int64_t>(found->second);
  }
  std::optional<std::vector<int64_t>> shape(std::string_view input) const override {
    for (const TensorDesc& desc : inputs()) {
      if (desc.name == input) return desc.shape;
    }
    return std::nullopt;
  }

  const Signature& signature_;
  const Workload& workload_;
  uint64_t seed_;
  InputPlan plan_;
  std::map<std::string, std::vector<int64_t>> integers_;  // explicit integer inputs, by name
  std::vector<size_t> missing_;                           // inputs to synthesise
};

}  // namespace

Result<InputPlan> plan_inputs(const Problem& problem, uint64_t structure_seed) {
  return InputPlanner(problem, structure_seed).run();
}

}  // namespace fib
