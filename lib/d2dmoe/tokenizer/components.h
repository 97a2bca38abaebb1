#pragma once

#include <memory>
#include <string>

#include "d2dmoe/tokenizer/decoder.h"
#include "d2dmoe/tokenizer/json_fields.h"
#include "d2dmoe/tokenizer/model.h"
#include "d2dmoe/tokenizer/normalizer.h"
#include "d2dmoe/tokenizer/post_processor.h"
#include "d2dmoe/tokenizer/pre_tokenizer.h"
#include "d2dmoe/tokenizer/tokenizer_json.h"

/// Registries of the components that tokenizer.json can ask for: one function and one line in a table for
/// each.
namespace d2dmoe::tokenizer {

/// What a component may need besides its own JSON.
struct Context {
  const std::string& origin;  ///< file name
  const Overrides& overrides;
  int64_t ids = 0;  ///< ids of model and added tokens, once these are known
};

/// Each makes the component that `json`'s "type" names.
/// @throws Error  unknown type (the known ones are listed), wrong or missing keys
std::unique_ptr<Normalizer> make_normalizer(const Json& json, const Context& context);
std::unique_ptr<PreTokenizer> make_pre_tokenizer(const Json& json, const Context& context);
std::unique_ptr<Model> make_model(const Json& json, const Context& context);
std::unique_ptr<PostProcessor> make_post_processor(const Json& json, const Context& context);
std::unique_ptr<Decoder> make_decoder(const Json& json, const Context& context);
/// "prepend_scheme" of a Metaspace, or what old files have in its place.
Metaspace::Prepend read_prepend_scheme(const Json& json, const Context& context);

}  // namespace d2dmoe::tokenizer
