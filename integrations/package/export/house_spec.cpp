#include "integrations/package/export/house_spec.h"

#include <set>

#include "integrations/package/export/check_spec.h"
#include "integrations/package/signature_request.h"

namespace fib {

Result<PackageSpec> house_package_spec(const std::vector<SignatureRequest>& requests,
                                       const Catalog& catalog, const HouseSolutions& house) {
  PackageSpec spec{.created_from = "the house's solutions"};
  std::set<std::pair<std::string, std::map<std::string, double>>> known;
  for (const SignatureRequest& request : requests) {
    PackagedSignature packaged{.signature = FIB_TRY(find_signature(catalog, request))};
    const Signature& signature = *packaged.signature;
    if (!known.insert({signature.name, signature.fib.parameters}).second) continue;
    for (const auto& [name, value] : FIB_TRY(catalog.find(request.name))->fib.parameters) {
      packaged.own_parameters.push_back(value);
    }
    for (const Solution* solution : FIB_TRY(house.for_signature(signature))) {
      auto& fallback = FIB_TRY(manifest_of(*solution)).target == "cuda" ? packaged.cuda_fallback
                                                                        : packaged.cpu_fallback;
      fallback.push_back(packaged.solutions.size());
      packaged.solutions.push_back(*solution);
    }
    spec.signatures.push_back(std::move(packaged));
  }
  return spec;
}

}  // namespace fib
