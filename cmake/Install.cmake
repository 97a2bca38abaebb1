# `cmake --install`: the program, the headers, the libraries and a package for find_package(d2dmoe).
include(CMakePackageConfigHelpers)

get_property(d2dmoe_rooms GLOBAL PROPERTY D2DMOE_ROOMS)
install(TARGETS d2dmoe RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
set_target_properties(d2dmoe_library PROPERTIES EXPORT_NAME d2dmoe)  # used as d2dmoe::d2dmoe
install(TARGETS d2dmoe_library ${d2dmoe_rooms} EXPORT d2dmoeTargets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY "${PROJECT_SOURCE_DIR}/lib/d2dmoe" "${PROJECT_BINARY_DIR}/generated/d2dmoe"
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/d2dmoe)
install(EXPORT d2dmoeTargets NAMESPACE d2dmoe:: DESTINATION ${package_dir})
configure_package_config_file(cmake/d2dmoeConfig.cmake.in "${PROJECT_BINARY_DIR}/d2dmoeConfig.cmake"
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file("${PROJECT_BINARY_DIR}/d2dmoeConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/d2dmoeConfig.cmake" "${PROJECT_BINARY_DIR}/d2dmoeConfigVersion.cmake"
  cmake/LibTorch.cmake cmake/FindUtf8proc.cmake cmake/FindPcre2.cmake
  cmake/FindSentencePiece.cmake cmake/FindCairo.cmake DESTINATION ${package_dir})
