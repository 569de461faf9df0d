cmake_minimum_required(VERSION 3.25)
# cmake -DDIST=web/dist -DOUT=folder -P EmbedWeb.cmake
# Writes OUT/web_assets.S (every file of DIST, by .incbin) and OUT/web_assets_table.inc (path, type, ETag). A file
# X.gz beside X is X compressed. An empty or missing DIST gives an empty table.
cmake_minimum_required(VERSION 3.25)
file(GLOB_RECURSE files RELATIVE ${DIST} ${DIST}/*)
list(SORT files)

set(asm "# Written by cmake/EmbedWeb.cmake.\n#if defined(__APPLE__)\n.section __TEXT,__const\n#define NAME(x) _##x\n")
string(APPEND asm "#else\n.section .rodata,\"a\"\n#define NAME(x) x\n#endif\n")
set(declarations "")
set(entries "")
set(count 0)

function(embed index file)
  string(APPEND asm ".globl NAME(exo_web_${index})\n.globl NAME(exo_web_${index}_end)\n.balign 16\n"
         "NAME(exo_web_${index}):\n.incbin \"${DIST}/${file}\"\nNAME(exo_web_${index}_end):\n.byte 0\n")
  string(APPEND declarations
         "extern \"C\" const char exo_web_${index}[];\nextern \"C\" const char exo_web_${index}_end[];\n")
  set(asm "${asm}" PARENT_SCOPE)
  set(declarations "${declarations}" PARENT_SCOPE)
endfunction()

set(type_html "text/html; charset=utf-8")
set(type_js "text/javascript; charset=utf-8")
set(type_mjs "text/javascript; charset=utf-8")
set(type_css "text/css; charset=utf-8")
set(type_json "application/json")
set(type_webmanifest "application/manifest+json")
set(type_txt "text/plain; charset=utf-8")
set(type_svg "image/svg+xml")
set(type_png "image/png")
set(type_ico "image/x-icon")
set(type_woff2 "font/woff2")

foreach(file ${files})
  if(file MATCHES "\\.gz$")
    continue()
  endif()
  embed(${count} ${file})
  set(gzip "{}")
  if("${file}.gz" IN_LIST files)
    embed(${count}_gz ${file}.gz)
    set(gzip "{exo_web_${count}_gz, static_cast<size_t>(exo_web_${count}_gz_end - exo_web_${count}_gz)}")
  endif()
  file(SHA256 ${DIST}/${file} hash)
  string(SUBSTRING ${hash} 0 32 hash)
  string(REGEX MATCH "[^.]*$" extension ${file})
  set(mime "application/octet-stream")
  if(DEFINED type_${extension})
    set(mime "${type_${extension}}")
  endif()
  set(immutable false)
  # name-HASH.js, as bundlers write it: eight or more characters, one of them a digit or a capital.
  if(file MATCHES "[-.]([A-Za-z0-9_]+)\\.[a-z0-9]+$")
    string(LENGTH "${CMAKE_MATCH_1}" length)
    if(length GREATER_EQUAL 8 AND CMAKE_MATCH_1 MATCHES "[0-9A-Z]")
      set(immutable true)
    endif()
  endif()
  string(APPEND entries "    {\"/${file}\", \"${mime}\", \"\\\"${hash}\\\"\", ${immutable},\n     {exo_web_${count}, "
         "static_cast<size_t>(exo_web_${count}_end - exo_web_${count})}, ${gzip}},\n")
  math(EXPR count "${count} + 1")
endforeach()

string(APPEND asm "#if defined(__ELF__)\n.section .note.GNU-stack,\"\",%progbits\n#endif\n")
file(WRITE ${OUT}/web_assets.S "${asm}")
file(WRITE ${OUT}/web_assets_table.inc "// Written by cmake/EmbedWeb.cmake.\n${declarations}"
     "static const std::array<WebAsset, ${count}> kEntries = {{\n${entries}}};\n")
