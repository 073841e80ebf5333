#include "integrations/serving/http/exchange.h"

#include <boost/beast/core/string.hpp>

namespace fib {

std::vector<std::string_view> HttpHead::values_of(std::string_view name) const {
  std::vector<std::string_view> values;
  for (const auto& [key, value] : fields) {
    if (boost::beast::iequals({key.data(), key.size()}, {name.data(), name.size()})) {
      values.push_back(value);
    }
  }
  return values;
}

}  // namespace fib
