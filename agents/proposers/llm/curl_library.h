#pragma once

// libcurl, opened when the first model is asked: fib runs where it isn't installed, and a portable
// binary carries none of the thirty libraries below it.

#include <curl/curl.h>

#include <memory>

#include "signatures/base/result.h"

namespace fib::agents {

class CurlLibrary {
 public:
  // kEnvironment where there is none, or one that lacks what we need (7.85 has it all).
  static Result<std::shared_ptr<const CurlLibrary>> open();
  ~CurlLibrary();
  CurlLibrary(const CurlLibrary&) = delete;
  CurlLibrary& operator=(const CurlLibrary&) = delete;

  decltype(&curl_easy_init) easy_init = nullptr;
  decltype(&curl_easy_cleanup) easy_cleanup = nullptr;
  decltype(&curl_easy_setopt) easy_setopt = nullptr;
  decltype(&curl_easy_perform) easy_perform = nullptr;
  decltype(&curl_easy_getinfo) easy_getinfo = nullptr;
  decltype(&curl_easy_strerror) easy_strerror = nullptr;
  decltype(&curl_slist_append) slist_append = nullptr;
  decltype(&curl_slist_free_all) slist_free_all = nullptr;

 private:
  CurlLibrary() = default;
  decltype(&curl_global_cleanup) global_cleanup_ = nullptr;  // null: never initialised
};

}  // namespace fib::agents
