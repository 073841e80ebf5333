#include "integrations/package/signature_request.h"

#include <fmt/format.h>

namespace fib {

Result<SignaturePtr> find_signature(const Catalog& catalog, const SignatureRequest& request) {
  SignaturePtr listed = FIB_TRY(catalog.find(request.name));
  if (request.parameters.empty()) return listed;
  auto changed = std::make_shared<Signature>(*listed);
  for (const auto& [name, value] : request.parameters) {
    const auto parameter = changed->fib.parameters.find(name);
    if (parameter == changed->fib.parameters.end()) {
      std::string names;
      for (const auto& [known, unused] : listed->fib.parameters) names += " '" + known + "'";
      return fail(ErrorCode::kInvalidInput, fmt::format("there is no parameter '{}'", name),
                  request.name, names.empty() ? "it has none" : "it has:" + names);
    }
    parameter->second = value;
  }
  return changed;
}

}  // namespace fib
