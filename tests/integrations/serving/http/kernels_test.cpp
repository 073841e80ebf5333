// /fib/kernels: who may ask, and what is told.

#include "tests/integrations/serving/http/served_fixture.h"

namespace fib::testing {
namespace {

constexpr std::string_view kKernels = "/fib/kernels";

class Kernels : public Served {
 protected:
  Kernels() {
    signature_times_ = [] {
      return std::vector<SignatureTime>{{.signature = "rmsnorm_h8",
                                         .solution = "rows",
                                         .calls = 7,
                                         .host_s = 0.5,
                                         .sampled_calls = 2,
                                         .device_s = 0.25}};
    };
    status_ = {.state = SwapState::kShadowing,
               .package = "/first",
               .candidate = "/second",
               .switched = 3,
               .signatures = {{.signature = "rmsnorm_h8",
                               .package = "/first",
                               .candidate = "/second",
                               .compared = 2}}};
    kernels_ = {.status = [this] { return status_; },
                .begin_swap = [this](const std::string& package) -> Result<void> {
                  asked_.push_back(package);
                  if (package == "/busy") return fail(ErrorCode::kConflict, "one is being loaded");
                  if (package == "/none") return fail(ErrorCode::kNotFound, "no such package");
                  return {};
                }};
  }

  SwapStatus status_;
  std::vector<std::string> asked_;
};

TEST_F(Kernels, AreTold) {
  start();
  const HttpAnswer answer = HttpClient(port()).get(kKernels);
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.json(), parse_json(R"({
      "state": "shadowing", "package": "/first", "candidate": "/second", "reason": "",
      "switched": 3, "rolled_back": 0,
      "signatures": [{"signature": "rmsnorm_h8", "package": "/first", "candidate": "/second",
                      "calls_compared": 2,
                      "solutions": [{"solution": "rows", "calls": 7, "host_s": 0.5,
                                     "sampled_calls": 2, "device_s": 0.25}]}]})",
                                      "expected")
                               .value());
  const std::string metrics = HttpClient(port()).get("/metrics").body;
  for (const std::string_view line :
       {"fib_kernels_info{package=\"/first\",candidate=\"/second\",state=\"shadowing\"} 1\n",
        "fib_kernel_swaps_total{outcome=\"switched\"} 3\n",
        "fib_kernel_swaps_total{outcome=\"rolled_back\"} 0\n"}) {
    EXPECT_NE(metrics.find(line), std::string::npos) << line << "in\n" << metrics;
  }
}

TEST_F(Kernels, AnExchangeBegins) {
  start();
  const HttpAnswer answer = HttpClient(port()).post(kKernels, {{"package", "/second"}});
  EXPECT_EQ(answer.status, 202);
  EXPECT_EQ(answer.json().at("state"), "shadowing");
  EXPECT_EQ(asked_, std::vector<std::string>{"/second"});
}

TEST_F(Kernels, WhatIsWrongWithAnExchangeIsSaid) {
  start();
  HttpClient client(port());
  const auto refusal = [&](const Json& body) {
    const HttpAnswer answer = client.post(kKernels, body);
    return std::pair(answer.status, answer.error().at("code").get<std::string>());
  };
  EXPECT_EQ(refusal({{"package", "/busy"}}), std::pair(409, std::string("swap_under_way")));
  EXPECT_EQ(refusal({{"package", "/none"}}), std::pair(400, std::string("no_such_package")));
  EXPECT_EQ(refusal({{"packages", "/x"}}), std::pair(400, std::string("unknown_parameter")));
  EXPECT_EQ(client.post(kKernels, {{"package", 3}}).status, 400);
  EXPECT_EQ(client.post(kKernels, Json::object()).status, 400);
  client.send_post(kKernels, "{\"package\": ");
  EXPECT_EQ(client.receive().error().at("code"), "invalid_json");
  client.send(
      "POST /fib/kernels HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n"
      "Content-Type: application/x-www-form-urlencoded\r\n\r\npackage=/x");
  EXPECT_EQ(client.receive().status, 415);
  HttpClient other(port());
  other.send("DELETE /fib/kernels HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(other.receive().headers.at("allow"), "GET, HEAD, POST");
  EXPECT_EQ(asked_.size(), 2u);
}

// A proxy beside the server would otherwise lend everybody its place.
TEST_F(Kernels, AreNotExchangedForOthers) {
  start();
  for (const std::string_view header : {"X-Forwarded-For: 203.0.113.7\r\n",
                                        "Forwarded: for=203.0.113.7\r\n", "Via: 1.1 proxy\r\n"}) {
    const HttpAnswer answer = HttpClient(port()).post(kKernels, {{"package", "/second"}}, header);
    EXPECT_EQ(answer.status, 403);
    EXPECT_EQ(answer.error().at("code"), "not_local");
    EXPECT_EQ(HttpClient(port()).get(kKernels, header).status, 200);
  }
  EXPECT_TRUE(asked_.empty());
}

TEST_F(Kernels, NeedTheKeyWhereThereIsOne) {
  config_.api_key = "sesame";
  start();
  EXPECT_EQ(HttpClient(port()).get(kKernels).status, 401);
  EXPECT_EQ(HttpClient(port()).post(kKernels, {{"package", "/second"}}).status, 401);
  EXPECT_EQ(HttpClient(port())
                .post(kKernels, {{"package", "/second"}}, "Authorization: Bearer sesame\r\n")
                .status,
            202);
}

TEST_F(Kernels, MayNotBeToldAtAll) {
  kernels_ = {};
  start();
  EXPECT_EQ(HttpClient(port()).get(kKernels).status, 404);
  EXPECT_EQ(HttpClient(port()).post(kKernels, {{"package", "/second"}}).status, 404);
}

}  // namespace
}  // namespace fib::testing
