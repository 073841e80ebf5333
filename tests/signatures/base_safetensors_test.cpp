#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "signatures/base/file.h"
#include "signatures/base/safetensors.h"
#include "tests/scratch_folder.h"

namespace fib {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string with_header(std::string_view header, std::string_view data) {
  const uint64_t length = header.size();
  std::string content(reinterpret_cast<const char*>(&length), sizeof length);
  content += header;
  content += data;
  return content;
}

class Safetensors : public testing::Test {
 protected:
  std::string file() const { return (folder_ / "x.safetensors").string(); }

  void write(std::string_view content) { std::ofstream(file(), std::ios::binary) << content; }

  // What open() says about `content`, without the file's name in front.
  std::string refusal(std::string_view content) {
    write(content);
    const auto opened = SafetensorsFile::open(file());
    if (opened) return "accepted";
    EXPECT_EQ(opened.error().code, ErrorCode::kInvalidInput);
    const std::string text = opened.error().to_string();
    EXPECT_TRUE(text.starts_with(file() + ": ")) << text;
    return text.substr(file().size() + 2);
  }

  std::string refusal_of_header(std::string_view header, std::string_view data) {
    return refusal(with_header(header, data));
  }

  ScratchFolder folder_;
};

TEST_F(Safetensors, WhatIsWrittenIsRead) {
  const std::vector<StoredTensor> tensors = {
      {"b", DType::kBFloat16, {2, 2}, bytes_of("12345678")},
      {"a/w", DType::kFloat4E2M1, {3, 2}, bytes_of("xyz")},
      {"scalar", DType::kInt64, {}, bytes_of("87654321")},
      {"empty", DType::kFloat32, {0, 4}, {}},
  };
  ASSERT_TRUE(write_safetensors(file(), tensors, {{"format", "pt"}}));

  const auto opened = SafetensorsFile::open(file());
  ASSERT_TRUE(opened) << opened.error().to_string();
  EXPECT_EQ(opened->metadata(), (std::map<std::string, std::string>{{"format", "pt"}}));
  ASSERT_EQ(opened->tensors().size(), tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const StoredTensor& read = opened->tensors()[i];
    EXPECT_EQ(read.name, tensors[i].name);
    EXPECT_EQ(read.dtype, tensors[i].dtype);
    EXPECT_EQ(read.shape, tensors[i].shape);
    EXPECT_TRUE(std::ranges::equal(read.data, tensors[i].data)) << read.name;
  }
  EXPECT_EQ(opened->tensor("scalar").value().data.size(), 8u);
}

TEST_F(Safetensors, TheBytesAreThoseOfTheFormat) {
  ASSERT_TRUE(write_safetensors(file(), {{"x", DType::kInt8, {2}, bytes_of("ab")}}));
  EXPECT_EQ(read_file(file()).value(),
            with_header(R"({"x":{"dtype":"I8","shape":[2],"data_offsets":[0,2]}}   )", "ab"));
}

TEST_F(Safetensors, DataStartsAtAMultipleOfEight) {
  for (size_t length = 1; length <= 8; ++length) {
    ASSERT_TRUE(
        write_safetensors(file(), {{std::string(length, 'n'), DType::kInt8, {1}, bytes_of("a")}}));
    EXPECT_EQ(std::filesystem::file_size(file()) % 8, 1u);
  }
}

TEST_F(Safetensors, TensorsOutliveCopiesOfTheFile) {
  ASSERT_TRUE(write_safetensors(file(), {{"x", DType::kInt8, {2}, bytes_of("ab")}}));
  auto first = SafetensorsFile::open(file());
  const SafetensorsFile second = *first;
  first = fail(ErrorCode::kIo, "gone");
  EXPECT_EQ(static_cast<char>(second.tensor("x").value().data[1]), 'b');
}

TEST_F(Safetensors, AMissingTensorListsTheOthers) {
  ASSERT_TRUE(write_safetensors(file(), {{"weight", DType::kInt8, {1}, bytes_of("a")},
                                         {"bias", DType::kInt8, {1}, bytes_of("b")}}));
  const auto tensor = SafetensorsFile::open(file()).value().tensor("wieght");
  ASSERT_FALSE(tensor);
  EXPECT_EQ(tensor.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(tensor.error().to_string(),
            file() + ": no tensor 'wieght'; there are bias, weight (did you mean 'weight'?)");
}

TEST_F(Safetensors, MissingFilesAndFolders) {
  EXPECT_EQ(SafetensorsFile::open(folder_ / "none").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(SafetensorsFile::open(folder_.path()).error().code, ErrorCode::kIo);
}

TEST_F(Safetensors, LfsPointersAreNamed) {
  EXPECT_EQ(refusal("version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n"),
            "this is a Git LFS pointer, not the tensors themselves (fetch the file with 'git lfs "
            "pull')");
}

TEST_F(Safetensors, TruncatedFiles) {
  EXPECT_EQ(refusal(""), "the file is truncated: 0 bytes, not even a header length");
  EXPECT_EQ(refusal("abc"), "the file is truncated: 3 bytes, not even a header length");
  EXPECT_EQ(refusal(with_header("{}", "").substr(0, 9)),
            "the file is truncated: a header of 2 bytes, 1 bytes follow");
  EXPECT_EQ(refusal_of_header(R"({"x":{"dtype":"I8","shape":[4],"data_offsets":[0,4]}})", "abc"),
            "header: /x/data_offsets: [0, 4] runs past the end of the file's 3 data bytes (the "
            "file is truncated: fetch it again)");
}

TEST_F(Safetensors, HeadersThatAreNone) {
  EXPECT_EQ(refusal("PK\3\4 not a safetensors file at all"),
            "a header of 8390045714599856976 bytes is too long (limit 100000000): not a "
            "safetensors file");
  EXPECT_TRUE(refusal_of_header("not JSON", "").starts_with("header:1:2: "));
  EXPECT_EQ(refusal_of_header("[]", ""), "header: expected an object, found an array");
  EXPECT_EQ(refusal_of_header(R"({"x":{},"x":{}})", ""),
            "header:1:9: duplicate key 'x'");
}

TEST_F(Safetensors, MalformedEntries) {
  EXPECT_EQ(refusal_of_header(R"({"__metadata__":{"a":1}})", ""),
            "header: /__metadata__/a: expected a string, found 1");
  EXPECT_EQ(refusal_of_header(R"({"x":{"shape":[1],"data_offsets":[0,1]}})", "a"),
            "header: /x: 'dtype' is missing");
  EXPECT_EQ(
      refusal_of_header(R"({"x":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}})", "12345678"),
      "header: /x/dtype: unknown dtype 'F64'");
  EXPECT_EQ(refusal_of_header(R"({"x":{"dtype":"I8","shapes":[1],"data_offsets":[0,1]}})", "a"),
            "header: /x/shapes: unknown key 'shapes' (did you mean 'shape'?)");
  EXPECT_EQ(refusal_of_header(R"({"x":{"dtype":"I8","shape":[-1],"data_offsets":[0,1]}})", "a"),
            "header: /x/shape/0: an extent cannot be negative");
  EXPECT_EQ(refusal_of_header(R"({"x":{"dtype":"I8","shape":[1.5],"data_offsets":[0,1]}})", "a"),
            "header: /x/shape/0: expected an integer, found 1.5");
  EXPECT_EQ(refusal_of_header(R"({"x":{"dtype":"I8","shape":[1],"data_offsets":[0]}})", "a"),
            "header: /x/data_offsets: expected [begin, end], found 1 numbers");
  EXPECT_EQ(refusal_of_header(R"({"x":{"dtype":"I8","shape":[1],"data_offsets":[1,0]}})", "a"),
            "header: /x/data_offsets: [1, 0] is not a range of bytes");
  EXPECT_EQ(refusal_of_header(R"({"x":{"dtype":"I8","shape":[1],"data_offsets":[-1,0]}})", "a"),
            "header: /x/data_offsets: [-1, 0] is not a range of bytes");
}

TEST_F(Safetensors, ShapesMustMatchTheirBytes) {
  EXPECT_EQ(
      refusal_of_header(R"({"x":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,6]}})", "123456"),
      "header: /x/data_offsets: 6 bytes are given, BF16 [2, 3] takes 12");
  const std::string huge =
      R"({"x":{"dtype":"I64","shape":[4294967296,4294967296],"data_offsets":[0,0]}})";
  EXPECT_EQ(refusal_of_header(huge, ""),
            "header: /x/shape: the shape has more elements than can be counted");
  EXPECT_EQ(refusal_of_header(
                R"({"x":{"dtype":"I64","shape":[2305843009213693952],"data_offsets":[0,0]}})", ""),
            "header: /x/shape: the shape has more elements than can be counted");
}

TEST_F(Safetensors, OverlapsHolesAndLeftovers) {
  EXPECT_EQ(refusal_of_header(R"({"x":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},
                                  "y":{"dtype":"I8","shape":[2],"data_offsets":[1,3]}})",
                              "abc"),
            "the bytes of tensor 'y' overlap the tensor before it");
  EXPECT_EQ(refusal_of_header(R"({"y":{"dtype":"I8","shape":[1],"data_offsets":[2,3]},
                                  "x":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}})",
                              "abc"),
            "the bytes of tensor 'y' leave a hole after the tensor before it");
  EXPECT_EQ(refusal_of_header(R"({"x":{"dtype":"I8","shape":[1],"data_offsets":[1,2]}})", "ab"),
            "the bytes of tensor 'x' leave a hole after the tensor before it");
  EXPECT_EQ(refusal_of_header(R"({"x":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}})", "abc"),
            "the last 2 bytes belong to no tensor");
}

TEST_F(Safetensors, TheWriterRefusesWhatTheReaderWould) {
  const auto refusal = [&](std::vector<StoredTensor> tensors) {
    const auto written = write_safetensors(file(), tensors);
    EXPECT_FALSE(std::filesystem::exists(file()));
    return written ? "written" : written.error().to_string().substr(file().size() + 2);
  };
  EXPECT_EQ(refusal({{"x", DType::kBFloat16, {2}, bytes_of("abc")}}),
            "tensor 'x' has 3 bytes of data, which is not what BF16 [2] takes");
  EXPECT_EQ(refusal({{"x", DType::kInt8, {-1}, bytes_of("abc")}}),
            "tensor 'x' has 3 bytes of data, which is not what I8 [-1] takes");
  EXPECT_EQ(refusal({{"x", DType::kInt8, {1}, bytes_of("a")}, {"x", DType::kInt8, {0}, {}}}),
            "tensor 'x' is given twice");
  EXPECT_EQ(refusal({{"__metadata__", DType::kInt8, {0}, {}}}),
            "tensor '__metadata__' has the name of the format's metadata");
}

}  // namespace
}  // namespace fib
