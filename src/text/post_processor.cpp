#include "text/post_processor.h"

#include <fmt/core.h>

#include "text/json_parts.h"
#include "text/token_model.h"

namespace exo {
namespace {

constexpr size_t kMaxTemplateIds = 256;

Result<TokenId> checked_id(const Json& value) {
  boost::json::error_code error;
  const auto id = value.is_number() ? value.to_number<int64_t>(error) : -1;
  if (error || id < 0 || id >= kMaxTokens)
    return corrupt("a token id of the post-processor is not a possible id");
  return static_cast<TokenId>(id);
}

// {"[CLS]": {"ids": [101]}}
Result<void> append_special(const JsonObject& object, const std::string& name,
                            PostProcessor::Template& out) {
  const JsonObject* specials = TRY(get_object(object, "special_tokens"));
  const JsonObject* special =
      specials == nullptr ? nullptr : TRY(get_object(*specials, std::string_view(name)));
  const JsonArray* ids = special == nullptr ? nullptr : TRY(get_array(*special, "ids"));
  if (ids == nullptr)
    return corrupt(fmt::format("the template names '{}', which special_tokens lacks", name));
  for (const Json& id : *ids) out.push_back(TRY(checked_id(id)));
  return {};
}

}  // namespace

Result<PostProcessor> PostProcessor::parse(const Json& value) {
  PostProcessor processor;
  TRY(processor.parse_into(value, 0));
  return processor;
}

Result<void> PostProcessor::parse_into(const Json& value, int depth) {
  if (value.is_null()) return {};
  const JsonPart part = TRY(read_part(value, "post-processor"));
  const JsonObject& object = *part.object;
  if (part.type == "ByteLevel") return {};  // offsets only
  if (part.type == "TemplateProcessing") return parse_template(object);
  if (part.type == "BertProcessing" || part.type == "RobertaProcessing")
    return parse_pair_style(object);
  if (part.type != "Sequence")
    return unsupported(fmt::format("post-processor '{}' is not known", part.type));
  for (const Json& item : *TRY(read_part_list(object, "processors", depth)))
    TRY(parse_into(item, depth + 1));
  return {};
}

Result<void> PostProcessor::parse_template(const JsonObject& object) {
  const JsonArray* single = TRY(get_array(object, "single"));
  if (single == nullptr) return corrupt("TemplateProcessing has no 'single'");
  Template added;
  for (const Json& item : *single) {
    if (!item.is_object()) return corrupt("a piece of the template must be an object");
    if (const JsonObject* special = TRY(get_object(item.get_object(), "SpecialToken"))) {
      const std::string name = TRY(required_string(*special, "id"));
      TRY(append_special(object, name, added));
    } else {
      added.push_back(std::nullopt);
    }
    if (added.size() > kMaxTemplateIds)
      return unsupported(fmt::format("the template has more than {} ids", kMaxTemplateIds));
  }
  append(std::move(added));
  return {};
}

// BertProcessing, RobertaProcessing: "cls" and "sep" are [token, id].
Result<void> PostProcessor::parse_pair_style(const JsonObject& object) {
  Template added;
  for (const std::string_view key : {"cls", "sep"}) {
    const JsonArray* pair = TRY(get_array(object, key));
    if (pair == nullptr || pair->size() != 2)
      return corrupt(fmt::format("'{}' must be [token, id]", key));
    if (!added.empty()) added.push_back(std::nullopt);
    added.push_back(TRY(checked_id((*pair)[1])));
  }
  append(std::move(added));
  return {};
}

std::vector<TokenId> PostProcessor::apply(std::vector<TokenId> ids) const {
  for (const Template& added : templates_) {
    std::vector<TokenId> out;
    out.reserve(ids.size() + added.size());
    for (const auto& item : added) {
      if (item) {
        out.push_back(*item);
      } else {
        out.insert(out.end(), ids.begin(), ids.end());
      }
    }
    ids = std::move(out);
  }
  return ids;
}

}  // namespace exo
