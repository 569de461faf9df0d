target_link_libraries(tensor PRIVATE OpenSSL::Crypto fmt::fmt)
