#include "integrations/serving/model/quantization_config.h"

#include <fmt/format.h>

namespace fib {
namespace {

constexpr std::string_view kRemedy =
    "served are bfloat16, and compressed-tensors pack-quantized INT4 experts in groups of 32; "
    "fib quantize makes them from a bfloat16 checkpoint";

Failure unsupported(const JsonView& view, std::string message) {
  return fail(ErrorCode::kUnsupported, std::move(message), view.location(), std::string(kRemedy));
}

Result<void> expect(const JsonView& object, std::string_view key, const Json& wanted) {
  const JsonView view = FIB_TRY(object.at(key));
  if (view.json() != wanted)
    return unsupported(
        view, fmt::format("{} is {}, not {}", key, dump_json(view.json()), dump_json(wanted)));
  return {};
}

// Absent, null or false: the feature is off.
Result<void> expect_off(const JsonView& object, std::string_view key) {
  const auto view = object.find(key);
  if (view && view->json() != false)
    return unsupported(*view, fmt::format("{} is {}", key, dump_json(view->json())));
  return {};
}

}  // namespace

Result<ExpertFormat> read_quantization(const JsonView& view, const ModelConfig& model) {
  FIB_CHECK(expect(view, "quant_method", "compressed-tensors"));
  FIB_CHECK(expect(view, "format", "pack-quantized"));
  FIB_CHECK(expect_off(view, "kv_cache_scheme"));
  FIB_CHECK(expect_off(view, "transform_config"));
  if (!model.is_moe()) return unsupported(view, "a quantised model without experts");

  const JsonView groups = FIB_TRY(view.at("config_groups"));
  const auto members = FIB_TRY(groups.object());
  if (members.size() != 1)
    return unsupported(groups, fmt::format("{} groups of settings", members.size()));
  const JsonView& group = members[0].second;
  FIB_CHECK(expect_off(group, "input_activations"));
  FIB_CHECK(expect_off(group, "output_activations"));
  const JsonView weights = FIB_TRY(group.at("weights"));
  FIB_CHECK(expect(weights, "num_bits", 4));
  FIB_CHECK(expect(weights, "type", "int"));
  FIB_CHECK(expect(weights, "symmetric", true));
  FIB_CHECK(expect(weights, "strategy", "group"));
  FIB_CHECK(expect(weights, "group_size", kInt4GroupSize));
  FIB_CHECK(expect_off(weights, "dynamic"));
  FIB_CHECK(expect_off(weights, "actorder"));
  FIB_CHECK(expect_off(weights, "block_structure"));
  // Which layers are left alone is not read from the patterns: the names of the tensors tell, and
  // a quantised one outside the experts is unknown to the checkpoint's check.
  return ExpertFormat::kInt4Group32;
}

Json int4_quantization_json() {
  const Json weights = {{"num_bits", 4},        {"type", "int"},
                        {"symmetric", true},    {"group_size", kInt4GroupSize},
                        {"strategy", "group"},  {"dynamic", false},
                        {"actorder", nullptr},  {"block_structure", nullptr},
                        {"observer", "minmax"}, {"observer_kwargs", Json::object()}};
  const Json group = {{"targets", Json::array({"Linear"})},
                      {"weights", weights},
                      {"input_activations", nullptr},
                      {"output_activations", nullptr}};
  return {{"quant_method", "compressed-tensors"},
          {"format", "pack-quantized"},
          {"quantization_status", "compressed"},
          {"config_groups", {{"group_0", group}}},
          {"ignore",
           {"lm_head", "re:.*self_attn.*", "re:.*mlp.gate$",
            "re:.*mlp\\.(gate|up|gate_up|down)_proj.*"}},
          {"kv_cache_scheme", nullptr}};
}

}  // namespace fib
