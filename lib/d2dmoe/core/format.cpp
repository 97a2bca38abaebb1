#include "d2dmoe/core/format.h"

#include <fmt/args.h>
#include <fmt/format.h>

#include "d2dmoe/core/error.h"

namespace d2dmoe {

std::string vformat(std::string_view text, std::span<const FormatArg> args) {
  fmt::dynamic_format_arg_store<fmt::format_context> store;
  for (const FormatArg& arg : args) {
    std::visit([&](const auto& value) { store.push_back(value); }, arg.value());
  }
  try {
    return fmt::vformat(fmt::string_view(text.data(), text.size()), store);
  } catch (const fmt::format_error& e) {
    throw Error("[format] '" + std::string(text) + "': " + e.what());
  }
}

std::string join(const std::vector<std::string>& words, std::string_view separator) {
  std::string text;
  for (const auto& word : words) text.append(text.empty() ? "" : separator).append(word);
  return text;
}

}  // namespace d2dmoe
