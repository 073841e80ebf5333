#include "agents/proposers/llm/curl_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

namespace fib::agents {

namespace {

// The OpenSSL, GnuTLS and NSS builds have the same interface.
constexpr const char* kNames[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};
constexpr const char* kRemedy = "install libcurl (Debian and Ubuntu: apt install libcurl4)";

}  // namespace

Result<std::shared_ptr<const CurlLibrary>> CurlLibrary::open() {
  const std::shared_ptr<CurlLibrary> library(new CurlLibrary());
  std::string reasons;
  void* handle = nullptr;
  for (const char* name : kNames) {
    handle = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (handle != nullptr) break;
    reasons += fmt::format("{}{}", reasons.empty() ? "" : "; ", ::dlerror());
  }
  if (handle == nullptr) {
    return fail(ErrorCode::kEnvironment, reasons, "libcurl", kRemedy);
  }
  const char* missing = nullptr;
  const auto find = [&](const char* name, auto& function) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(::dlsym(handle, name));
    if (function == nullptr) missing = name;
  };
  decltype(&curl_global_init) global_init = nullptr;
  decltype(&curl_global_cleanup) global_cleanup = nullptr;
  find("curl_global_init", global_init);
  find("curl_global_cleanup", global_cleanup);
  find("curl_easy_init", library->easy_init);
  find("curl_easy_cleanup", library->easy_cleanup);
  find("curl_easy_setopt", library->easy_setopt);
  find("curl_easy_perform", library->easy_perform);
  find("curl_easy_getinfo", library->easy_getinfo);
  find("curl_easy_strerror", library->easy_strerror);
  find("curl_slist_append", library->slist_append);
  find("curl_slist_free_all", library->slist_free_all);
  if (missing != nullptr) {
    return fail(ErrorCode::kEnvironment, fmt::format("has no {}", missing), "libcurl", kRemedy);
  }
  if (const CURLcode code = global_init(CURL_GLOBAL_DEFAULT); code != CURLE_OK) {
    return fail(ErrorCode::kEnvironment, library->easy_strerror(code), "libcurl", kRemedy);
  }
  library->global_cleanup_ = global_cleanup;
  return library;
}

// The library stays loaded: OpenSSL, below it, leaves handlers behind that run when the process
// ends.
CurlLibrary::~CurlLibrary() {
  if (global_cleanup_ != nullptr) global_cleanup_();
}

}  // namespace fib::agents
