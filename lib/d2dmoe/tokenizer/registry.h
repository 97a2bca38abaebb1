#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/tokenizer/components.h"

/// What the registries of components share.
namespace d2dmoe::tokenizer {

template <class Component>
struct RegistryEntry {
  const char* type;
  std::unique_ptr<Component> (*make)(const Json&, const Context&);
};

/// Makes the component of a type. @throws Error  unknown type: the known ones are listed
template <class Component, size_t N>
std::unique_ptr<Component> make_from(const RegistryEntry<Component> (&registry)[N], const char* kind,
                                     const std::string& type, const Json& json, const Context& context) {
  std::string known;
  for (const auto& entry : registry) {
    if (entry.type == type) return entry.make(json, context);
    known.append(known.empty() ? "" : ", ").append(entry.type);
  }
  throw Error(format("[tokenizer] '{}': the {} '{}' is not supported. Hint: supported are {}", context.origin,
                     kind, io::printable(type), known));
}

inline std::string type_of(const Json& json, const char* kind, const Context& context) {
  const auto type = get_string(json, "type", context.origin);
  D2D_CHECK(type.has_value(), "[tokenizer] '{}': the {} has no \"type\"", context.origin, kind);
  return *type;
}

/// The list under `key` of a Sequence, each made by `make_one`.
template <class Component>
std::vector<std::unique_ptr<Component>> make_list(const Json& json, const char* key, const Context& context,
                                                  std::unique_ptr<Component> (*make_one)(const Json&,
                                                                                         const Context&)) {
  const Json* list = find_key(json, key);
  D2D_CHECK(list && list->is_array(), "[tokenizer] '{}': a Sequence has no list \"{}\"", context.origin, key);
  std::vector<std::unique_ptr<Component>> out;
  for (const Json& item : *list) out.push_back(make_one(item, context));
  return out;
}

/// For components without options.
template <class Component, class Base>
std::unique_ptr<Base> make_plain(const Json&, const Context&) {
  return std::make_unique<Component>();
}

/// A text that must be there.
inline std::string require_string(const Json& json, const char* key, const char* what,
                                  const Context& context) {
  const auto text = get_string(json, key, context.origin);
  D2D_CHECK(text.has_value(), "[tokenizer] '{}': the {} has no \"{}\"", context.origin, what, key);
  return *text;
}

/// The "pattern" of Split and Replace: {"String": …} or {"Regex": …}.
Pattern make_pattern(const Json& json, const char* what, const Context& context);

}  // namespace d2dmoe::tokenizer
