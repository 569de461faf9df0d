set_source_files_properties(src/tensor/dequantize_packed.cpp src/tensor/dequantize_iq.cpp
  PROPERTIES COMPILE_OPTIONS -ffp-contract=off)
target_link_libraries(tensor PRIVATE OpenSSL::Crypto fmt::fmt)
