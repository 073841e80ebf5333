#include "integrations/serving/http/routes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <utility>

#include "integrations/serving/http/json_fields.h"
#include "signatures/base/hash.h"

namespace fib {
namespace {

enum class Route { kHealth, kMetrics, kKernels, kModels, kModel, kCompletions, kChatCompletions };

constexpr std::string_view kModelPrefix = "/v1/models/";

std::string_view path_of(std::string_view target) { return target.substr(0, target.find('?')); }

std::optional<Route> route_of(std::string_view path) {
  if (path == "/health") return Route::kHealth;
  if (path == "/metrics") return Route::kMetrics;
  if (path == "/fib/kernels") return Route::kKernels;
  if (path == "/v1/models") return Route::kModels;
  if (path == "/v1/completions") return Route::kCompletions;
  if (path == "/v1/chat/completions") return Route::kChatCompletions;
  if (path.starts_with(kModelPrefix)) return Route::kModel;
  return std::nullopt;
}

std::vector<std::string_view> methods_of(Route route) {
  switch (route) {
    case Route::kCompletions:
    case Route::kChatCompletions: return {"POST"};
    case Route::kKernels: return {"GET", "HEAD", "POST"};
    default: return {"GET", "HEAD"};
  }
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  });
  return lower;
}

// "application/json; charset=utf-8" and the like.
bool is_json(std::string_view content_type) {
  std::string type = lower_case(content_type.substr(0, content_type.find(';')));
  while (type.ends_with(' ')) type.pop_back();
  return type == "application/json";
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// A client may send the slash of "organisation/model" as %2F. What is no escape stays as it is.
std::string decode_percent(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 &&
        hex_digit(text[i + 2]) >= 0) {
      decoded += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

// In a time that tells nothing of where they differ, nor of how long the key is.
bool is_same_secret(std::string_view sent, std::string_view key) {
  const std::string a = sha256_hex(sent), b = sha256_hex(key);
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

ApiError draining() {
  return {.status = 503,
          .message = "The server is shutting down.",
          .type = "server_error",
          .code = "service_unavailable",
          .retry_after_s = 1};
}

// A package is native code from the server's own disk: whoever may have it loaded could as well do
// anything else that the server can.
ApiError not_local() {
  return {.status = 403,
          .message = "Kernels are exchanged from the server's own machine alone, without a proxy.",
          .code = "not_local"};
}

ApiError device_lost(const std::string& why) {
  return {.status = 503,
          .message =
              fmt::format("The device is lost; the server has to be started again. ({})", why),
          .type = "server_error",
          .code = "device_lost"};
}

ApiError step_overdue() {
  return {.status = 503,
          .message = "A step takes longer than the step timeout: a kernel hangs, or is very slow.",
          .type = "server_error",
          .code = "step_overdue"};
}

// {"package": PATH}
ApiResult<std::string> parse_package(std::string_view body) {
  const Result<Json> json = parse_json(body, "body");
  if (!json) return fail(ApiError{.message = json.error().to_string(), .code = "invalid_json"});
  const JsonFields fields = FIB_TRY(JsonFields::of(*json, "body", ""));
  constexpr std::string_view kKnown[] = {"package"};
  FIB_CHECK(fields.check_known(kKnown, {}));
  return read_string(*FIB_TRY(fields.required("package")), "package");
}

ApiError swap_refused(const Error& error) {
  const bool is_busy = error.code == ErrorCode::kConflict;
  return {.status = is_busy ? 409 : 400,
          .message = error.to_string(),
          .param = is_busy ? "" : "package",
          .code = is_busy ? "swap_under_way" : "no_such_package"};
}

}  // namespace

Routes::Routes(RoutesConfig config, GenerationServices services,
               const Result<ChatTemplate>& chat_template)
    : config_(std::move(config)), services_(std::move(services)), chat_template_(chat_template) {}

std::optional<ApiError> Routes::check_key(const HttpHead& head) const {
  constexpr std::string_view kScheme = "bearer ";  // in any case, as HTTP has it
  if (config_.api_key.empty()) return std::nullopt;
  const std::string_view sent = head.authorization;
  if (lower_case(sent.substr(0, kScheme.size())) != kScheme)
    return ApiError{.status = 401,
                    .message =
                        "You didn't provide an API key. Send it in an Authorization header: "
                        "'Authorization: Bearer YOUR_KEY'."};
  if (is_same_secret(sent.substr(kScheme.size()), config_.api_key)) return std::nullopt;
  return ApiError{
      .status = 401, .message = "Incorrect API key provided.", .code = "invalid_api_key"};
}

std::optional<HttpReply> Routes::screen(const HttpHead& head) const {
  const std::string_view path = path_of(head.target);
  // Paths of the API need the key whether they exist or not.
  if (path.starts_with("/v1/") || path.starts_with("/fib/"))
    if (const auto error = check_key(head)) return error_reply(*error);
  const std::optional<Route> route = route_of(path);
  if (!route)
    return error_reply({.status = 404,
                        .message = fmt::format("Invalid URL ({} {})", head.method, path),
                        .code = "unknown_url"});
  const std::vector<std::string_view> methods = methods_of(*route);
  if (std::ranges::find(methods, head.method) == methods.end())
    return error_reply({.status = 405,
                        .message = fmt::format("Not allowed to {} on {} (HINT: use {}).",
                                               head.method, path, fmt::join(methods, " or ")),
                        .code = "method_not_supported",
                        .allowed_methods = fmt::format("{}", fmt::join(methods, ", "))});
  if (*route == Route::kKernels && head.method == "POST" && !head.is_local)
    return error_reply(not_local());
  if (head.method == "POST" && !is_json(head.content_type))
    return error_reply(
        {.status = 415,
         .message = fmt::format("The body must be application/json; it is '{}'. Send "
                                "the header 'Content-Type: application/json'.",
                                head.content_type),
         .code = "unsupported_content_type"});
  return std::nullopt;
}

void Routes::handle(const HttpHead& head, std::string_view body,
                    std::shared_ptr<HttpExchange> exchange) {
  const std::string_view path = path_of(head.target);
  switch (*route_of(path)) {
    case Route::kHealth: {
      if (is_draining_) return exchange->reply(error_reply(draining()));
      const EngineStats stats = services_.engine.stats();
      if (stats.is_device_lost) {
        return exchange->reply(error_reply(device_lost(stats.device_error)));
      }
      if (stats.is_step_overdue) return exchange->reply(error_reply(step_overdue()));
      return exchange->reply(json_reply({{"status", "ok"}}));
    }
    case Route::kMetrics: {
      std::string text = services_.metrics.render(services_.engine.stats(), times());
      if (config_.kernels.status) text += kernel_metrics(config_.kernels.status());
      return exchange->reply({.content_type = "text/plain; version=0.0.4; charset=utf-8",
                              .body = std::move(text)});
    }
    case Route::kKernels: return exchange->reply(kernels(head, body));
    case Route::kModels:
      return exchange->reply(json_reply(
          models_json(config_.model_id, config_.created_s, config_.defaults.context_length)));
    case Route::kModel: {
      const std::string id = decode_percent(path.substr(kModelPrefix.size()));
      if (id == config_.model_id)
        return exchange->reply(
            json_reply(model_json(id, config_.created_s, config_.defaults.context_length)));
      return exchange->reply(error_reply(model_not_found(id, config_.model_id)));
    }
    case Route::kCompletions: return generate(OpenAiApi::kCompletions, body, std::move(exchange));
    case Route::kChatCompletions: return generate(OpenAiApi::kChat, body, std::move(exchange));
  }
}

std::vector<SignatureTime> Routes::times() const {
  return config_.signature_times ? config_.signature_times() : std::vector<SignatureTime>();
}

HttpReply Routes::kernels(const HttpHead& head, std::string_view body) const {
  const KernelControl& control = config_.kernels;
  if (!control.status || (head.method == "POST" && !control.begin_swap)) {
    return error_reply({.status = 404,
                        .message = "This server's kernels are not exchanged.",
                        .code = "not_supported"});
  }
  if (head.method == "POST") {
    const auto package = parse_package(body);
    if (!package) return error_reply(package.error());
    if (const auto begun = control.begin_swap(*package); !begun) {
      return error_reply(swap_refused(begun.error()));
    }
  }
  HttpReply reply = json_reply(kernels_json(control.status(), times()));
  if (head.method == "POST") reply.status = 202;
  return reply;
}

void Routes::generate(OpenAiApi api, std::string_view body, std::shared_ptr<HttpExchange> exchange) {
  if (is_draining_) return exchange->reply(error_reply(draining()));
  const uint64_t number = num_generations_++;
  const uint64_t request_seed = Hasher().add(config_.seed).add(number).u64();
  auto call = parse_generation_call(api, body,
                                    {.tokenizer = services_.tokenizer,
                                     .chat_template = chat_template_,
                                     .defaults = config_.defaults,
                                     .model_id = config_.model_id,
                                     .fallback_seed = request_seed});
  if (!call) return exchange->reply(error_reply(call.error()));
  const std::string_view prefix = api == OpenAiApi::kChat ? "chatcmpl" : "cmpl";
  Generation::start(services_, std::move(*call),
                    {.api = api,
                     .id = fmt::format("{}-{:016x}", prefix, request_seed),
                     .model = config_.model_id,
                     .created_s = std::chrono::duration_cast<std::chrono::seconds>(
                                      std::chrono::system_clock::now().time_since_epoch())
                                      .count(),
                     .has_usage_chunk = call->wants_usage_chunk},
                    std::move(exchange));
}

}  // namespace fib
