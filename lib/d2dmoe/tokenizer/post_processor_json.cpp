#include <utility>
#include <vector>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/tokenizer/components.h"

namespace d2dmoe::tokenizer {
namespace {

using Piece = TemplateProcessing::Piece;

int64_t checked_id(int64_t id, const Context& context) {
  D2D_CHECK(id >= 0 && id < context.ids,
            "[tokenizer] '{}': the post_processor puts in id {}, but the vocabulary ends at {}",
            context.origin, id, context.ids - 1);
  return id;
}

// "cls": ["<s>", 0] of BertProcessing and RobertaProcessing.
int64_t special_id(const Json& json, const char* key, const Context& context) {
  const Json* pair = find_key(json, key);
  D2D_CHECK(pair && pair->is_array() && pair->size() == 2 && (*pair)[1].is_number_integer(),
            "[tokenizer] '{}': the post_processor's \"{}\" must be a list of token and id", context.origin,
            key);
  return checked_id((*pair)[1].get<int64_t>(), context);
}

// {"SpecialToken": {"id": "[CLS]", "type_id": 0}} or {"Sequence": {"id": "A", "type_id": 0}}
Piece read_piece(const Json& json, const Json* special_tokens, const Context& context) {
  const std::string& origin = context.origin;
  const Json* special = find_key(json, "SpecialToken");
  const Json* sequence = find_key(json, "Sequence");
  const Json* fields = special ? special : sequence;
  const auto id = fields ? get_string(*fields, "id", origin) : std::nullopt;
  D2D_CHECK(id.has_value(),
            "[tokenizer] '{}': the template's piece {} must be a SpecialToken or a Sequence with an id",
            origin, io::printable(json.dump()));
  Piece piece;
  piece.type_id = get_int(*fields, "type_id", origin).value_or(0);
  if (!special) {
    D2D_CHECK(*id == "A" || *id == "B", "[tokenizer] '{}': the template names the text '{}', must be A or B",
              origin, io::printable(*id));
    piece.what = *id == "A" ? Piece::What::first : Piece::What::second;
    return piece;
  }
  const Json* token = special_tokens ? find_key(*special_tokens, id->c_str()) : nullptr;
  const Json* ids = token ? find_key(*token, "ids") : nullptr;
  D2D_CHECK(ids && ids->is_array(),
            "[tokenizer] '{}': the template's special token '{}' has no ids in \"special_tokens\"", origin,
            io::printable(*id));
  for (const Json& item : *ids) {
    D2D_CHECK(item.is_number_integer(), "[tokenizer] '{}': the template's special token '{}' has the id {}",
              origin, io::printable(*id), io::printable(item.dump()));
    piece.ids.push_back(checked_id(item.get<int64_t>(), context));
  }
  return piece;
}

std::vector<Piece> read_template(const Json& json, const char* key, const Context& context) {
  const Json* list = find_key(json, key);
  D2D_CHECK(list && list->is_array(), "[tokenizer] '{}': the TemplateProcessing has no list \"{}\"",
            context.origin, key);
  std::vector<Piece> pieces;
  for (const Json& item : *list)
    pieces.push_back(read_piece(item, find_key(json, "special_tokens"), context));
  return pieces;
}

}  // namespace

std::unique_ptr<PostProcessor> make_post_processor(const Json& json, const Context& context) {
  const std::string type = get_string(json, "type", context.origin).value_or("");
  if (type == "TemplateProcessing") {
    return std::make_unique<TemplateProcessing>(read_template(json, "single", context),
                                                read_template(json, "pair", context));
  }
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    const int64_t cls = special_id(json, "cls", context), sep = special_id(json, "sep", context);
    return std::make_unique<TemplateProcessing>(type == "BertProcessing"
                                                    ? TemplateProcessing::bert(cls, sep)
                                                    : TemplateProcessing::roberta(cls, sep));
  }
  if (type == "ByteLevel")
    return std::make_unique<TemplateProcessing>(TemplateProcessing::plain());  // offsets only
  if (type == "Sequence") {
    // Steps that only move offsets stand beside the one that adds tokens.
    const Json* list = find_key(json, "processors");
    D2D_CHECK(list && list->is_array(), "[tokenizer] '{}': a Sequence has no list \"processors\"",
              context.origin);
    std::unique_ptr<PostProcessor> only;
    for (const Json& item : *list) {
      auto step = make_post_processor(item, context);
      if (step->added(false) == 0 && step->added(true) == 0) continue;
      D2D_CHECK(!only,
                "[tokenizer] '{}': a post_processor Sequence with two steps that add tokens is not supported",
                context.origin);
      only = std::move(step);
    }
    return only ? std::move(only) : std::make_unique<TemplateProcessing>(TemplateProcessing::plain());
  }
  throw Error(format(
      "[tokenizer] '{}': the post_processor '{}' is not supported. Hint: supported are TemplateProcessing, "
      "BertProcessing, RobertaProcessing, ByteLevel, Sequence",
      context.origin, io::printable(type)));
}

}  // namespace d2dmoe::tokenizer
