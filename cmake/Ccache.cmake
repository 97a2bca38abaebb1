# Uses ccache where it is installed. The precompiled header needs three checks relaxed, which ccache reads
# from its environment only.
find_program(D2DMOE_CCACHE ccache)
if(D2DMOE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${D2DMOE_CCACHE})
endif()
