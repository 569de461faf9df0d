// Values as Python knows them: None, bool, int (128 bits here), float, str, list, tuple, dict, and
// jinja's Undefined, plus objects (functions, macros, namespaces, loops). Strings and containers
// are shared and never change once made, so values are cheap to copy and cannot form cycles; their
// nesting is bounded (kMaxValueDepth). Only objects have state: they belong to one rendering.
// Operations that Python refuses throw a Failure (limits.h).
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "text/jinja/limits.h"

namespace exo::jinja {

using Int = __int128;
class Object;
class Value;
struct Text;
struct Sequence;
class Dict;

struct Undefined {
  std::string message;  // what went wrong, should somebody use the value
};

class Value {
 public:
  Value() = default;  // None
  template <class T>
  requires std::same_as<T, bool> Value(T value) : data_(value) {}  // NOLINT(explicit)
  template <class T>
  requires(std::integral<T> && !std::same_as<T, bool> && !std::same_as<T, char> &&
           !std::same_as<T, Int>) Value(T value)
      : data_(static_cast<Int>(value)) {}                                    // NOLINT(explicit)
  Value(Int value) : data_(value) {}                                         // NOLINT(explicit)
  Value(double value) : data_(value) {}                                      // NOLINT(explicit)
  Value(std::string text);                                                   // NOLINT(explicit)
  Value(std::string_view text) : Value(std::string(text)) {}                 // NOLINT(explicit)
  Value(const char* text) : Value(std::string(text)) {}                      // NOLINT(explicit)
  Value(std::shared_ptr<const Dict> dict) : data_(std::move(dict)) {}        // NOLINT(explicit)
  Value(std::shared_ptr<Object> object) : data_(std::move(object)) {}        // NOLINT(explicit)
  Value(std::shared_ptr<const Sequence> items) : data_(std::move(items)) {}  // NOLINT(explicit)

  static Value undefined(std::string message);
  static Value markup(std::string text);  // a string that is already escaped
  static Value list(std::vector<Value> items);
  static Value tuple(std::vector<Value> items);
  static Value generator(std::vector<Value> items);

  bool is_undefined() const { return holds<std::shared_ptr<const Undefined>>(); }
  bool is_none() const { return holds<std::monostate>(); }
  bool is_bool() const { return holds<bool>(); }
  bool is_int() const { return holds<Int>(); }
  bool is_float() const { return holds<double>(); }
  bool is_number() const { return is_bool() || is_int() || is_float(); }
  bool is_integral() const { return is_bool() || is_int(); }
  bool is_string() const { return holds<std::shared_ptr<const Text>>(); }
  bool is_markup() const;
  bool is_sequence() const { return holds<std::shared_ptr<const Sequence>>(); }
  bool is_dict() const { return holds<std::shared_ptr<const Dict>>(); }
  bool is_object() const { return holds<std::shared_ptr<Object>>(); }

  // Each only after the matching is_...().
  bool boolean() const { return std::get<bool>(data_); }
  Int integer() const { return is_bool() ? Int{boolean()} : std::get<Int>(data_); }
  double number() const;  // of any number
  const std::string& text() const;
  const Text& text_data() const { return *std::get<std::shared_ptr<const Text>>(data_); }
  const Sequence& sequence() const { return *std::get<std::shared_ptr<const Sequence>>(data_); }
  std::shared_ptr<const Sequence> shared_sequence() const {
    return std::get<std::shared_ptr<const Sequence>>(data_);
  }
  const Dict& dict() const { return *std::get<std::shared_ptr<const Dict>>(data_); }
  Object& object() const { return *std::get<std::shared_ptr<Object>>(data_); }
  const std::string& undefined_message() const {
    return std::get<std::shared_ptr<const Undefined>>(data_)->message;
  }

  int depth() const;
  bool same_as(const Value& other) const;  // Python's `is`

 private:
  template <class T>
  bool holds() const {
    return std::holds_alternative<T>(data_);
  }
  std::variant<std::monostate, std::shared_ptr<const Undefined>, bool, Int, double,
               std::shared_ptr<const Text>, std::shared_ptr<const Sequence>,
               std::shared_ptr<const Dict>, std::shared_ptr<Object>>
      data_;
};

struct Text {
  std::string bytes;  // valid UTF-8
  bool markup = false;
  bool ascii = true;
};

enum class SequenceKind { list, tuple, group, range, keys, values, items, generator };

struct Sequence {
  SequenceKind kind = SequenceKind::list;
  std::vector<Value> items;
  int depth = 1;
  std::array<Int, 3> range = {0, 0, 1};  // of a range: start, stop, step
  mutable size_t consumed = 0;           // of a generator: items already handed out

  static std::shared_ptr<const Sequence> make(SequenceKind kind, std::vector<Value> items);
  bool is_view() const { return kind >= SequenceKind::keys && kind <= SequenceKind::items; }
  bool is_tuple() const { return kind == SequenceKind::tuple || kind == SequenceKind::group; }
};

// Keys keep their order; any hashable value is a key. Grows only while it is being made.
class Dict {
 public:
  using Entry = std::pair<Value, Value>;

  void set(Value key, Value value, Budget& budget);
  void set(std::string_view key, Value value);  // the key is known to be new
  const Value* find(const Value& key, Budget& budget) const;
  const Value* find(std::string_view key) const;
  const std::vector<Entry>& entries() const { return entries_; }
  size_t size() const { return entries_.size(); }
  int depth() const { return depth_; }

 private:
  void append(size_t hash, Value key, Value value);
  std::vector<Entry> entries_;
  std::unordered_multimap<size_t, size_t> index_;  // hash -> position
  int depth_ = 1;
};

// "list", "str" ... as in Python's messages.
std::string_view type_name(const Value& value);
bool truthy(const Value& value);
bool equal(const Value& a, const Value& b, Budget& budget);
bool less(const Value& a, const Value& b, Budget& budget);  // fails where Python does
bool contains(const Value& container, const Value& item, Budget& budget);
size_t hash_of(const Value& value, Budget& budget);  // fails for what cannot be a key

// str() and repr().
std::string to_str(const Value& value, Budget& budget);
void append_str(std::string& out, const Value& value, Budget& budget);
void append_repr(std::string& out, const Value& value, Budget& budget);
std::string repr_text(std::string_view text);
std::string repr_float(double value);
std::string decimal(Int value);
std::optional<Int> parse_int(std::string_view text, int base);  // digits of base only

// What a `for` sees; generators are used up. Fails for what cannot be iterated.
std::shared_ptr<const Sequence> iterate(const Value& value, Budget& budget);
bool is_iterable(const Value& value);
std::optional<size_t> length_of(const Value& value);

enum class Operator { add, subtract, multiply, divide, floor_divide, modulo, power };
Value apply(Operator op, const Value& a, const Value& b, Budget& budget);
Value negate(const Value& value);
Value escape_markup(const Value& value, Budget& budget);

struct SliceBounds {
  std::optional<Int> start, stop, step;
};
Value slice(const Value& value, const SliceBounds& bounds, Budget& budget);
// list[3], str[-1], dict[key]; nullopt where Python raises LookupError or TypeError.
std::optional<Value> index(const Value& value, const Value& key, Budget& budget);

}  // namespace exo::jinja
