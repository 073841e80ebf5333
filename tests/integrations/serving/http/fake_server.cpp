// Serves the model of bytes, which answers with its prompt, to clients that are other programs:
// prints its port, and drains when its input ends.
//
//   serving_http_fake_server [API_KEY]

#include <iostream>
#include <string>

#include "integrations/serving/http/server.h"
#include "tests/integrations/serving/http/byte_model.h"
#include "tests/integrations/serving/http/fake_engine.h"

int main(int argc, char** argv) {
  using namespace fib;
  testing::ByteModel model;
  testing::FakeEngine engine({.poison = '!', .surplus = '?'});
  auto server = Server::start(
      {.port = 0, .api_key = argc > 1 ? argv[1] : "", .model_id = "bytes", .created_s = 1700000000},
      {.engine = engine,
       .tokenizer = model.tokenizer(),
       .chat_template = model.chat_template(),
       .defaults = model.defaults()});
  if (!server) {
    std::cerr << server.error().to_string() << "\n";
    return 3;
  }
  std::cout << (*server)->port() << std::endl;
  for (std::string line; std::getline(std::cin, line);) continue;
  (*server)->drain();
  return 0;
}
