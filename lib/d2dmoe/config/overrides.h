#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "d2dmoe/config/fields.h"

namespace d2dmoe::config {

/// What `--set path=value` says, as a JSON object that read_json takes: {"train": {"optimizer": {"lr":
/// 0.001}}}. The value is JSON, or plain text where the key holds text; a list may be given as "a,b,c". The
/// path of a key inside a name → number object (experts_per_site) may hold dots.
/// @throws UsageError  no "=", or an empty path
nlohmann::ordered_json parse_override(const Fields& fields, const std::string& text);

}  // namespace d2dmoe::config
