#include "d2dmoe/config/fields.h"

#include "d2dmoe/core/format.h"

namespace d2dmoe::config {

Field& Field::min(double value) {
  minimum = value;
  return *this;
}

Field& Field::above(double value) {
  exclusive_minimum = true;
  return min(value);
}

Field& Field::below(double value) {
  exclusive_maximum = true;
  maximum = value;
  return *this;
}

Field& Field::range(double low, double high) {
  maximum = high;
  return min(low);
}

Field& Field::or_exactly(double value) {
  special = value;
  return *this;
}

Field& Field::length(size_t entries) {
  size = entries;
  return *this;
}

Field& Field::one_of(std::vector<Choice> words) {
  choices = std::move(words);
  return *this;
}

bool Field::allows(double value) const {
  if (special && value == *special) return true;
  const bool high_enough = !minimum || (exclusive_minimum ? value > *minimum : value >= *minimum);
  const bool low_enough = !maximum || (exclusive_maximum ? value < *maximum : value <= *maximum);
  return high_enough && low_enough;
}

std::string Field::range_text() const {
  std::string text;
  if (minimum) text = format(exclusive_minimum ? "above {}" : "at least {}", *minimum);
  if (minimum && maximum) text += " and ";
  if (maximum) text += format(exclusive_maximum ? "below {}" : "at most {}", *maximum);
  if (special) text += format("{}or {}", text.empty() ? "" : ", ", *special);
  return text;
}

const Fields* Field::nested() const {
  const auto* object = std::get_if<std::shared_ptr<Fields>>(&target);
  return object ? object->get() : nullptr;
}

Field* Fields::find(std::string_view key) const {
  for (const auto& field : fields_) {
    if (field->key == key) return field.get();
  }
  return nullptr;
}

Field& Fields::push(std::string key, Target target, std::string help) {
  fields_.push_back(std::make_unique<Field>());
  Field& field = *fields_.back();
  field.key = std::move(key);
  field.target = std::move(target);
  field.help = std::move(help);
  return field;
}

}  // namespace d2dmoe::config
