#include "integrations/package/package_kernel.h"

#include <fmt/format.h>

#include <array>

#include "integrations/package/prepared_array.h"
#include "runners/cpu/data_type.h"

namespace fib {
namespace {

// The tensors of one side of a call that describes weights. Shapes are kept here.
class PackageTensors {
 public:
  PackageTensors(const std::vector<TensorSpec>& specs, const fib_kernels_device_options& place)
      : shapes_(specs.size()), tensors_(specs.size()) {
    for (size_t i = 0; i < specs.size(); ++i) {
      const FibDataType type = data_type(specs[i].dtype);
      tensors_[i] = {.device = {place.device_type, place.device_id},
                     .ndim = specs[i].shape ? static_cast<int32_t>(specs[i].shape->size()) : 0,
                     .dtype = {type.code, type.bits, type.lanes},
                     .shape = shapes_[i].data()};
    }
  }
  PackageTensors(const PackageTensors&) = delete;
  PackageTensors& operator=(const PackageTensors&) = delete;

  void set(size_t i, const Operand& operand) {
    shapes_[i] = operand.shape;
    tensors_[i].data = operand.data;
  }
  int32_t size() const { return static_cast<int32_t>(tensors_.size()); }
  const fib_kernels_tensor* data() const { return tensors_.data(); }

 private:
  std::vector<std::array<int64_t, Operand::kMaxRank>> shapes_;
  std::vector<fib_kernels_tensor> tensors_;
};

bool is_same(const TensorSpec& spec, const fib_kernels_tensor_info& info) {
  const FibDataType type = data_type(spec.dtype);
  const auto rank = static_cast<int32_t>(spec.shape ? spec.shape->size() : 0);
  if (spec.name != info.name || type.code != info.dtype.code || type.bits != info.dtype.bits ||
      rank != info.ndim || spec.shape.has_value() == (info.is_host_scalar != 0)) {
    return false;
  }
  for (int32_t d = 0; d < rank; ++d) {
    if ((*spec.shape)[static_cast<size_t>(d)] != info.axes[d]) return false;
  }
  return true;
}

bool has_tensors(const Signature& signature, const fib_kernels_signature_info& info) {
  if (signature.inputs.size() != static_cast<size_t>(info.num_inputs) ||
      signature.outputs.size() != static_cast<size_t>(info.num_outputs)) {
    return false;
  }
  for (int32_t i = 0; i < info.num_inputs; ++i) {
    const TensorSpec& input = signature.inputs[static_cast<size_t>(i)];
    if (!is_same(input, *fib_kernels_input_at(&info, i))) return false;
  }
  for (int32_t i = 0; i < info.num_outputs; ++i) {
    const TensorSpec& output = signature.outputs[static_cast<size_t>(i)];
    if (!is_same(output, *fib_kernels_output_at(&info, i))) return false;
  }
  return true;
}

const fib_kernels_signature_info* find_info(const fib_kernels_api& api, const std::string& name) {
  for (size_t i = 0; i < api.num_signatures(); ++i) {
    const fib_kernels_signature_info* info = api.signature(i);
    if (info->name == name) return info;
  }
  return nullptr;
}

}  // namespace

OpenPackage::~OpenPackage() {
  if (device != nullptr && seat->enter()) api().close(device);
}

Result<void> OpenPackage::check(fib_kernels_status status, std::string_view where) const {
  if (status == FIB_KERNELS_OK) [[likely]]
    return {};
  auto checked = library->check(status, where);
  return fail(seat->explain(std::move(checked).error()));
}

PackageKernel::PackageKernel(std::shared_ptr<const OpenPackage> package, ServingDevice& device,
                             Workspace& workspace, SignaturePtr signature, CallShape shape,
                             const fib_kernels_op* op)
    : package_(std::move(package)),
      device_(device),
      workspace_(workspace),
      signature_(std::move(signature)),
      shape_(std::move(shape)),
      op_(op),
      inputs_(signature_->inputs.size()),
      outputs_(signature_->outputs.size()),
      scalars_(signature_->inputs.size()),
      host_inputs_(signature_->inputs.size()) {
  for (size_t i = 0; i < signature_->inputs.size(); ++i) {
    if (signature_->is_host_visible(signature_->inputs[i].name)) host_visible_.push_back(i);
  }
}

Result<std::unique_ptr<Kernel>> PackageKernel::open(std::shared_ptr<const OpenPackage> package,
                                                    ServingDevice& device, Workspace& workspace,
                                                    SignaturePtr signature,
                                                    const SignatureRequest& request) {
  std::vector<fib_kernels_parameter> parameters;
  for (const auto& [name, value] : request.parameters) parameters.push_back({name.c_str(), value});
  FIB_CHECK(package->seat->enter());
  const fib_kernels_op* op = nullptr;
  FIB_CHECK(package->check(package->api().find(package->device, request.name.c_str(),
                                               parameters.data(), parameters.size(), &op),
                           request.key()));
  CallShape shape = FIB_TRY(CallShape::of(signature));
  std::unique_ptr<PackageKernel> kernel(new PackageKernel(
      std::move(package), device, workspace, std::move(signature), std::move(shape), op));
  FIB_CHECK(kernel->match(*find_info(kernel->package_->api(), request.name)));
  fib_kernels_raw_call& raw = kernel->raw_;
  raw.axes = kernel->axes_.data();
  raw.inputs = kernel->inputs_.data();
  raw.outputs = kernel->outputs_.data();
  raw.scalars = kernel->scalars_.data();
  raw.host_inputs = kernel->host_inputs_.data();
  raw.stream = kernel->package_->seat->stream();
  return kernel;
}

// The package calls the axes in its own order; all else has to be as it is here.
Result<void> PackageKernel::match(const fib_kernels_signature_info& info) {
  bool fits = has_tensors(*signature_, info) &&
              signature_->axes.size() == static_cast<size_t>(info.num_axes);
  for (int32_t i = 0; fits && i < info.num_axes; ++i) {
    const fib_kernels_axis_info& given = *fib_kernels_axis_at(&info, i);
    const Axis* axis = signature_->find_axis(given.name);
    const bool varies = given.value < 0;
    fits = axis != nullptr && varies == (axis->kind == Axis::Kind::kVar) &&
           (varies || axis->value == given.value);
    if (fits && varies) varying_.push_back(static_cast<size_t>(axis - signature_->axes.data()));
  }
  axes_.resize(varying_.size());
  if (fits) return {};
  return fail(ErrorCode::kConflict,
              fmt::format("the package '{}' was built for another definition of it",
                          package_->library->path().filename().string()),
              signature_->name, "export it again with this fib");
}

Result<void> PackageKernel::check(fib_kernels_status status) const {
  if (status == FIB_KERNELS_OK) [[likely]]
    return {};
  return package_->check(status, signature_->name);
}

Result<void> PackageKernel::name_solution() {
  fib_kernels_choice choice{.struct_size = sizeof choice};
  FIB_CHECK(check(package_->api().raw_choose(op_, &raw_, &choice)));
  solution_ = choice.solution != nullptr ? choice.solution : "";
  is_named_ = true;
  return {};
}

// Axes, host copies and prepared weights decide which solution serves.
void PackageKernel::take_operands(const KernelCall& call, CallShape::Match match) {
  if (match == CallShape::Match::kNew) {
    for (size_t i = 0; i < varying_.size(); ++i) axes_[i] = shape_.axes()[varying_[i]];
    is_named_ = false;
  }
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    inputs_[i] = call.inputs[i].data;
    scalars_[i] = call.inputs[i].scalar;
  }
  for (size_t i = 0; i < call.outputs.size(); ++i) outputs_[i] = call.outputs[i].data;
  const bool has_values = call.values == InputValues::kOfThisCall;
  for (const size_t i : host_visible_) {
    const void* const copy = has_values ? call.inputs[i].host : nullptr;
    is_named_ &= (copy == nullptr) == (host_inputs_[i] == nullptr);
    host_inputs_[i] = copy;
  }
  is_named_ &= (call.prepared == nullptr) == (raw_.prepared == nullptr);
}

Result<void> PackageKernel::run(const KernelCall& call) {
  FIB_CHECK(package_->seat->enter());
  take_operands(call, FIB_TRY(shape_.solve(call)));
  raw_.prepared = nullptr;
  raw_.prepared_bytes = 0;
  if (call.prepared != nullptr) {
    raw_.prepared = FIB_TRY(PreparedArray::of(call, *this, 0));
    raw_.prepared_bytes = call.prepared->bytes();
  }
  const std::span<std::byte> workspace = workspace_.whole();
  raw_.workspace = workspace.data();
  raw_.workspace_bytes = workspace.size();
  fib_kernels_status status = package_->api().launch_raw(op_, &raw_);
  if (status == FIB_KERNELS_WORKSPACE_TOO_SMALL) {
    size_t bytes = 0;
    FIB_CHECK(check(package_->api().raw_workspace_bytes(op_, &raw_, &bytes)));
    raw_.workspace = FIB_TRY(workspace_.reserve(bytes));
    raw_.workspace_bytes = bytes;
    status = package_->api().launch_raw(op_, &raw_);
  }
  Result<void> done = check(status);
  // Afterwards, since a solution may have refused the call when it ran; whose fault it was as well.
  if (!is_named_) {
    auto named = name_solution();
    if (done && !named) return named;
  }
  return done;
}

Result<std::unique_ptr<PreparedWeights>> PackageKernel::prepare(std::span<const Operand> inputs) {
  FIB_CHECK(package_->seat->enter());
  const std::vector<int64_t> axes = FIB_TRY(shape_.solve_weights(inputs));
  const fib_kernels_device_options place = package_->seat->options();
  PackageTensors given(signature_->inputs, place), outputs(signature_->outputs, place);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorSpec& spec = signature_->inputs[i];
    given.set(
        i, signature_->is_weight(spec.name) ? inputs[i] : shaped_operand(*signature_, spec, axes));
  }
  for (size_t i = 0; i < signature_->outputs.size(); ++i) {
    outputs.set(i, shaped_operand(*signature_, signature_->outputs[i], axes));
  }
  fib_kernels_call call = FIB_KERNELS_CALL_INIT;
  call.num_inputs = given.size();
  call.num_outputs = outputs.size();
  call.inputs = given.data();
  call.outputs = outputs.data();
  const std::vector<double> scalars(inputs.size());
  call.scalars = scalars.data();
  call.stream = package_->seat->stream();
  fib_kernels_prepare_info info{.struct_size = sizeof info};
  FIB_CHECK(check(package_->api().query_prepare(op_, &call, &info)));
  if (info.bytes == 0) return nullptr;
  DeviceArray array = FIB_TRY(device_.allocate(info.bytes));
  call.workspace = FIB_TRY(workspace_.reserve(info.workspace_bytes));
  call.workspace_bytes = info.workspace_bytes;
  FIB_CHECK(check(package_->api().prepare(op_, &call, array.data())));
  return std::make_unique<PreparedArray>(*this, std::move(array),
                                         info.replaces_originals != 0
                                             ? PreparedArray::Originals::kReplaced
                                             : PreparedArray::Originals::kStillRead);
}

}  // namespace fib
