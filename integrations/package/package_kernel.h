#pragma once

// One signature of an open package as a Kernel. All that a call passes on is laid out once.

#include <memory>
#include <vector>

#include "integrations/package/call_shape.h"
#include "integrations/package/package_library.h"
#include "integrations/package/package_seat.h"
#include "integrations/package/workspace.h"

namespace fib {

// An open device of a package; closed with its last owner.
struct OpenPackage {
  OpenPackage(PackageLibraryPtr library, std::unique_ptr<PackageSeat> seat)
      : library(std::move(library)), seat(std::move(seat)) {}
  OpenPackage(const OpenPackage&) = delete;
  OpenPackage& operator=(const OpenPackage&) = delete;
  ~OpenPackage();

  const fib_kernels_api& api() const { return library->api(); }
  // The status as an error about `where`, or about the device if that is lost.
  Result<void> check(fib_kernels_status status, std::string_view where) const;

  const PackageLibraryPtr library;
  const std::unique_ptr<PackageSeat> seat;
  fib_kernels_device* device = nullptr;
};

class PackageKernel final : public Kernel {
 public:
  // kNotFound, kUnsupported: the package lacks the signature, or has nothing of it that runs here.
  // kConflict: it was built for another definition of it.
  static Result<std::unique_ptr<Kernel>> open(std::shared_ptr<const OpenPackage> package,
                                              ServingDevice& device, Workspace& workspace,
                                              SignaturePtr signature,
                                              const SignatureRequest& request);

  const Signature& signature() const override { return *signature_; }
  std::string_view solution() const override { return solution_; }
  Result<void> run(const KernelCall& call) override;
  Result<std::unique_ptr<PreparedWeights>> prepare(std::span<const Operand> inputs) override;

 private:
  PackageKernel(std::shared_ptr<const OpenPackage> package, ServingDevice& device,
                Workspace& workspace, SignaturePtr signature, CallShape shape,
                const fib_kernels_op* op);
  Result<void> match(const fib_kernels_signature_info& info);
  void take_operands(const KernelCall& call, CallShape::Match match);
  Result<void> name_solution();
  Result<void> check(fib_kernels_status status) const;

  const std::shared_ptr<const OpenPackage> package_;
  ServingDevice& device_;
  Workspace& workspace_;
  const SignaturePtr signature_;
  CallShape shape_;
  const fib_kernels_op* const op_;
  std::string_view solution_;         // of the last call; the package's memory
  bool is_named_ = false;             // solution_ is that of calls like the last one
  std::vector<size_t> varying_;       // the package's varying axes, as indices of the signature's
  std::vector<size_t> host_visible_;  // inputs

  // What raw_ points to.
  std::vector<int64_t> axes_;
  std::vector<void*> inputs_, outputs_;
  std::vector<double> scalars_;
  std::vector<const void*> host_inputs_;
  fib_kernels_raw_call raw_ = FIB_KERNELS_RAW_CALL_INIT;
};

}  // namespace fib
