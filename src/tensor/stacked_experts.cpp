#include "tensor/stacked_experts.h"

#include <fmt/core.h>

#include <map>
#include <set>

namespace exo {
namespace {

constexpr std::string_view kStack = ".switch_mlp.";
constexpr std::string_view kMixtral = ".block_sparse_moe.switch_mlp.";
constexpr int64_t kMostExperts = 1 << 18;  // of all layers

struct Expert {
  std::string stack;
  TensorInfo info;
  int64_t row_begin = 0;
};

class UnstackedFiles : public TensorFiles {
 public:
  UnstackedFiles(std::shared_ptr<const TensorFiles> files,
                 std::map<std::string, Expert, std::less<>> experts,
                 std::set<std::string, std::less<>> stacks)
      : files_(std::move(files)), experts_(std::move(experts)), stacks_(std::move(stacks)) {}

  std::vector<std::string> names() const override {
    std::vector<std::string> all;
    for (std::string& name : files_->names())
      if (!stacks_.contains(name)) all.push_back(std::move(name));
    for (const auto& [name, expert] : experts_) all.push_back(name);
    return all;
  }
  bool contains(std::string_view name) const override {
    return experts_.contains(name) || (!stacks_.contains(name) && files_->contains(name));
  }
  Result<TensorInfo> describe(std::string_view name) const override {
    const auto expert = experts_.find(name);
    return expert == experts_.end() ? files_->describe(name) : expert->second.info;
  }
  Result<HostTensor> find(std::string_view name) const override {
    const auto expert = experts_.find(name);
    if (expert == experts_.end()) return files_->find(name);
    return find_rows(name, 0, expert->second.info.shape[0]);
  }
  Result<HostTensor> find_rows(std::string_view name, int64_t begin, int64_t count) const override {
    const auto expert = experts_.find(name);
    if (expert == experts_.end()) return files_->find_rows(name, begin, count);
    return files_->find_rows(expert->second.stack, expert->second.row_begin + begin, count);
  }
  Result<std::vector<Place>> places(std::string_view name) const override {
    const auto expert = experts_.find(name);
    return files_->places(expert == experts_.end() ? name : expert->second.stack);
  }
  const JsonObject& metadata() const override { return files_->metadata(); }
  std::string header_digest() const override { return files_->header_digest(); }

 private:
  std::shared_ptr<const TensorFiles> files_;
  std::map<std::string, Expert, std::less<>> experts_;
  std::set<std::string, std::less<>> stacks_;
};

// "P.experts.{}.W.weight" for "P.switch_mlp.W.weight".
std::string expert_pattern(const std::string& stack) {
  const size_t at = stack.find(kStack);
  std::string matrix = stack.substr(at + kStack.size());
  if (stack.find(kMixtral) != std::string::npos)
    for (const auto& [from, to] :
         {std::pair{"gate_proj", "w1"}, {"down_proj", "w2"}, {"up_proj", "w3"}})
      if (matrix.starts_with(from)) matrix.replace(0, std::string_view(from).size(), to);
  return stack.substr(0, at) + ".experts.{}." + matrix;
}

}  // namespace

std::shared_ptr<const TensorFiles> unstack_experts(std::shared_ptr<const TensorFiles> files) {
  std::map<std::string, Expert, std::less<>> experts;
  std::set<std::string, std::less<>> stacks;
  for (const std::string& name : files->names()) {
    if (name.find(kStack) == std::string::npos || name.find_first_of("{}") != std::string::npos)
      continue;
    const auto info = files->describe(name);
    if (!info.ok() || info->shape.size() != 3 || HostTensor{.shape = info->shape}.elements() == 0 ||
        info->shape[0] > kMostExperts - static_cast<int64_t>(experts.size()))
      continue;
    const std::string pattern = expert_pattern(name);
    for (int64_t i = 0; i < info->shape[0]; ++i)
      experts.emplace(
          fmt::format(fmt::runtime(pattern), i),
          Expert{name, {info->dtype, {info->shape[1], info->shape[2]}}, i * info->shape[1]});
    stacks.insert(name);
  }
  if (stacks.empty()) return files;
  return std::make_shared<UnstackedFiles>(std::move(files), std::move(experts), std::move(stacks));
}

}  // namespace exo
