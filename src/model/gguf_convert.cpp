#include "model/gguf_convert.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/file.h"
#include "base/thread_pool.h"
#include "model/gguf_form.h"
#include "model/weights.h"
#include "tensor/quantize.h"
#include "tensor/tensor_writer.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kChunkElements = 4 << 20;  // of one conversion
constexpr size_t kMostJsonBytes = 64 << 20;

int64_t row_count(const Shape& shape) {
  return HostTensor{.shape = shape}.elements() / std::max<int64_t>(1, shape.back());
}

// Where a format's rows are not whole blocks: the nearest that fits, as llama.cpp chooses too.
DType fitting(DType wanted, int64_t width) {
  if (width % traits(wanted).block_size == 0) return wanted;
  switch (wanted) {
    case DType::q4_k:
      return fitting(DType::q5_0, width);
    case DType::q5_k:
      return fitting(DType::q5_1, width);
    case DType::q6_k:
      return fitting(DType::q8_0, width);
    default:
      return DType::f16;
  }
}

bool is_output(std::string_view name, bool tied) {
  return name == "output.weight" || name == "lm_head.weight" ||
         (tied && (name == "token_embd.weight" || name == "model.embed_tokens.weight"));
}

// llama.cpp's number for a file whose matrices mostly have this type ("general.file_type").
std::optional<int> file_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return 0;
    case DType::f16:
      return 1;
    case DType::q4_0:
      return 2;
    case DType::q4_1:
      return 3;
    case DType::q8_0:
      return 7;
    case DType::q5_0:
      return 8;
    case DType::q5_1:
      return 9;
    case DType::q4_k:
      return 14;
    case DType::q5_k:
      return 16;
    case DType::q6_k:
      return 18;
    case DType::bf16:
      return 32;
    default:
      return std::nullopt;
  }
}

// Converts rows and hands them to the writer, a chunk at a time.
class Pump {
 public:
  Pump(TensorWriter& writer, const ConvertOptions& options)
      : writer_(writer), options_(options), threads_(options.threads) {}

  // order(i): which row of `tensor` is row i of the target.
  Result<void> put(const HostTensor& tensor, DType target,
                   const std::function<int64_t(int64_t)>& order) {
    if (tensor.elements() == 0) return {};
    const int64_t width = tensor.shape.back(), rows = row_count(tensor.shape);
    const size_t from = row_bytes(tensor.dtype, width), to = row_bytes(target, width);
    const int64_t chunk = std::max<int64_t>(1, kChunkElements / width);
    for (int64_t begin = 0; begin < rows; begin += chunk) {
      const int64_t count = std::min(chunk, rows - begin);
      out_.resize(static_cast<size_t>(count) * to);
      threads_.parallel_for(count, 1 + 65536 / width, [&](int64_t first, int64_t last, int) {
        std::vector<float> row(static_cast<size_t>(width));
        for (int64_t i = first; i < last; ++i) {
          const std::byte* in = tensor.bytes.data() + static_cast<size_t>(order(begin + i)) * from;
          std::byte* out = out_.data() + static_cast<size_t>(i) * to;
          if (tensor.dtype == target) {
            std::copy_n(in, to, out);
            continue;
          }
          to_f32(tensor.dtype, in, row);
          from_f32(target, row, out);
        }
      });
      TRY(writer_.write(out_));
      if (options_.progress && !options_.progress(writer_.written_bytes(), writer_.total_bytes()))
        return Error{ErrorCode::cancelled, "stopped; nothing was written"};
    }
    let_go(tensor.bytes);
    return {};
  }

 private:
  TensorWriter& writer_;
  const ConvertOptions& options_;
  ThreadPool threads_;
  std::vector<std::byte> out_;
};

int64_t as_it_is(int64_t row) { return row; }

Result<void> check_target(const ConvertOptions& options) {
  if (!options.target || converts_from_f32(*options.target)) return {};
  return unsupported(
      fmt::format("weights cannot be quantised into {}", traits(*options.target).name));
}

ConvertReport report_of(const std::vector<PlannedTensor>& plan, uint64_t bytes) {
  ConvertReport report{bytes, {}};
  for (const PlannedTensor& tensor : plan)
    ++report.tensors[std::string(traits(tensor.info.dtype).name)];
  return report;
}

// The type most bytes have.
DType main_type(const std::vector<PlannedTensor>& plan) {
  std::map<DType, uint64_t> bytes;
  for (const PlannedTensor& tensor : plan)
    if (tensor.info.shape.size() > 1) bytes[tensor.info.dtype] += tensor.size_bytes();
  const auto most = std::max_element(
      bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == bytes.end() ? DType::f32 : most->first;
}

// --- GGUF from a Hugging Face checkpoint: its tensors are made of declared weights ---

struct Target {
  PlannedTensor plan;
  std::vector<std::pair<WeightSpec, WeightSpec>> parts;  // from, to; in the order of their rows
};

Result<std::vector<Target>> plan_targets(const ModelFiles& model, const GgufForm& form,
                                         std::optional<DType> wanted) {
  std::vector<WeightSpec> from = model.architecture->declare(model.config);
  const std::vector<WeightSpec> to = model.architecture->declare(form.config);
  CHECK(from.size() == to.size(), "a family declares the same weights for both formats");
  std::vector<Target> targets;
  std::map<std::string, size_t> by_name;
  for (size_t i = 0; i < from.size(); ++i) {
    CHECK(
        from[i].slot == to[i].slot && from[i].shape == to[i].shape && from[i].layer == to[i].layer,
        "a family declares its weights in the same order for both formats");
    const auto [known, added] = by_name.emplace(to[i].name, targets.size());
    if (!added) {
      const WeightSpec& first = targets[known->second].parts.front().second;
      if (to[i].stored.empty() || to[i].row_begin == first.row_begin) continue;  // a tied head
      targets[known->second].parts.emplace_back(from[i], to[i]);
      continue;
    }
    const TensorInfo stored = TRY(find_weight(from[i], *model.tensors));
    Target target;
    target.plan.name = to[i].name;
    target.plan.info.shape = to[i].stored.empty() ? to[i].shape : to[i].stored;
    target.plan.info.dtype = converted_dtype(
        to[i].name, {from[i].offset != 0 ? DType::f32 : stored.dtype, target.plan.info.shape},
        wanted, model.config.tied_embeddings);
    target.parts.emplace_back(from[i], to[i]);
    targets.push_back(std::move(target));
  }
  for (Target& target : targets)
    std::sort(target.parts.begin(), target.parts.end(),
              [](const auto& a, const auto& b) { return a.second.row_begin < b.second.row_begin; });
  return targets;
}

// Row of the checkpoint that is row `row` of a matrix whose rotary pairs are neighbours.
int64_t turned_row(int64_t row, int64_t head_dim) {
  const int64_t head = row / head_dim, in_head = row % head_dim;
  return head * head_dim + in_head % 2 * (head_dim / 2) + in_head / 2;
}

Result<void> pump_target(const ModelFiles& model, const GgufForm& form, const Target& target,
                         Pump& pump) {
  for (const auto& [from, to] : target.parts) {
    HostTensor tensor = TRY(from.made ? model.architecture->read(from, model.config, *model.tensors)
                                      : read_weight(from, *model.tensors));
    const auto turned = form.turned.find(to.slot);
    const bool turns = to.part == Part::layer && turned != form.turned.end();
    if (tensor.shape.size() == 1 && turns) tensor.shape.push_back(1);  // a bias: rows of one
    const int64_t head_dim = turns ? row_count(tensor.shape) / turned->second : 1;
    const auto order = [&](int64_t row) { return turns ? turned_row(row, head_dim) : row; };
    TRY(pump.put(tensor, target.plan.info.dtype, order));
  }
  return {};
}

Result<ConvertReport> from_checkpoint(const ModelFiles& model, const fs::path& file,
                                      const ConvertOptions& options) {
  if (model.architecture->to_gguf == nullptr)
    return unsupported(
        fmt::format("{} models cannot be written as GGUF", model.architecture->family));
  const std::string config_path = (fs::path(model.card.path) / "config.json").string();
  const Json json = TRY(parse_json(TRY(read_file(config_path, kMostJsonBytes))));
  if (!json.is_object()) return corrupt(config_path + ": expected a JSON object");
  const GgufForm form = TRY(model.architecture->to_gguf(model.config, json.get_object()));
  const std::vector<Target> targets = TRY(plan_targets(model, form, options.target));
  PlannedFiles planned(form);
  std::vector<PlannedTensor> plan;
  for (const auto& [name, values] : form.tensors)
    plan.push_back({name, {DType::f32, {static_cast<int64_t>(values.size())}}});
  for (const Target& target : targets) {
    planned.add(target.plan.name, target.plan.info);
    plan.push_back(target.plan);
  }
  TRY(check_gguf_form(form, model.config, planned));

  JsonObject metadata = planned.metadata();
  for (const auto& [key, value] : options.metadata) metadata[key] = value;
  if (const auto type = file_type(options.target.value_or(main_type(plan))))
    metadata["general.file_type"] = *type;
  metadata["general.quantization_version"] = 2;
  TensorWriter writer = TRY(TensorWriter::create_gguf(file, metadata, plan));
  for (const auto& [name, values] : form.tensors)
    TRY(writer.write(std::as_bytes(std::span(values))));
  Pump pump(writer, options);
  for (const Target& target : targets) {
    const auto pumped = pump_target(model, form, target, pump);
    if (!pumped.ok()) return pumped.error().in(target.plan.name);
  }
  TRY(writer.finish());
  return report_of(plan, writer.total_bytes());
}

// --- the same format again: tensors keep their names ---

// Vectors stay as they are.
Result<std::vector<PlannedTensor>> plan_same(const TensorFiles& files, const Config& config,
                                             std::optional<DType> target) {
  std::vector<PlannedTensor> plan;
  for (const std::string& name : files.names()) {
    const TensorInfo info = TRY(files.describe(name));
    const bool matrix = info.shape.size() > 1 && row_count(info.shape) > 1;
    const bool kept = !matrix || (!target && gguf_holds(info.dtype));
    plan.push_back(
        {name,
         {kept ? info.dtype : converted_dtype(name, info, target, config.tied_embeddings),
          info.shape}});
  }
  return plan;
}

Result<void> pump_same(const TensorFiles& files, const std::vector<PlannedTensor>& plan,
                       Pump& pump) {
  for (const PlannedTensor& tensor : plan) {
    HostTensor found = TRY(files.find(tensor.name));
    if (found.shape.empty()) found.shape = {1};
    TRY(pump.put(found, tensor.info.dtype, as_it_is));
  }
  return {};
}

Result<ConvertReport> from_gguf(const ModelFiles& model, const fs::path& file,
                                const ConvertOptions& options) {
  // The file itself: a model that sees has its tower in another one beside it.
  const auto files = TRY(open_gguf(model.card.path));
  const std::vector<PlannedTensor> plan = TRY(plan_same(*files, model.config, options.target));
  JsonObject metadata = files->metadata();
  for (const char* key : {"split.no", "split.count", "split.tensors.count", "general.alignment"})
    metadata.erase(key);
  if (const auto type = file_type(options.target.value_or(main_type(plan))))
    metadata["general.file_type"] = *type;
  TensorWriter writer = TRY(TensorWriter::create_gguf(file, metadata, plan));
  Pump pump(writer, options);
  TRY(pump_same(*files, plan, pump));
  TRY(writer.finish());
  return report_of(plan, writer.total_bytes());
}

// config.json without what was said of the packing, and with the new type.
Result<void> write_config(const ModelFiles& model, const fs::path& folder, DType dtype,
                          bool packed) {
  Json json =
      TRY(parse_json(TRY(read_file(fs::path(model.card.path) / "config.json", kMostJsonBytes))));
  if (!json.is_object()) return corrupt("config.json: expected a JSON object");
  JsonObject& config = json.get_object();
  if (!packed)
    for (const char* key : {"quantization", "quantization_config"}) config.erase(key);
  const std::string name = dtype == DType::f32   ? "float32"
                           : dtype == DType::f16 ? "float16"
                                                 : "bfloat16";
  config[config.contains("dtype") ? "dtype" : "torch_dtype"] = name;
  return write_file(folder / "config.json", to_text(json) + "\n");
}

bool is_safetensors_type(DType dtype) {
  return traits(dtype).block_size == 1 && dtype != DType::f8_e4m3;
}

}  // namespace

DType converted_dtype(const std::string& name, const TensorInfo& stored,
                      std::optional<DType> target, bool tied) {
  if (!converts_to_f32(stored.dtype)) return stored.dtype;  // numbers that are no weights
  const bool matrix = stored.shape.size() > 1 && row_count(stored.shape) > 1;
  const bool routes = name.find("ffn_gate_inp") != std::string::npos ||
                      name.find("mlp.gate.weight") != std::string::npos ||
                      name.find("router") != std::string::npos;
  const bool weight = name.ends_with("weight") || name.ends_with("_proj");
  if (!matrix || routes || !weight) return DType::f32;
  if (!target) {
    if (gguf_holds(stored.dtype)) return stored.dtype;
    return stored.dtype == DType::f8_32 ? DType::bf16 : DType::f16;
  }
  const DType fits = fitting(*target, stored.shape.back());
  // The output decides every token: it gets more bits, as llama.cpp gives it.
  const bool coarse = row_bytes(*target, 256) < row_bytes(DType::q6_k, 256);
  return is_output(name, tied) && coarse ? fitting(DType::q6_k, stored.shape.back()) : fits;
}

Result<ConvertReport> convert_to_gguf(const ModelFiles& model, const fs::path& file,
                                      const ConvertOptions& options) {
  TRY(check_target(options));
  return model.config.gguf ? from_gguf(model, file, options)
                           : from_checkpoint(model, file, options);
}

Result<ConvertReport> convert_to_safetensors(const ModelFiles& model, const fs::path& folder,
                                             const ConvertOptions& options) {
  if (model.config.gguf)
    return unsupported("GGUF files are converted to GGUF only; give a target that ends in .gguf");
  if (options.target && !is_safetensors_type(*options.target))
    return unsupported(
        fmt::format("safetensors hold f32, f16 and bf16; for {} give a target that ends in .gguf",
                    traits(*options.target).name));
  std::vector<PlannedTensor> plan = TRY(plan_same(*model.tensors, model.config, options.target));
  bool packed = false;  // bytes that only the config's packing explains
  for (PlannedTensor& tensor : plan) {
    if (!is_safetensors_type(tensor.info.dtype)) tensor.info.dtype = DType::bf16;
    packed = packed || tensor.info.dtype == DType::u8;
  }
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    return unavailable(fmt::format("cannot create {}: {}", folder.string(), error.message()));
  TensorWriter writer =
      TRY(TensorWriter::create_safetensors(folder / "model.safetensors", {{"format", "pt"}}, plan));
  Pump pump(writer, options);
  TRY(pump_same(*model.tensors, plan, pump));
  for (const char* name : {"generation_config.json", "tokenizer.json", "tokenizer_config.json",
                           "special_tokens_map.json", "tokenizer.model", "chat_template.jinja",
                           "chat_template.json", "preprocessor_config.json",
                           "processor_config.json", "modules.json", "1_Pooling/config.json"}) {
    const fs::path from = fs::path(model.card.path) / name;
    if (!fs::exists(from, error)) continue;
    fs::create_directories((folder / name).parent_path(), error);
    TRY(write_file(folder / name, TRY(read_file(from, kMostJsonBytes))));
  }
  TRY(write_config(model, folder, options.target.value_or(main_type(plan)), packed));
  TRY(writer.finish());
  return report_of(plan, writer.total_bytes());
}

}  // namespace exo
