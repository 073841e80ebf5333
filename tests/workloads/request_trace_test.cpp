// Traces as they are published, and what damage does to them.

#include "workloads/request_trace.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include "signatures/base/file.h"
#include "tests/scratch_folder.h"

namespace fib {
namespace {

class RequestTraceTest : public ::testing::Test {
 protected:
  Result<RequestTrace> read(TraceFormat format, std::string_view text) {
    const auto file = folder_.path() / "trace";
    EXPECT_TRUE(write_file_atomically(file, text));
    return read_request_trace(file, format);
  }
  // The error's words, with its place.
  std::string error(TraceFormat format, std::string_view text) {
    const auto trace = read(format, text);
    return trace ? "none" : trace.error().to_string();
  }
  void expect_error(TraceFormat format, std::string_view text, std::string_view part) {
    EXPECT_NE(error(format, text).find(part), std::string::npos)
        << "wanted: " << part << "\ngot: " << error(format, text);
  }

  ScratchFolder folder_;
};

constexpr const char* kAzureHeader = "TIMESTAMP,ContextTokens,GeneratedTokens\n";

TEST_F(RequestTraceTest, ReadsMooncake) {
  const auto trace = read(TraceFormat::kMooncake,
                          R"({"timestamp": 1000, "input_length": 513, "output_length": 7, )"
                          R"("hash_ids": [46, 0]})"
                          "\n\n"
                          R"({"timestamp": 3500, "input_length": 512, "output_length": 0, )"
                          R"("hash_ids": [46], "session": "x"})"
                          "\n");
  ASSERT_TRUE(trace) << trace.error().to_string();
  ASSERT_EQ(trace->requests.size(), 2u);
  EXPECT_TRUE(trace->has_arrivals);
  EXPECT_EQ(trace->requests[0].prefix_blocks, (std::vector<uint64_t>{46, 0}));
  EXPECT_EQ(trace->requests[0].arrival_s, 0.0);
  EXPECT_EQ(trace->requests[1].arrival_s, 2.5);
  EXPECT_EQ(trace->requests[1].input_tokens, 512);
  EXPECT_EQ(trace->requests[1].output_tokens, 0);
}

TEST_F(RequestTraceTest, ReadsAzureOverMidnight) {
  const auto trace = read(TraceFormat::kAzure,
                          "\xEF\xBB\xBFTIMESTAMP,ContextTokens,GeneratedTokens\r\n"
                          "2023-11-30 23:59:59.9000000,374,44\r\n"
                          "2023-12-01 00:00:01,396,109\r\n"
                          "2023-12-01 00:00:01.5+00:00,396,0\r\n");
  ASSERT_TRUE(trace) << trace.error().to_string();
  ASSERT_EQ(trace->requests.size(), 3u);
  EXPECT_NEAR(trace->requests[1].arrival_s, 1.1, 1e-6);
  EXPECT_NEAR(trace->requests[2].arrival_s, 1.6, 1e-6);
  EXPECT_EQ(trace->requests[1].input_tokens, 396);
  EXPECT_EQ(trace->requests[1].output_tokens, 109);
}

TEST_F(RequestTraceTest, ReadsLengthsWithoutTimes) {
  const auto trace = read(TraceFormat::kVidur,
                          "num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n"
                          "3772,54,3826,69.8\n2015,156,2171,12.9\n");
  ASSERT_TRUE(trace) << trace.error().to_string();
  EXPECT_FALSE(trace->has_arrivals);
  EXPECT_EQ(trace->requests.at(1).input_tokens, 2015);
  EXPECT_EQ(trace->requests.at(1).output_tokens, 156);
}

TEST_F(RequestTraceTest, DamagedRowsAreNamed) {
  const std::string azure = kAzureHeader;
  expect_error(TraceFormat::kAzure, "", "is empty");
  expect_error(TraceFormat::kAzure, azure, "no requests");
  expect_error(TraceFormat::kAzure, "a,b\n1,2\n", "trace:1: has no column 'TIMESTAMP'");
  expect_error(TraceFormat::kAzure, azure + "2023-11-16 18:17:03,3\n", "trace:2: 2 fields");
  expect_error(TraceFormat::kAzure, azure + "2023-11-16 18:17:03,3x,1\n",
               "trace:2: ContextTokens: '3x'");
  expect_error(TraceFormat::kAzure, azure + "2023-11-16 18:17:03,0,1\n", "trace:2: ContextTokens");
  expect_error(TraceFormat::kAzure, azure + "2023-11-16 18:17:03,3,-1\n",
               "trace:2: GeneratedTokens");
  for (const char* time : {"", "yesterday", "2023-02-30 18:17:03", "2023-11-16 24:17:03",
                           "2023-11-16 18:17:03.", "2023-11-16 18:17:03.5x", "2023-11-16T18:17:03",
                           "2023-11-16 18:17", "-123-11-16 18:17:03"}) {
    expect_error(TraceFormat::kAzure, azure + time + ",3,1\n", "trace:2: TIMESTAMP");
  }
  expect_error(TraceFormat::kAzure, azure + "2023-11-16 18:17:03,3,1\n2023-11-16 18:17:02,3,1\n",
               "trace:3: TIMESTAMP: is earlier");

  const std::string good = R"({"timestamp":5,"input_length":3,"output_length":1,"hash_ids":[1]})"
                           "\n";
  expect_error(TraceFormat::kMooncake, "", "no requests");
  expect_error(TraceFormat::kMooncake, good + "{\"timestamp\":", "trace:2");
  expect_error(TraceFormat::kMooncake, good + "[]", "trace:2");
  expect_error(TraceFormat::kMooncake, "TIMESTAMP,ContextTokens,GeneratedTokens\n",
               "is it another format's?");
  expect_error(TraceFormat::kMooncake,
               good + R"({"timestamp":9,"input_length":3,"output_length":1})", "'hash_ids'");
  expect_error(TraceFormat::kMooncake,
               good + R"({"timestamp":9,"input_length":3,"output_length":1,"hash_ids":[1,2]})",
               "2 blocks of 512 tokens don't make a prompt of 3");
  expect_error(TraceFormat::kMooncake,
               good + R"({"timestamp":9,"input_length":-3,"output_length":1,"hash_ids":[1]})",
               "trace:2: /input_length");
  expect_error(TraceFormat::kMooncake,
               good + R"({"timestamp":"NaN","input_length":3,"output_length":1,"hash_ids":[1]})",
               "trace:2: /timestamp");
  expect_error(TraceFormat::kMooncake,
               good + R"({"timestamp":4,"input_length":3,"output_length":1,"hash_ids":[1]})",
               "trace:2: /timestamp: is earlier");
}

TEST_F(RequestTraceTest, UnpacksAndNoticesWhatIsCutShort) {
  const auto file = folder_.path() / "trace.csv.gz";
  gzFile open = gzopen(file.c_str(), "wb");
  std::string text = kAzureHeader;
  for (int i = 0; i < 100; ++i) text += "2023-11-16 18:17:03.9799600,4808,10\n";
  ASSERT_EQ(gzwrite(open, text.data(), static_cast<unsigned>(text.size())),
            static_cast<int>(text.size()));
  ASSERT_EQ(gzclose(open), Z_OK);
  const auto trace = read_request_trace(file, TraceFormat::kAzure);
  ASSERT_TRUE(trace) << trace.error().to_string();
  EXPECT_EQ(trace->requests.size(), 100u);

  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 10);
  const auto cut = read_request_trace(file, TraceFormat::kAzure);
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().code, ErrorCode::kInvalidInput);
}

TEST_F(RequestTraceTest, MissingFile) {
  const auto trace = read_request_trace(folder_.path() / "absent", TraceFormat::kVidur);
  ASSERT_FALSE(trace);
  EXPECT_EQ(trace.error().code, ErrorCode::kNotFound);
}

TEST(RequestTraceNames, AreKnownOrNot) {
  EXPECT_EQ(trace_format_from_name("mooncake"), TraceFormat::kMooncake);
  EXPECT_EQ(trace_format_from_name("azure"), TraceFormat::kAzure);
  EXPECT_EQ(trace_format_from_name("vidur"), TraceFormat::kVidur);
  EXPECT_EQ(trace_format_from_name("Azure"), std::nullopt);
}

// The published files, with the counts and means that their description gives.
TEST(PublishedTraces, AreReadWhole) {
  const std::filesystem::path data = FIB_SOURCE_DIR "/../shared/data/traces";
  if (!std::filesystem::exists(data)) GTEST_SKIP() << "no shared data beside the checkout";
  const auto expect_trace = [&](const char* file, TraceFormat format, size_t count,
                                double mean_input, double mean_output, double duration_s) {
    const auto trace = read_request_trace(data / file, format);
    ASSERT_TRUE(trace) << trace.error().to_string();
    EXPECT_EQ(trace->requests.size(), count) << file;
    double input = 0, output = 0;
    for (const TracedRequest& request : trace->requests) {
      input += static_cast<double>(request.input_tokens);
      output += static_cast<double>(request.output_tokens);
    }
    EXPECT_NEAR(input / static_cast<double>(count), mean_input, 1.0) << file;
    EXPECT_NEAR(output / static_cast<double>(count), mean_output, 1.0) << file;
    EXPECT_NEAR(trace->requests.back().arrival_s, duration_s, 60.0) << file;
  };
  expect_trace("mooncake/conversation_trace.jsonl", TraceFormat::kMooncake, 12031, 12035, 343,
               3537);
  expect_trace("azure/AzureLLMInferenceTrace_code.csv", TraceFormat::kAzure, 8819, 2048, 28, 3435);
  expect_trace("azure/AzureLLMInferenceTrace_conv.csv", TraceFormat::kAzure, 19366, 1155, 211,
               3502);
  const auto lengths =
      read_request_trace(data / "vidur/arxiv_summarization_stats_llama2_tokenizer_filtered_v2.csv",
                         TraceFormat::kVidur);
  ASSERT_TRUE(lengths) << lengths.error().to_string();
  EXPECT_EQ(lengths->requests.size(), 28257u);
}

}  // namespace
}  // namespace fib
