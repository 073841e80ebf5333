#pragma once

// Of which of fib's own headers a solution's code is made. A solution's key covers its sources; the
// headers that they include come with fib and change with it. What was measured with other headers
// was measured of other code.

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "signatures/base/result.h"
#include "signatures/trace.h"

namespace fib {

// By name, as code includes them ("fib/cpu/gemm.h"): the first digits of the SHA-256.
using HeaderDigests = std::map<std::string, std::string>;

// Under this name DeviceInfo::libraries has those that a verdict's solutions could include.
inline constexpr const char* kHeadersLibrary = "fib headers";

// Of the headers below `abi` that code for the target ("cpu", "cuda") can include.
Result<HeaderDigests> header_digests(const std::filesystem::path& abi, std::string_view target);

// "fib/cpu.h 1a2b3c4d, fib/cpu/gemm.h 5e6f7a8b", and back; what isn't of that form is left out.
std::string header_digests_text(const HeaderDigests& digests);
HeaderDigests parse_header_digests(std::string_view text);

// Names of fib's headers that the sources include, directly or through one another.
Result<std::set<std::string>> included_headers(const Solution& solution,
                                               const std::filesystem::path& abi);

}  // namespace fib
