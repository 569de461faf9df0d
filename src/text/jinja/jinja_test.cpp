// The features chat templates rely on, with the results of jinja2 in Hugging Face's set-up.
#include <gtest/gtest.h>

#include "text/jinja/template.h"

namespace exo::jinja {
namespace {

JsonObject variables() {
  return parse_json(R"({
    "name": "World", "n": 7, "zero": 0, "f": 2.5, "t": true, "nothing": null,
    "xs": [3, 1, 2], "words": ["b", "A", "c"], "accents": "Grüße 🚀",
    "d": {"b": 1, "a": [1, {"k": "v"}], "c": "x"},
    "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"},
                 {"role": "user", "content": "bye"}],
    "html": "<a href=\"x\">&'</a>"})")
      .value()
      .get_object();
}

Result<std::string> try_render(std::string_view source, const Limits& limits = {}) {
  const auto parsed = Template::parse(source, limits);
  if (!parsed.ok()) return parsed.error();
  return parsed->render(variables(), 0);
}

std::string render(std::string_view source) {
  const auto text = try_render(source);
  return text.ok() ? *text : "ERROR " + text.error().message;
}

ErrorCode error_of(std::string_view source, const Limits& limits = {}) {
  const auto text = try_render(source, limits);
  EXPECT_FALSE(text.ok()) << source << " gave " << *text;
  return text.ok() ? ErrorCode::internal : text.error().code;
}

struct Case {
  std::string_view source, expected;
};
template <size_t N>
void check(const Case (&cases)[N]) {
  for (const Case& c : cases) EXPECT_EQ(render(c.source), c.expected) << c.source;
}

TEST(Jinja, WritesValuesAsPythonDoes) {
  check({{"{{ nothing }} {{ t }} {{ xs }} {{ d }}",
          "None True [3, 1, 2] {'b': 1, 'a': [1, {'k': 'v'}], 'c': 'x'}"},
         {"{{ 1.0 }} {{ 1e16 }} {{ 1e15 }} {{ 0.1 + 0.2 }} {{ 1e-5 }} {{ 1e100 }}",
          "1.0 1e+16 1000000000000000.0 0.30000000000000004 1e-05 1e+100"},
         {"{{ ['it\\'s', 'q\"', 'n\\n', 'é', '\\x00'] }} {{ (1,) }} {{ () }}",
          "[\"it's\", 'q\"', 'n\\n', 'é', '\\x00'] (1,) ()"},
         {"[{{ missing }}] [{{ d.missing }}] [{{ xs[9] }}]", "[] [] []"},
         {"{{ 12345678901234567890 + 1 }} {{ 2 ** 100 }}",
          "12345678901234567891 1267650600228229401496703205376"}});
}

TEST(Jinja, Operators) {
  check(
      {{"{{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 7.5 // 2 }} {{ 2 ** -1 }} {{ 2 ** 3 ** 2 }}",
        "-4 2 3.5 3.0 0.5 64"},
       {"{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 == t }} {{ 'a' in 'cat' }} {{ 9 not in xs }}",
        "True False True True True"},
       {"{{ 'a' ~ 1 ~ none }} {{ 'ab' * 2 }} {{ [1] + [2] }} {{ 'x' 'y' }}",
        "a1None abab [1, 2] xy"},
       {"{{ 'y' if n > 5 else 'n' }}[{{ 'y' if zero }}] {{ zero or 'else' }} {{ n and 'and' }}",
        "y[] else and"},
       {"{{ '%s-%05.2f-%-4d|' % ('a', 2.5, 3) }} {{ '{:>6.2f}|{!r}'.format(f, 'q') }}",
        "a-02.50-3   |   2.50|'q'"}});
}

TEST(Jinja, SlicesAndCharactersAreCodePoints) {
  check({{"{{ accents[2] }}{{ accents[-1] }} {{ accents[::-1] }} {{ accents|length }}",
          "ü🚀 🚀 eßürG 7"},
         {"{{ xs[1:] }} {{ xs[::-1] }} {{ xs[-2:] }} {{ xs[5:] }} {{ range(5)[1:3]|list }}",
          "[1, 2] [2, 1, 3] [1, 2] [] [1, 2]"},
         {"{{ accents|upper }} {{ accents.find('🚀') }} {{ 'İA'|lower }}", "GRÜSSE 🚀 6 i\u0307a"}});
}

TEST(Jinja, WhitespaceControl) {
  check({{"a\n  {% if t %}\nb\n  {% endif %}\nc", "a\nb\nc"},
         {"a {%- if t -%} b {%- endif -%} c", "abc"},
         {"  {%+ if t %}b{% endif %}", "  b"},
         {"x{# note -#}  \n y {#- gone #}\nz", "xyz"},
         {"{% raw %}{{ x }}{% endraw %}\n!", "{{ x }}!"},
         {"a\r\n{{ name }}\r\n", "a\nWorld"},
         {"two\n\n", "two\n"}});
}

TEST(Jinja, Loops) {
  check({{"{% for x in xs if x > 1 %}{{ loop.index }}/{{ loop.length }}={{ x }}{{ ',' if not "
          "loop.last }}{% endfor %}",
          "1/2=3,2/2=2"},
         {"{% for x in [] %}x{% else %}none{% endfor %}", "none"},
         {"{% for k, v in d.items() %}{{ k }};{% endfor %}", "b;a;c;"},
         {"{% for x in xs %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "32"},
         {"{% for x in xs %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}", "3"},
         {"{% set q = 1 %}{% for x in xs %}{% set q = q + x %}{{ q }} {% endfor %}{{ q }}",
          "4 2 3 1"},
         {"{% for x in [1, [2, [3]]] recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}"
          "{{ x }}@{{ loop.depth }}{% endif %}{% endfor %}",
          "1@1(2@2(3@3))"},
         {"{% for x in xs %}{{ loop.previtem }}<{{ loop.nextitem }}{{ loop.cycle('a', 'b') }} "
          "{% endfor %}",
          "<1a 3<2b 1<a "}});
}

TEST(Jinja, ScopesMacrosAndBlocks) {
  check(
      {{"{% set ns = namespace(a=1) %}{% for x in xs %}{% set ns.a = ns.a + x %}{% endfor %}"
        "{{ ns.a }}",
        "7"},
       {"{% macro m(a, b='B') %}<{{ a }}{{ b }}>{% endmacro %}{{ m('x') }}{{ m(b=1, a=2) }}{{ m() "
        "}}",
        "<xB><21><B>"},
       {"{% macro w() %}[{{ caller('q') }}]{% endmacro %}{% call(x) w() %}{{ x }}!{% endcall %}",
        "[q!]"},
       {"{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, k=2) }}", "(1,){'k': 2}"},
       {"{% set b | upper %}in {{ name }}{% endset %}{{ b }}", "IN WORLD"},
       {"{% filter upper %}a{{ name }}{% endfilter %}{% with a = 1 %}{{ a }}{% endwith %}{{ a }}",
        "AWORLD1"},
       {"{% generation %}x{{ name }}{% endgeneration %}", "xWorld"},
       {"{% if t %}{% set q = 3 %}{% endif %}{{ q }}", "3"}});
}

TEST(Jinja, Filters) {
  check(
      {{"{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | "
        "join(', ') }}",
        "hi, bye"},
       {"{{ words | sort }} {{ words | sort(case_sensitive=true) }} {{ d | dictsort }}",
        "['A', 'b', 'c'] ['A', 'b', 'c'] [('a', [1, {'k': 'v'}]), ('b', 1), ('c', 'x')]"},
       {"{{ xs | max }} {{ xs | sum }} {{ xs | reverse | list }} {{ xs | batch(2) | list }}",
        "3 6 [2, 1, 3] [[3, 1], [2]]"},
       {"{{ messages | groupby('role') | map(attribute='grouper') | list }}",
        "['assistant', 'user']"},
       {"{{ 2.5 | round }} {{ 2.675 | round(2) }} {{ '0x1f' | int(base=16) }} {{ 'x' | int }}",
        "2.0 2.67 31 0"},
       {"{{ html | e }} {{ (html | safe) + '<' }}",
        "&lt;a href=&#34;x&#34;&gt;&amp;&#39;&lt;/a&gt; <a href=\"x\">&'</a>&lt;"},
       {"{{ 'a\nb' | indent(2, true) }} {{ missing | default('x') }} {{ '' | default('y', true) }}",
        "  a\n  b x y"}});
}

TEST(Jinja, ToJsonIsPythons) {
  check({{"{{ d | tojson }}", R"({"b": 1, "a": [1, {"k": "v"}], "c": "x"})"},
         {"{{ [1, 2.0, 1e100, true, none, accents, {}] | tojson }}",
          R"([1, 2.0, 1e+100, true, null, "Grüße 🚀", {}])"},
         {"{{ accents | tojson(ensure_ascii=true) }}", R"("Gr\u00fc\u00dfe \ud83d\ude80")"},
         {"{{ {'b': [], 'a': [1]} | tojson(indent=2, sort_keys=true) }}",
          "{\n  \"a\": [\n    1\n  ],\n  \"b\": []\n}"},
         {"{{ [1, 2] | tojson(separators=(',', ':')) }} {{ '<\\n\\x01' | tojson }}",
          "[1,2] \"<\\n\\u0001\""}});
}

TEST(Jinja, TellsWhoseFaultAFailureIs) {
  const auto raised = try_render("{% if t %}{{ raise_exception('only ' ~ name) }}{% endif %}");
  ASSERT_FALSE(raised.ok());
  EXPECT_EQ(raised.error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(raised.error().message, "only World");
  const auto broken = try_render("a\n\n{% if %}");
  EXPECT_EQ(broken.error().code, ErrorCode::corrupt);
  EXPECT_EQ(broken.error().message.find("chat template, line 3: "), 0u) << broken.error().message;
  for (const std::string_view source :
       {"{{ missing.x }}", "{% for x in nothing %}{% endfor %}", "{{ 'a' + 1 }}", "{{ 1 // 0 }}",
        "{{ missing | tojson }}", "{% endfor %}", "{{ x | nofilter }}", "{{ 'open", "{% break %}",
        "{% include 'x' %}", "{# open", "{{ (1 }}", "{{ 1 | }}", "{% set ns.x = 1 %}"})
    EXPECT_EQ(error_of(source), ErrorCode::corrupt) << source;
  EXPECT_EQ(render("{{ x | nofilter if zero else 'fine' }}"), "fine");
}

TEST(Jinja, RefusesInternalsAndChanges) {
  for (const std::string_view source :
       {"{{ name.__class__.__mro__ }}", "{{ xs.append(1) }}", "{{ d.update({}) }}",
        "{{ xs['__len__']() }}", "{{ '{0.__class__.x}'.format(name) }}"})
    EXPECT_EQ(error_of(source), ErrorCode::corrupt) << source;
}

TEST(Jinja, LimitsHold) {
  Limits limits;
  limits.steps = 1'000'000;  // fewer than by default, for a quick test
  const std::string deep(100'000, '(');
  std::string chain = "{{ 1";
  for (int i = 0; i < 100'000; ++i) chain += "+1";
  std::string tags;
  for (int i = 0; i < 100'000; ++i) tags += "{% if t %}";
  for (const std::string& source : std::vector<std::string>{
           "{{ 'x' * 10000000000 }}", "{{ [1] * 10000000000 }}", "{{ range(1000000000) }}",
           "{{ 9 ** 9 ** 9 ** 9 }}", "{{ 'x'.center(999999999) }}", "{{ '%999999999d' % 1 }}",
           "{{ '{:999999999}'.format(1) }}", "{{ deep" + deep, chain + " }}", tags,
           "{{ not " + std::string(400'000, ' ') + std::string(deep.size(), '-') + "1 }}",
           "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
           "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
           "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}"
           "{% endfor %}",
           "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}"
           "{% endfor %}{{ ns.x == ns.x }}{{ ns.x | tojson }}",
           "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}"
           "{% endfor %}"})
    EXPECT_EQ(error_of(source, limits), ErrorCode::resource_exhausted) << source.substr(0, 60);
}

TEST(Jinja, CirclesOfNamespacesAndMacrosAreReleased) {  // the leak checker watches
  EXPECT_EQ(render("{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = b %}"
                   "{% macro m() %}{{ m is callable }}{% endmacro %}{% set a.m = m %}{{ m() }}"),
            "True");
}

}  // namespace
}  // namespace exo::jinja
