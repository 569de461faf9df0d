# wire.proto -> wire.pb.cc, in the build tree. Only .cpp files of this folder include it. A library
# of its own, so that protoc's code is compiled without our warnings.
set(wire_dir ${PROJECT_BINARY_DIR}/generated/networking)
set(wire_proto ${PROJECT_SOURCE_DIR}/src/networking/wire.proto)
file(MAKE_DIRECTORY ${wire_dir})
add_custom_command(
  OUTPUT ${wire_dir}/wire.pb.cc ${wire_dir}/wire.pb.h
  COMMAND protobuf::protoc --proto_path=${PROJECT_SOURCE_DIR}/src/networking
          --cpp_out=${wire_dir} ${wire_proto}
  DEPENDS ${wire_proto}
  VERBATIM)
add_library(networking_wire STATIC ${wire_dir}/wire.pb.cc ${wire_dir}/wire.pb.h)
target_include_directories(networking_wire SYSTEM PUBLIC ${PROJECT_BINARY_DIR}/generated)
target_link_libraries(networking_wire PUBLIC protobuf::libprotobuf)
target_compile_options(networking_wire PRIVATE -w)
target_link_libraries(networking PRIVATE networking_wire)
