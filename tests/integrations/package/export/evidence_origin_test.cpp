// Winners whose evidence is of other code, or of another processor, than what is here.

#include "integrations/package/export/evidence_origin.h"

#include <gmock/gmock.h>

#include "runners/worker/header_digests.h"
#include "signatures/base/file.h"
#include "tests/integrations/paired_store.h"
#include "tests/scratch_folder.h"

namespace fib {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class EvidenceOriginTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(folder_ / "fib");
    for (const char* header : {"fib/cpu.h", "fib/philox.h"}) set(header, "as measured");
  }
  void set(const std::string& header, const std::string& content) {
    ASSERT_TRUE(write_file_atomically(folder_ / header, content));
  }
  std::string headers() const {
    return header_digests_text(header_digests(folder_.path(), "cpu").value());
  }
  // A win that was measured with these headers.
  void measure(const std::string& headers, const std::string& architecture = "x86-64 avx2") {
    testing::add_pair(*store_, {.headers = headers, .architecture = architecture});
  }

  // What is told of the winners' evidence; `notes_`: what without --explain too.
  std::vector<std::string> told() {
    const auto records = store_->paired({}).value();
    Signature signature;
    signature.name = "rmsnorm_h64";
    winners_ = {};
    winners_.packaged.signature = std::make_shared<const Signature>(std::move(signature));
    winners_.packaged.solutions = {{.name = "mine"}};
    BucketChoice bucket{.where = {{.axis = "batch_size", .low = 5, .high = 8}}};
    for (const PairedRecord& record : records) {
      bucket.evidence.verdicts.push_back(record.verdict_id);
    }
    winners_.packaged.hardware = {
        {.hardware = testing::kPairedHardware, .target = "cpu", .buckets = {bucket}}};
    DeviceInfo host;
    host.key = host_key_;
    host.architecture = "x86-64 avx2 avx512f";
    notes_ =
        check_origins(winners_, {.store = *store_, .abi = folder_.path(), .host = host}).value();
    return winners_.explanations.empty() ? std::vector<std::string>()
                                         : winners_.explanations.at(0).reasons;
  }
  const Evidence& evidence() const {
    return winners_.packaged.hardware.at(0).buckets.at(0).evidence;
  }

  ScratchFolder folder_;
  std::unique_ptr<Store> store_ = Store::open(folder_ / "fib.db").value();
  std::string host_key_ = "ANOTHER_CPU";
  Winners winners_;
  std::vector<std::string> notes_;
};

TEST_F(EvidenceOriginTest, NothingIsToldOfWhatIsAsItWas) {
  measure(headers());
  set("fib/philox.h", "which neither of the two includes");
  EXPECT_THAT(told(), IsEmpty());
  EXPECT_THAT(notes_, IsEmpty());
  EXPECT_THAT(evidence().changed_headers, ::testing::Optional(IsEmpty()));
}

TEST_F(EvidenceOriginTest, AChangedHeaderIsNamed) {
  measure(headers());
  set("fib/cpu.h", "other code");
  EXPECT_THAT(told(), ElementsAre("mine at batch_size 5..8 was measured with another fib/cpu.h: "
                                  "'fib compare' compares anew"));
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("rmsnorm_h64 on TEST_CPU: mine at")));
  EXPECT_THAT(evidence().changed_headers, ::testing::Optional(ElementsAre("fib/cpu.h")));
}

TEST_F(EvidenceOriginTest, VerdictsFromBeforeCountAndAreTold) {
  measure("");
  EXPECT_THAT(told(), ElementsAre("measured before verdicts told which fib headers they are of: "
                                  "verdict 1"));
  EXPECT_THAT(notes_, IsEmpty());
  EXPECT_EQ(evidence().changed_headers, std::nullopt);
}

TEST_F(EvidenceOriginTest, ProcessorsOfOneNameThatDifferAreTold) {
  measure(headers());
  EXPECT_THAT(told(), IsEmpty()) << "this machine is of another name";
  host_key_ = testing::kPairedHardware;
  EXPECT_THAT(told(), ElementsAre("processors of this name differ: x86-64 avx2; x86-64 avx2 "
                                  "avx512f"));
  EXPECT_EQ(notes_.size(), 1u);
}

}  // namespace
}  // namespace fib
