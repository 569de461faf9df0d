# One folder here is one backend: its name goes into the table that backend.cpp reads.
file(GLOB backend_folders LIST_DIRECTORIES true CONFIGURE_DEPENDS
  ${PROJECT_SOURCE_DIR}/src/backend/*)
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

# cpu/: one translation unit per instruction set level, with its own flags; the inner loops are
# optimised in every build type. Files of another architecture or system stay out.
set(cpu_dir ${PROJECT_SOURCE_DIR}/src/backend/cpu)
set(x86_files isa_x86 kernels_avx2 kernels_avx_vnni kernels_avx512 kernels_avx512_vnni
  kernels_avx512_bf16)
set(arm_files isa_arm isa_arm_linux isa_arm_macos kernels_neon kernels_neon_dotprod
  kernels_neon_i8mm)
set(left_out ${x86_files} ${arm_files})
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64)$")
  list(REMOVE_ITEM left_out ${x86_files})
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  list(REMOVE_ITEM left_out ${arm_files})
  if(APPLE)
    list(APPEND left_out isa_arm_linux)
  else()
    list(APPEND left_out isa_arm_macos)
  endif()
else()
  message(FATAL_ERROR "The cpu backend knows x86-64 and ARM64, not ${CMAKE_SYSTEM_PROCESSOR}.")
endif()
foreach(file ${left_out})
  set_source_files_properties(${cpu_dir}/${file}.cpp PROPERTIES HEADER_FILE_ONLY TRUE)
endforeach()
set(level_optimisation -O3)
if(EXO_SANITIZE)
  set(level_optimisation -O1)  # unrolled and instrumented they would compile for minutes
endif()
function(cpu_level file)
  set_source_files_properties(${cpu_dir}/${file}.cpp PROPERTIES
    COMPILE_OPTIONS "${level_optimisation};${ARGN}")
endfunction()
set(avx2 -mavx2 -mfma -mf16c)
set(sums_in_order)
set(avx512 ${avx2} -mavx512f -mavx512bw -mavx512vl -mavx512dq -mprefer-vector-width=512)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # False alarms in its own headers.
  list(APPEND avx512 -Wno-uninitialized -Wno-maybe-uninitialized)
  # Products that wait for their sums spill: the integer dot products of AVX2 run at 0.7 of their speed.
  set(sums_in_order -fno-tree-ter -fno-tree-reassoc)
endif()
cpu_level(kernels_scalar)
cpu_level(kernels_avx2 ${avx2} ${sums_in_order})
cpu_level(kernels_avx_vnni ${avx2} -mavxvnni)
cpu_level(kernels_avx512 ${avx512})
cpu_level(kernels_avx512_vnni ${avx512} -mavx512vnni)
cpu_level(kernels_avx512_bf16 ${avx512} -mavx512bf16)
cpu_level(kernels_neon)
cpu_level(kernels_neon_dotprod -march=armv8.2-a+dotprod)
cpu_level(kernels_neon_i8mm -march=armv8.2-a+dotprod+i8mm)
