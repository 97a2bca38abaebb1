# d2dmoe_room(NAME SOURCES ... DEPENDS ... [LINK ...] [NO_TORCH] [LIGHT])
#   One static library per room of lib/d2dmoe; DEPENDS names rooms, which stand above it in docs/architecture.md.
#   NO_TORCH keeps torch's include folder (which carries another fmt) away from the room.
#   LIGHT compiles it with -O1: a room whose time is spent in other rooms' libraries.
# d2dmoe_tests(NAME SOURCES ... DEPENDS ...)
#   One test program per room; fails at configure time when a test_*.cpp on disk is not listed.

add_library(d2dmoe_flags INTERFACE)
target_compile_options(d2dmoe_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wno-unknown-pragmas>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${D2DMOE_WERROR}>>:-Werror>
  # A false alarm of GCC 14: array-bounds in std::vector<bool>, as LibTorch's autograd headers use it.
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CXX_COMPILER_ID:GNU>,$<VERSION_GREATER_EQUAL:$<CXX_COMPILER_VERSION>,13>>:-Wno-error=array-bounds>)
if(D2DMOE_SANITIZE)
  target_compile_options(d2dmoe_flags INTERFACE -fsanitize=address,undefined -fno-omit-frame-pointer -O1)
  target_link_options(d2dmoe_flags INTERFACE -fsanitize=address,undefined)
endif()

# -O1 for rooms and programs whose time is spent in other libraries: a quarter to a half less time to compile. It needs
# the precompiled header of its level.
add_library(d2dmoe_light_optimization INTERFACE)
target_compile_options(d2dmoe_light_optimization INTERFACE $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CONFIG:Release>>:-O1>)
set(d2dmoe_light_header d2dmoe_pch)
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  set(d2dmoe_light_header d2dmoe_light_pch)
endif()
set(d2dmoe_headers d2dmoe_pch ${d2dmoe_light_header})
list(REMOVE_DUPLICATES d2dmoe_headers)

function(d2dmoe_room name)
  cmake_parse_arguments(ROOM "NO_TORCH;LIGHT" "" "SOURCES;DEPENDS;LINK" ${ARGN})
  set(target d2dmoe_${name})
  add_library(${target} STATIC ${ROOM_SOURCES})
  add_library(d2dmoe::${name} ALIAS ${target})
  target_include_directories(${target} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/lib>
    $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/generated> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  foreach(room IN LISTS ROOM_DEPENDS)
    target_link_libraries(${target} PUBLIC d2dmoe_${room})
  endforeach()
  target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:d2dmoe_flags> ${ROOM_LINK})
  set(pch d2dmoe_pch)
  if(ROOM_LIGHT)
    set(pch ${d2dmoe_light_header})
    target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:d2dmoe_light_optimization>)
  endif()
  if(NOT ROOM_NO_TORCH)
    target_link_libraries(${target} PUBLIC
      $<BUILD_INTERFACE:d2dmoe_torch> $<INSTALL_INTERFACE:$<1:d2dmoe::torch>> OpenMP::OpenMP_CXX)
    target_precompile_headers(${target} REUSE_FROM ${pch})
  endif()
  set_property(GLOBAL APPEND PROPERTY D2DMOE_ROOMS ${target})
endfunction()

function(d2dmoe_tests name)
  cmake_parse_arguments(TESTS "" "" "SOURCES;DEPENDS" ${ARGN})
  file(GLOB on_disk RELATIVE "${CMAKE_CURRENT_SOURCE_DIR}" test_*.cpp)
  foreach(file IN LISTS on_disk)
    if(NOT file IN_LIST TESTS_SOURCES)
      message(FATAL_ERROR "tests/${name}/${file} is not listed in tests/${name}/CMakeLists.txt")
    endif()
  endforeach()
  set(target test_${name})
  add_executable(${target} ${TESTS_SOURCES})
  foreach(room IN LISTS TESTS_DEPENDS)
    target_link_libraries(${target} PRIVATE d2dmoe_${room})
  endforeach()
  target_link_libraries(${target} PRIVATE d2dmoe_flags d2dmoe_light_optimization d2dmoe_test_support)
  target_precompile_headers(${target} REUSE_FROM ${d2dmoe_light_header})
  add_test(NAME ${name} COMMAND ${target} WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
  set_tests_properties(${name} PROPERTIES TIMEOUT 900)  # the slowest takes a minute; sanitizers and load cost tenfold
endfunction()
