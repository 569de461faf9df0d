# One folder here is one backend: its name goes into the table that backend.cpp reads.
file(GLOB backend_folders LIST_DIRECTORIES true CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/backend/*)
set(backend_names "")
foreach(folder ${backend_folders})
  if(IS_DIRECTORY ${folder})
    get_filename_component(folder_name ${folder} NAME)
    list(APPEND backend_names ${folder_name})
  endif()
endforeach()
exo_name_table(backend backends.inc ${backend_names})
target_link_libraries(backend PRIVATE fmt::fmt)

# A product is fused with a sum only where the code says so: else two instances of one kernel (one
# row, four rows) could round differently.
target_compile_options(backend PRIVATE -ffp-contract=off)
