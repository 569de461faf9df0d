# exo_library(NAME PUBLIC ... PRIVATE ...)
#   src/NAME/**/*.cpp          -> static library NAME
#   src/NAME/**/*_test.cpp     -> program test_NAME, one ctest entry
# A folder without sources yet becomes an interface library.
function(exo_library name)
  cmake_parse_arguments(ARG "" "" "PUBLIC;PRIVATE" ${ARGN})
  set(dir ${PROJECT_SOURCE_DIR}/src/${name})
  file(GLOB_RECURSE all CONFIGURE_DEPENDS ${dir}/*.cpp ${dir}/*.S)
  set(sources ${all})
  list(FILTER sources EXCLUDE REGEX "(_test\\.cpp|/app/main\\.cpp)$")
  set(tests ${all})
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  if(sources)
    add_library(${name} STATIC ${sources})
    target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR}/src)
    target_link_libraries(${name} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
    exo_precompile(${name})
  else()
    add_library(${name} INTERFACE)
    target_include_directories(${name} INTERFACE ${PROJECT_SOURCE_DIR}/src)
    target_link_libraries(${name} INTERFACE ${ARG_PUBLIC})
  endif()
  if(EXISTS ${dir}/${name}.cmake)
    include(${dir}/${name}.cmake)  # what only this folder needs: ISA flags, generated tables
  endif()
  if(tests AND EXO_TESTS)
    add_executable(test_${name} ${tests})
    target_link_libraries(test_${name} PRIVATE ${name} ${ARG_PRIVATE} GTest::gtest GTest::gmock GTest::gtest_main)
    target_compile_definitions(test_${name} PRIVATE EXO_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
    exo_precompile(test_${name})
    add_test(NAME ${name} COMMAND test_${name})
  endif()
endfunction()

# exo_precompile(TARGET): the headers that nearly every file includes are parsed once, for `core` and for `test_core`,
# and used again by all libraries and all programs above them, which takes a third off a cold build. `base`, which knows
# no JSON, and `backend`, which has flags of its own, do without; protobuf's flags give `networking` its own. Every
# header still includes what it needs: lint.
set(EXO_COMMON_HEADERS <algorithm> <array> <boost/json.hpp> <filesystem> <fmt/core.h> <functional> <map> <memory>
                       <mutex> <optional> <string> <string_view> <thread> <variant> <vector>)
function(exo_precompile target)
  get_target_property(type ${target} TYPE)
  if(target MATCHES "^(test_)?(base|backend)$" OR NOT CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    return()
  elseif(target MATCHES "^(core|networking)$")
    target_precompile_headers(${target} PRIVATE ${EXO_COMMON_HEADERS})
  elseif(target MATCHES "^test_(core|networking)$")
    target_precompile_headers(${target} PRIVATE ${EXO_COMMON_HEADERS} <gmock/gmock.h> <gtest/gtest.h>)
  elseif(NOT type STREQUAL "EXECUTABLE")
    target_precompile_headers(${target} REUSE_FROM core)
  elseif(TARGET test_core)
    target_precompile_headers(${target} REUSE_FROM test_core)
    # As test_core has it: other definitions would make the compiler refuse the header.
    target_compile_definitions(${target} PRIVATE EXO_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  endif()
endfunction()

# exo_name_table(TARGET FOLDER GLOB PREFIX OUT): writes OUT, an X-macro list of the names found by file name,
# e.g. EXO_ENTRY(llama). Adding a family or a backend touches no list.
function(exo_name_table target out)
  set(text "// Written by CMake from file names.\n")
  foreach(entry ${ARGN})
    string(APPEND text "EXO_ENTRY(${entry})\n")
  endforeach()
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/generated/${out} CONTENT "${text}")
  target_include_directories(${target} PRIVATE ${PROJECT_BINARY_DIR}/generated)
endfunction()
