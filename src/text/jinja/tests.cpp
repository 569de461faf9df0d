// The tests behind `is`.
#include <algorithm>

#include "text/jinja/interpreter.h"
#include "text/jinja/unicode.h"

namespace exo::jinja {
namespace {

const Value& argument(const Arguments& arguments) {
  if (arguments.positional.size() != 1 || !arguments.named.empty())
    fail("this test takes one argument");
  return arguments.positional[0];
}

bool remainder_is(Runtime& runtime, const Value& value, const Value& divisor, Int wanted) {
  const Value rest = apply(Operator::modulo, value, divisor, runtime.budget);
  return equal(rest, Value(wanted), runtime.budget);
}

bool odd(Runtime& r, const Value& v, const Arguments&) { return remainder_is(r, v, Value(2), 1); }
bool even(Runtime& r, const Value& v, const Arguments&) { return remainder_is(r, v, Value(2), 0); }
bool divisibleby(Runtime& r, const Value& v, const Arguments& a) {
  const BoundArguments bound("divisibleby", a, {"num"}, 1);
  return remainder_is(r, v, bound.at(0), 0);
}
bool defined(Runtime&, const Value& v, const Arguments&) { return !v.is_undefined(); }
bool undefined(Runtime&, const Value& v, const Arguments&) { return v.is_undefined(); }
bool none(Runtime&, const Value& v, const Arguments&) { return v.is_none(); }
bool boolean(Runtime&, const Value& v, const Arguments&) { return v.is_bool(); }
bool is_true(Runtime&, const Value& v, const Arguments&) { return v.is_bool() && v.boolean(); }
bool is_false(Runtime&, const Value& v, const Arguments&) { return v.is_bool() && !v.boolean(); }
bool integer(Runtime&, const Value& v, const Arguments&) { return v.is_int(); }
bool is_float(Runtime&, const Value& v, const Arguments&) { return v.is_float(); }
bool number(Runtime&, const Value& v, const Arguments&) { return v.is_number(); }
bool string(Runtime&, const Value& v, const Arguments&) { return v.is_string(); }
bool mapping(Runtime&, const Value& v, const Arguments&) { return v.is_dict(); }
bool escaped(Runtime&, const Value& v, const Arguments&) { return v.is_markup(); }
bool iterable(Runtime&, const Value& v, const Arguments&) { return is_iterable(v); }
bool callable(Runtime&, const Value& v, const Arguments&) {
  return v.is_undefined() || (v.is_object() && v.object().callable());
}
bool sequence(Runtime&, const Value& v, const Arguments&) {
  if (v.is_sequence()) return v.sequence().kind < SequenceKind::keys;
  return v.is_undefined() || v.is_string() || v.is_dict();
}

bool has_case(Runtime& runtime, const Value& value, std::string_view method) {
  const Value text = to_str(value, runtime.budget);
  return truthy(find_text_test_method(method)(runtime, text, {}));
}
bool lower(Runtime& r, const Value& v, const Arguments&) { return has_case(r, v, "islower"); }
bool upper(Runtime& r, const Value& v, const Arguments&) { return has_case(r, v, "isupper"); }

bool same_as(Runtime&, const Value& v, const Arguments& a) { return v.same_as(argument(a)); }
bool in(Runtime& r, const Value& v, const Arguments& a) {
  return contains(argument(a), v, r.budget);
}
bool eq(Runtime& r, const Value& v, const Arguments& a) { return equal(v, argument(a), r.budget); }
bool ne(Runtime& r, const Value& v, const Arguments& a) { return !eq(r, v, a); }
bool lt(Runtime& r, const Value& v, const Arguments& a) { return less(v, argument(a), r.budget); }
bool gt(Runtime& r, const Value& v, const Arguments& a) { return less(argument(a), v, r.budget); }
bool le(Runtime& r, const Value& v, const Arguments& a) { return lt(r, v, a) || eq(r, v, a); }
bool ge(Runtime& r, const Value& v, const Arguments& a) { return gt(r, v, a) || eq(r, v, a); }

bool is_filter(Runtime&, const Value& v, const Arguments&) {
  return v.is_string() && find_filter(v.text()) != nullptr;
}
bool is_test(Runtime&, const Value& v, const Arguments&) {
  return v.is_string() && find_test(v.text()) != nullptr;
}

struct NamedTest {
  std::string_view name;
  TestFunction function;
};
constexpr NamedTest kTests[] = {
    {"odd", odd},
    {"even", even},
    {"divisibleby", divisibleby},
    {"defined", defined},
    {"undefined", undefined},
    {"none", none},
    {"boolean", boolean},
    {"true", is_true},
    {"false", is_false},
    {"integer", integer},
    {"float", is_float},
    {"number", number},
    {"string", string},
    {"mapping", mapping},
    {"escaped", escaped},
    {"iterable", iterable},
    {"callable", callable},
    {"sequence", sequence},
    {"lower", lower},
    {"upper", upper},
    {"sameas", same_as},
    {"in", in},
    {"filter", is_filter},
    {"test", is_test},
    {"==", eq},
    {"eq", eq},
    {"equalto", eq},
    {"!=", ne},
    {"ne", ne},
    {">", gt},
    {"gt", gt},
    {"greaterthan", gt},
    {">=", ge},
    {"ge", ge},
    {"<", lt},
    {"lt", lt},
    {"lessthan", lt},
    {"<=", le},
    {"le", le},
};

}  // namespace

TestFunction find_test(std::string_view name) {
  for (const NamedTest& entry : kTests)
    if (entry.name == name) return entry.function;
  return nullptr;
}

}  // namespace exo::jinja
