#include "signatures/catalog.h"

#include <fmt/format.h>

#include <algorithm>

#include "signatures/document.h"
#include "signatures/family.h"

namespace fib {
namespace {

// Every .json below `folder`, sorted, so that errors and results don't depend on the disk.
Result<std::vector<std::filesystem::path>> json_files(const std::filesystem::path& folder) {
  std::error_code code;
  std::vector<std::filesystem::path> files;
  std::filesystem::recursive_directory_iterator it(folder, code);
  for (; !code && it != std::filesystem::recursive_directory_iterator(); it.increment(code)) {
    if (it->path().extension() == ".json" && it->is_regular_file(code)) {
      files.push_back(it->path());
    }
  }
  if (code) {
    return fail(ErrorCode::kNotFound, fmt::format("can't be read: {}", code.message()),
                folder.string(), "name a folder with signature definitions");
  }
  std::sort(files.begin(), files.end());
  return files;
}

bool same_tensors(const Signature& a, const std::vector<TensorSpec>& of_a, const Signature& b,
                  const std::vector<TensorSpec>& of_b) {
  const auto same_axis = [&](const std::string& x, const std::string& y) {
    const Axis* in_a = a.find_axis(x);
    const Axis* in_b = b.find_axis(y);
    return x == y && in_a->kind == in_b->kind && in_a->value == in_b->value;
  };
  return std::equal(
      of_a.begin(), of_a.end(), of_b.begin(), of_b.end(),
      [&](const TensorSpec& x, const TensorSpec& y) {
        if (x.name != y.name || x.dtype != y.dtype || x.shape.has_value() != y.shape.has_value()) {
          return false;
        }
        return !x.shape || std::equal(x.shape->begin(), x.shape->end(), y.shape->begin(),
                                      y.shape->end(), same_axis);
      });
}

const SignaturePtr* find_in(const std::vector<SignaturePtr>& signatures, std::string_view name) {
  const auto it = std::find_if(signatures.begin(), signatures.end(),
                               [&](const SignaturePtr& s) { return s->name == name; });
  return it == signatures.end() ? nullptr : &*it;
}

}  // namespace

Result<Catalog> Catalog::builtin(const std::filesystem::path& folder) {
  Catalog catalog;
  const auto files = FIB_TRY(json_files(folder));
  for (const auto& file : files) {
    const Json json = FIB_TRY(read_json_file(file));
    std::vector<Signature> read;
    if (json.is_object() && json.contains("family")) {
      read = FIB_TRY(read_family(file));
      catalog.families_.push_back({file, json["name"].get<std::string>()});
    } else {
      read.push_back(FIB_TRY(signature_from_json(json, file.string(), Strictness::kStrict)));
      read.back().file = file;
    }
    for (Signature& signature : read) {
      if (const SignaturePtr* known = find_in(catalog.signatures_, signature.name)) {
        return fail(ErrorCode::kConflict,
                    fmt::format("'{}' is already defined in {}", signature.name,
                                (*known)->file.string()),
                    file.string(), "rename or remove one of them");
      }
      catalog.signatures_.push_back(std::make_shared<const Signature>(std::move(signature)));
    }
  }
  return catalog;
}

Result<void> Catalog::add_dataset(const std::filesystem::path& root) {
  std::error_code ignored;
  const auto folder = root / "definitions";
  const auto files =
      FIB_TRY(json_files(std::filesystem::is_directory(folder, ignored) ? folder : root));
  std::vector<SignaturePtr> added;
  for (const auto& file : files) {
    Signature signature = FIB_TRY(read_signature(file, Strictness::kTolerant));
    if (const SignaturePtr* twin = find_in(added, signature.name)) {
      return fail(ErrorCode::kConflict,
                  fmt::format("'{}' is already defined in {}", signature.name,
                              (*twin)->file.string()),
                  file.string(), "names are unique over a dataset; remove one of them");
    }
    // A listed signature or an instance of one of our families comes with more than the dataset
    // says, such as tolerances; it stands as long as a kernel can't tell the two apart. If one can,
    // an instance that only its name would make gives way.
    if (const auto known = find(signature.name)) {
      const Signature& ours = **known;
      if (same_tensors(ours, ours.inputs, signature, signature.inputs) &&
          same_tensors(ours, ours.outputs, signature, signature.outputs)) {
        signature = ours;
      } else if (find_in(signatures_, signature.name) != nullptr) {
        return fail(ErrorCode::kConflict,
                    fmt::format("'{}' differs in its inputs or outputs from the one in {}",
                                signature.name, ours.file.string()),
                    file.string(), "give the dataset's definition another name");
      }
    }
    added.push_back(std::make_shared<const Signature>(std::move(signature)));
  }
  for (SignaturePtr& signature : added) {
    if (find_in(signatures_, signature->name) == nullptr) {
      signatures_.push_back(std::move(signature));
    }
  }
  return {};
}

Result<SignaturePtr> Catalog::find(std::string_view name) const {
  if (const SignaturePtr* listed = find_in(signatures_, name)) return *listed;
  // Two families may share a naming pattern and part the axes between them, so a refusal by one
  // is final only if no other accepts.
  std::optional<Error> refusal;
  for (const Family& family : families_) {
    if (!fits_pattern(family.pattern, name)) continue;
    auto made = instantiate_by_name(family.file, name);
    if (made) return std::make_shared<const Signature>(*std::move(made));
    if (!refusal) refusal = std::move(made).error();
  }
  if (refusal) return fail(*std::move(refusal));
  std::vector<std::string> names;
  for (const SignaturePtr& signature : signatures_) names.push_back(signature->name);
  return fail(ErrorCode::kNotFound, fmt::format("there is no signature '{}'", name), {},
              did_you_mean(name, names, "`fib signature list` shows all"));
}

std::vector<SignaturePtr> Catalog::all() const {
  std::vector<SignaturePtr> sorted = signatures_;
  std::sort(sorted.begin(), sorted.end(), [](const SignaturePtr& a, const SignaturePtr& b) {
    return std::pair(a->op_type, a->name) < std::pair(b->op_type, b->name);
  });
  return sorted;
}

}  // namespace fib
