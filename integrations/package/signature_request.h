#pragma once

#include "integrations/package/dispatch.h"
#include "signatures/catalog.h"

namespace fib {

// The signature asked for, with the parameters asked for. An unknown parameter is an error that
// lists those there are.
Result<SignaturePtr> find_signature(const Catalog& catalog, const SignatureRequest& request);

}  // namespace fib
