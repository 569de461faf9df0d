#include "text/jinja/value.h"

#include <algorithm>

#include "text/jinja/object.h"
#include "text/jinja/unicode.h"

namespace exo::jinja {
namespace {

constexpr size_t kSmallDict = 8;  // below this a scan is quicker than the index

int deepest(const std::vector<Value>& items) {
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  return depth;
}

int checked_depth(int depth) {
  if (depth > kMaxValueDepth) fail_limit("the chat template nests lists too deeply");
  return depth;
}

std::shared_ptr<const Text> make_text(std::string text, bool markup) {
  const bool ascii = is_ascii(text);
  return std::make_shared<const Text>(Text{std::move(text), markup, ascii});
}

std::string_view sequence_name(SequenceKind kind) {
  constexpr std::array<std::string_view, 8> kNames = {
      "list", "tuple", "tuple", "range", "dict_keys", "dict_values", "dict_items", "generator"};
  return kNames[static_cast<size_t>(kind)];
}

std::shared_ptr<const Sequence> characters(const Text& text, Budget& budget) {
  budget.allocate(text.bytes.size() * sizeof(Value));
  std::vector<Value> items;
  for (const std::string_view character : split_code_points(text.bytes)) {
    budget.step();
    items.emplace_back(character);
  }
  return Sequence::make(SequenceKind::list, std::move(items));
}

std::shared_ptr<const Sequence> drain(const std::shared_ptr<const Sequence>& generator) {
  if (generator->consumed == 0) {
    generator->consumed = generator->items.size();
    return generator;
  }
  auto rest = std::vector<Value>(
      generator->items.begin() + static_cast<std::ptrdiff_t>(generator->consumed),
      generator->items.end());
  generator->consumed = generator->items.size();
  return Sequence::make(SequenceKind::list, std::move(rest));
}

std::shared_ptr<const Sequence> keys_of(const Dict& dict, Budget& budget) {
  budget.allocate(dict.size() * sizeof(Value));
  std::vector<Value> keys;
  keys.reserve(dict.size());
  for (const auto& [key, value] : dict.entries()) keys.push_back(key);
  return Sequence::make(SequenceKind::list, std::move(keys));
}

}  // namespace

Value::Value(std::string text) : data_(make_text(std::move(text), false)) {}

Value Value::undefined(std::string message) {
  Value value;
  value.data_ = std::make_shared<const Undefined>(Undefined{std::move(message)});
  return value;
}
Value Value::markup(std::string text) {
  Value value;
  value.data_ = make_text(std::move(text), true);
  return value;
}
Value Value::list(std::vector<Value> items) {
  return Sequence::make(SequenceKind::list, std::move(items));
}
Value Value::tuple(std::vector<Value> items) {
  return Sequence::make(SequenceKind::tuple, std::move(items));
}
Value Value::generator(std::vector<Value> items) {
  return Sequence::make(SequenceKind::generator, std::move(items));
}

bool Value::is_markup() const { return is_string() && text_data().markup; }
const std::string& Value::text() const { return text_data().bytes; }

double Value::number() const {
  return is_float() ? std::get<double>(data_) : static_cast<double>(integer());
}

int Value::depth() const {
  if (is_sequence()) return sequence().depth;
  if (is_dict()) return dict().depth();
  return is_object() ? object().depth() : 0;
}

bool Value::same_as(const Value& other) const {
  if (data_.index() != other.data_.index()) return false;
  if (is_sequence()) return &sequence() == &other.sequence();
  if (is_dict()) return &dict() == &other.dict();
  if (is_object()) return &object() == &other.object();
  if (is_string()) return text() == other.text();
  if (is_int()) return integer() == other.integer();
  if (is_float()) return number() == other.number();
  return !is_bool() || boolean() == other.boolean();
}

std::shared_ptr<const Sequence> Sequence::make(SequenceKind kind, std::vector<Value> items) {
  auto made = std::make_shared<Sequence>();
  made->kind = kind;
  made->depth = checked_depth(1 + deepest(items));
  made->items = std::move(items);
  return made;
}

void Dict::append(size_t hash, Value key, Value value) {
  depth_ = std::max(depth_, checked_depth(1 + std::max(key.depth(), value.depth())));
  index_.emplace(hash, entries_.size());
  entries_.emplace_back(std::move(key), std::move(value));
}

void Dict::set(Value key, Value value, Budget& budget) {
  const size_t hash = hash_of(key, budget);
  const auto [first, last] = index_.equal_range(hash);
  for (auto it = first; it != last; ++it) {
    Entry& entry = entries_[it->second];
    if (!equal(entry.first, key, budget)) continue;
    depth_ = std::max(depth_, checked_depth(1 + value.depth()));
    entry.second = std::move(value);
    return;
  }
  append(hash, std::move(key), std::move(value));
}

void Dict::set(std::string_view key, Value value) {
  append(std::hash<std::string_view>()(key), Value(key), std::move(value));
}

const Value* Dict::find(const Value& key, Budget& budget) const {
  if (key.is_string()) {
    budget.step(key.text().size() / 64);
    return find(key.text());
  }
  const auto [first, last] = index_.equal_range(hash_of(key, budget));
  for (auto it = first; it != last; ++it)
    if (equal(entries_[it->second].first, key, budget)) return &entries_[it->second].second;
  return nullptr;
}

const Value* Dict::find(std::string_view key) const {
  const auto matches = [key](const Entry& entry) {
    return entry.first.is_string() && entry.first.text() == key;
  };
  if (entries_.size() <= kSmallDict) {
    const auto it = std::find_if(entries_.begin(), entries_.end(), matches);
    return it == entries_.end() ? nullptr : &it->second;
  }
  const auto [first, last] = index_.equal_range(std::hash<std::string_view>()(key));
  for (auto it = first; it != last; ++it)
    if (matches(entries_[it->second])) return &entries_[it->second].second;
  return nullptr;
}

std::string_view type_name(const Value& value) {
  if (value.is_undefined()) return "Undefined";
  if (value.is_none()) return "NoneType";
  if (value.is_bool()) return "bool";
  if (value.is_int()) return "int";
  if (value.is_float()) return "float";
  if (value.is_string()) return value.is_markup() ? "Markup" : "str";
  if (value.is_sequence()) return sequence_name(value.sequence().kind);
  return value.is_dict() ? "dict" : value.object().type_name();
}

bool truthy(const Value& value) {
  if (value.is_bool()) return value.boolean();
  if (value.is_int()) return value.integer() != 0;
  if (value.is_float()) return value.number() != 0;
  if (value.is_string()) return !value.text().empty();
  if (value.is_dict()) return value.dict().size() != 0;
  if (value.is_sequence())
    return value.sequence().kind == SequenceKind::generator || !value.sequence().items.empty();
  return value.is_object();
}

bool is_iterable(const Value& value) {
  return value.is_undefined() || value.is_string() || value.is_sequence() || value.is_dict();
}

std::shared_ptr<const Sequence> iterate(const Value& value, Budget& budget) {
  if (value.is_sequence()) {
    auto items = value.shared_sequence();
    return items->kind == SequenceKind::generator ? drain(items) : items;
  }
  if (value.is_dict()) return keys_of(value.dict(), budget);
  if (value.is_string()) return characters(value.text_data(), budget);
  if (value.is_undefined()) return Sequence::make(SequenceKind::list, {});
  fail("'" + std::string(type_name(value)) + "' object is not iterable");
}

std::optional<size_t> length_of(const Value& value) {
  if (value.is_undefined()) return 0;
  if (value.is_dict()) return value.dict().size();
  if (value.is_string())
    return value.text_data().ascii ? value.text().size() : count_code_points(value.text());
  if (value.is_sequence() && value.sequence().kind != SequenceKind::generator)
    return value.sequence().items.size();
  if (value.is_object()) return value.object().length();
  return std::nullopt;
}

}  // namespace exo::jinja
