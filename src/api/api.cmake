# Asio and Beast are compiled once, in asio_impl.cpp.
target_compile_definitions(api PRIVATE BOOST_ASIO_SEPARATE_COMPILATION BOOST_BEAST_SEPARATE_COMPILATION
                           BOOST_ASIO_NO_DEPRECATED)

# The web page is embedded as it was committed; building exo needs no Node.
set(web_dist ${PROJECT_SOURCE_DIR}/web/dist)
set(web_out ${PROJECT_BINARY_DIR}/generated/web)
file(GLOB_RECURSE web_files CONFIGURE_DEPENDS ${web_dist}/*)
add_custom_command(
  OUTPUT ${web_out}/web_assets.S ${web_out}/web_assets_table.inc
  COMMAND ${CMAKE_COMMAND} -DDIST=${web_dist} -DOUT=${web_out} -P ${PROJECT_SOURCE_DIR}/cmake/EmbedWeb.cmake
  DEPENDS ${web_files} ${PROJECT_SOURCE_DIR}/cmake/EmbedWeb.cmake
  COMMENT "Embedding the web page")
target_sources(api PRIVATE ${web_out}/web_assets.S ${web_out}/web_assets_table.inc)
target_include_directories(api PRIVATE ${web_out})
set_source_files_properties(${web_out}/web_assets.S PROPERTIES OBJECT_DEPENDS "${web_files}")
