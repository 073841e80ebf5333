#pragma once

// Which signatures a solution is judged on when nobody names one. A solution may be written for a
// whole family, whose instances reach from a toy model's to 9 GB of weights: on the host's
// processors only the small ones are meant, on a device all that fit it.

#include <set>
#include <span>
#include <string>
#include <vector>

#include "harness/evaluate.h"
#include "integrations/cli/context.h"

namespace fib {

// The tag of a family's instances that a slow target is meant for.
inline constexpr std::string_view kSmallTag = "size:small";

// Of the signatures that `solution` fits, those that it is judged on by default. All of them where
// it names its one signature itself, or its family has no small instance.
std::vector<SignaturePtr> default_instances(const Solution& solution, const Runner& runner,
                                            const std::vector<SignaturePtr>& fitting);

// "rmsnorm: judged on its small instances a, b; --signature NAME or --all-instances for others".
std::string instances_note(const Solution& solution, const std::vector<SignaturePtr>& chosen,
                           std::string_view option);

// What a device has to hold while it measures a problem: the inputs once; each output as expected,
// and as calculated for each value set.
double needed_bytes(const Problem& problem, int value_sets);

// Takes out the problems that don't fit on the smallest of `devices`, and returns a note for each
// signature that lost some.
std::set<std::string> drop_too_large(std::span<const DeviceInfo> devices, int value_sets,
                                     std::vector<EvaluationJob>& jobs);

}  // namespace fib
