#include "d2dmoe/data/image_class_paths.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "d2dmoe/core/error.h"

namespace d2dmoe::data {
namespace {

std::string_view class_of(std::string_view path) {
  return path.substr(0, path.find('/'));
}

std::string top_folders(const std::vector<std::string>& paths) {
  std::set<std::string_view> folders;
  for (const auto& path : paths)
    if (path.find('/') != std::string::npos) folders.insert(class_of(path));
  std::string text;
  for (const auto folder : folders) {
    if (text.size() > 200) return text + ", …";
    text.append(text.empty() ? "" : ", ").append(folder);
  }
  return text.empty() ? "no folders" : text;
}

}  // namespace

bool has_image_ending(std::string_view path) {
  std::string ending(path.substr(std::min(path.rfind('.'), path.size())));
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return ending == ".jpg" || ending == ".jpeg" || ending == ".png";
}

bool is_image_path(std::string_view path) {
  const bool hidden = path.starts_with('.') || path.find("/.") != path.npos;
  return !hidden && has_image_ending(path);
}

ClassPaths sort_into_classes(const std::vector<std::string>& paths, const std::string& origin) {
  ClassPaths out;
  for (size_t i = 0; i < paths.size(); ++i)
    if (is_image_path(paths[i]) && paths[i].find('/') != std::string::npos) out.order.push_back(i);
  // By class, then folder, then file: the order of torchvision's ImageFolder.
  const auto key = [&](size_t i) {
    const std::string_view path = paths[i];
    return std::tuple(class_of(path), path.substr(0, path.rfind('/')), path);
  };
  std::sort(out.order.begin(), out.order.end(), [&](size_t a, size_t b) { return key(a) < key(b); });
  for (const size_t i : out.order) {
    if (out.classes.empty() || out.classes.back() != class_of(paths[i]))
      out.classes.emplace_back(class_of(paths[i]));
    out.labels.push_back(static_cast<int64_t>(out.classes.size()) - 1);
  }
  D2D_CHECK_USAGE(!out.order.empty(),
                  "[images] '{}': no image class/name.jpg, .jpeg or .png in it (it has {}). Hint: name the "
                  "split's folder",
                  origin, top_folders(paths));
  return out;
}

}  // namespace d2dmoe::data
