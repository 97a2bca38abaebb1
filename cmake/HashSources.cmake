# cmake -DFILES=a;b;c -DOUT=header -P HashSources.cmake: writes a header with a hash of the files' contents.
set(hashes "")
foreach(file IN LISTS FILES)
  file(SHA256 "${file}" hash)
  string(APPEND hashes ${hash})
endforeach()
string(SHA256 hash "${hashes}")
string(SUBSTRING ${hash} 0 12 hash)
file(WRITE "${OUT}" "#pragma once\n\nnamespace d2dmoe::kernels {\n\n/// Of the files whose times are measured.\n"
  "inline constexpr const char* kSourceHash = \"${hash}\";\n\n}  // namespace d2dmoe::kernels\n")
