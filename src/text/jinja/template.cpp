#include "text/jinja/template.h"

#include "text/jinja/parser.h"
#include "text/jinja/unicode.h"

namespace exo::jinja {
namespace {

std::string_view view(const boost::json::string& text) { return {text.data(), text.size()}; }
std::string_view view(boost::json::string_view text) { return {text.data(), text.size()}; }

std::string clean(std::string_view text) { return to_valid_utf8(text); }

Value to_value(const Json& json, int level);

Value to_list(const JsonArray& array, int level) {
  std::vector<Value> items;
  items.reserve(array.size());
  for (const Json& item : array) items.push_back(to_value(item, level));
  return Value::list(std::move(items));
}

Value to_dict(const JsonObject& object, int level) {
  auto dict = std::make_shared<Dict>();
  for (const auto& entry : object)
    dict->set(clean(view(entry.key())), to_value(entry.value(), level));
  return std::shared_ptr<const Dict>(std::move(dict));
}

Value to_value(const Json& json, int level) {
  if (level > kMaxValueDepth) fail_limit("the input of the chat template nests too deeply");
  switch (json.kind()) {
    case boost::json::kind::null:
      return {};
    case boost::json::kind::bool_:
      return json.get_bool();
    case boost::json::kind::int64:
      return json.get_int64();
    case boost::json::kind::uint64:
      return json.get_uint64();
    case boost::json::kind::double_:
      return json.get_double();
    case boost::json::kind::string:
      return clean(view(json.get_string()));
    case boost::json::kind::array:
      return to_list(json.get_array(), level + 1);
    case boost::json::kind::object:
      return to_dict(json.get_object(), level + 1);
  }
  return {};
}

// raise_exception's message is for the user as it is; other failures say where they happened.
Error to_error(const Failure& failure, int line) {
  if (failure.code == ErrorCode::invalid_argument) return {failure.code, failure.message};
  const int at = failure.line > 0 ? failure.line : line;
  if (at == 0) return {failure.code, failure.message};
  return {failure.code, "chat template, line " + std::to_string(at) + ": " + failure.message};
}

}  // namespace

Result<Template> Template::parse(std::string_view source, const Limits& limits) {
  if (source.size() > limits.source_bytes)
    return resource_exhausted("the chat template is larger than " +
                              std::to_string(limits.source_bytes) + " bytes");
  try {
    return Template(parse_template(source), limits);
  } catch (const Failure& failure) {
    return to_error(failure, 0);
  }
}

Result<std::string> Template::render(const JsonObject& variables, int64_t now_ms) const {
  int line = 0;
  try {
    Context context;
    for (const auto& entry : variables)
      context[std::string(view(entry.key()))] = to_value(entry.value(), 0);
    Runtime runtime(limits_, context, now_ms);
    std::string out;
    Frame frame{runtime, std::make_shared<Scope>(nullptr), out};
    try {
      execute(body_, frame);
    } catch (const Failure&) {
      line = runtime.budget.line;
      throw;
    }
    return out;
  } catch (const Failure& failure) {
    return to_error(failure, line);
  }
}

}  // namespace exo::jinja
