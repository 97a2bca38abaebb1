# Finds LibTorch and defines the target d2dmoe::torch.
#
# Looked for, in this order: D2DMOE_TORCH_DIR (a folder with include/ and lib/), Torch_DIR and CMAKE_PREFIX_PATH
# (zip, conda), the torch package of the python3 on PATH. `scripts/setup` puts a wheel into the build folder when
# none of these exists and passes it here as D2DMOE_TORCH_DIR.
#
# CPU builds link libtorch_cpu and libc10 directly: find_package(Torch) of a CUDA wheel demands nvcc.
if(TARGET d2dmoe_torch)
  return()  # a second find_package(d2dmoe)
endif()
cmake_policy(VERSION 3.25)
set(D2DMOE_TORCH_DIR "" CACHE PATH "LibTorch folder (with include/ and lib/)")

function(d2dmoe_find_torch_dir out)
  if(D2DMOE_TORCH_DIR)
    set(${out} "${D2DMOE_TORCH_DIR}" PARENT_SCOPE)
    return()
  endif()
  find_file(D2DMOE_TORCH_CONFIG TorchConfig.cmake
    HINTS "${Torch_DIR}" "$ENV{Torch_DIR}" PATH_SUFFIXES share/cmake/Torch torch/share/cmake/Torch)
  if(NOT D2DMOE_TORCH_CONFIG)
    find_package(Python3 QUIET COMPONENTS Interpreter)
    if(Python3_FOUND)
      execute_process(COMMAND ${Python3_EXECUTABLE} -c "import torch; print(torch.utils.cmake_prefix_path)"
        OUTPUT_VARIABLE prefix OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE rc)
      if(rc EQUAL 0)
        set(D2DMOE_TORCH_CONFIG "${prefix}/Torch/TorchConfig.cmake" CACHE FILEPATH "" FORCE)
      endif()
    endif()
  endif()
  if(NOT D2DMOE_TORCH_CONFIG)
    message(FATAL_ERROR "LibTorch was not found. Hint: run scripts/setup, or pass "
      "-DCMAKE_PREFIX_PATH=/path/to/libtorch, or -DD2DMOE_TORCH_DIR=/path/to/site-packages/torch")
  endif()
  get_filename_component(dir "${D2DMOE_TORCH_CONFIG}" DIRECTORY)
  get_filename_component(dir "${dir}/../../.." ABSOLUTE)
  set(${out} "${dir}" PARENT_SCOPE)
endfunction()

d2dmoe_find_torch_dir(d2dmoe_torch_dir)
if(NOT EXISTS "${d2dmoe_torch_dir}/include/torch/csrc/api/include/torch/torch.h")
  message(FATAL_ERROR "'${d2dmoe_torch_dir}' has no include/torch/csrc/api/include/torch/torch.h: not a LibTorch folder")
endif()
message(STATUS "LibTorch: ${d2dmoe_torch_dir}")

add_library(d2dmoe_torch INTERFACE)
add_library(d2dmoe::torch ALIAS d2dmoe_torch)
# Before LibTorch, whose libraries carry functions of an older libstdc++ with them: a program that takes
# std::filesystem::remove_all from libtorch.so ends at address 0 where the system's libstdc++ is that of GCC 13 or later.
target_link_libraries(d2dmoe_torch INTERFACE stdc++)
if(D2DMOE_CUDA)
  set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  # TorchConfig edits the caller's CUDA flags, architectures and standard: keep it in a scope of its own.
  block(SCOPE_FOR VARIABLES PROPAGATE TORCH_LIBRARIES Torch_FOUND)
    set(CMAKE_CUDA_STANDARD 17)
    set(TORCH_CUDA_ARCH_LIST "8.0;9.0a")
    find_package(Torch REQUIRED HINTS "${d2dmoe_torch_dir}/share/cmake/Torch")
  endblock()
  target_link_libraries(d2dmoe_torch INTERFACE ${TORCH_LIBRARIES})
else()
  foreach(name c10 torch_cpu)
    unset(D2DMOE_LIB_${name} CACHE)  # another D2DMOE_TORCH_DIR has other libraries
    find_library(D2DMOE_LIB_${name} ${name} HINTS "${d2dmoe_torch_dir}/lib" NO_DEFAULT_PATH REQUIRED)
    add_library(d2dmoe_lib_${name} UNKNOWN IMPORTED)
    set_target_properties(d2dmoe_lib_${name} PROPERTIES IMPORTED_LOCATION "${D2DMOE_LIB_${name}}")
    target_link_libraries(d2dmoe_torch INTERFACE $<BUILD_INTERFACE:d2dmoe_lib_${name}>)
  endforeach()
endif()
target_include_directories(d2dmoe_torch SYSTEM INTERFACE
  $<BUILD_INTERFACE:${d2dmoe_torch_dir}/include>
  $<BUILD_INTERFACE:${d2dmoe_torch_dir}/include/torch/csrc/api/include>)

# Wheels before 2.6 were built with the old string ABI.
file(STRINGS "${d2dmoe_torch_dir}/share/cmake/Torch/TorchConfig.cmake" d2dmoe_abi REGEX "_GLIBCXX_USE_CXX11_ABI=0")
if(d2dmoe_abi)
  target_compile_definitions(d2dmoe_torch INTERFACE _GLIBCXX_USE_CXX11_ABI=0)
endif()
