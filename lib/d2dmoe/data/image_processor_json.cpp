#include <cmath>
#include <nlohmann/json.hpp>

#include "d2dmoe/core/error.h"
#include "d2dmoe/data/image_preprocess.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"

namespace d2dmoe::data {
namespace {

using ProcessorJson = nlohmann::ordered_json;

constexpr int64_t kMaxProcessorEdge = 1 << 16;

// Checked access to a preprocessor_config.json; a key that is null counts as missing.
class ProcessorReader {
 public:
  ProcessorReader(const ProcessorJson& json, std::string origin) : json_(json), origin_(std::move(origin)) {
    D2D_CHECK(json.is_object(), "[preprocessor] '{}': got {}, must be an object", origin_, json.type_name());
  }

  const ProcessorJson* find(const std::string& key) const {
    const auto entry = json_.find(key);
    return entry == json_.end() || entry->is_null() ? nullptr : &*entry;
  }
  void flag(const std::string& key, bool& value) const {
    const auto* entry = find(key);
    if (entry == nullptr) return;
    D2D_CHECK(entry->is_boolean(), "[preprocessor] '{}': key '{}': got {}, must be true or false", origin_,
              key, entry->dump());
    value = entry->get<bool>();
  }
  int64_t edge(const std::string& key, const ProcessorJson& value) const {
    D2D_CHECK(value.is_number_integer() && value >= 1 && value <= kMaxProcessorEdge,
              "[preprocessor] '{}': key '{}': got {}, must be a whole number from 1 to {}", origin_, key,
              value.dump(), kMaxProcessorEdge);
    return value.get<int64_t>();
  }
  double number(const std::string& key, const ProcessorJson& value) const {
    D2D_CHECK(value.is_number() && std::isfinite(value.get<double>()),
              "[preprocessor] '{}': key '{}': got {}, must be a number", origin_, key, value.dump());
    return value.get<double>();
  }
  // One number for all channels, or one per channel.
  void per_channel(const std::string& key, size_t channels, std::vector<double>& values) const {
    const auto* entry = find(key);
    if (entry != nullptr) {
      values.clear();
      if (!entry->is_array()) values.push_back(number(key, *entry));
      if (entry->is_array())
        for (const auto& value : *entry) values.push_back(number(key, value));
    } else if (values.size() > channels) {
      values.resize(channels);  // a class's default has three
    }
    if (values.size() == 1) values.assign(channels, values[0]);
    D2D_CHECK(
        values.size() == channels,
        "[preprocessor] '{}': key '{}': got {} numbers, must be one for each of the model's {} channels",
        origin_, key, values.size(), channels);
  }
  const std::string& origin() const { return origin_; }

 private:
  const ProcessorJson& json_;
  std::string origin_;
};

void set_defaults(const std::string& name, ImageProcessor& out) {
  out.mean = out.std = {0.5, 0.5, 0.5};
  if (name == "ViT") return;
  out.resample = Resample::bicubic;
  out.do_center_crop = true;
  if (name == "DeiT") {
    out.height = out.width = 256;
    return;
  }
  out.height = out.width = 0;  // CLIP and BiT
  out.shortest_edge = 224;
  out.mean = {0.48145466, 0.4578275, 0.40821073};
  out.std = {0.26862954, 0.26130258, 0.27577711};
}

// "ViT" of "ViTImageProcessorFast" or "ViTFeatureExtractor"; without a class, "ViT".
std::string processor_class(const ProcessorReader& reader) {
  for (const char* key : {"image_processor_type", "feature_extractor_type"}) {
    const auto* entry = reader.find(key);
    if (entry == nullptr) continue;
    const std::string name = entry->is_string() ? entry->get<std::string>() : entry->dump();
    for (const std::string known : {"ViT", "DeiT", "CLIP", "Bit"})
      for (const char* ending :
           {"ImageProcessor", "ImageProcessorFast", "ImageProcessorPil", "FeatureExtractor"})
        if (name == known + ending) return known;
    D2D_CHECK(false,
              "[preprocessor] '{}': key '{}': got {}, must be that of ViT, DeiT, CLIP or Bit "
              "(ViTImageProcessor, …)",
              reader.origin(), key, io::printable(name));
  }
  return "ViT";
}

void read_size(const ProcessorReader& reader, bool square, ImageProcessor& out) {
  const auto* size = reader.find("size");
  if (size == nullptr) return;
  out.height = out.width = out.shortest_edge = out.longest_edge = 0;
  if (size->is_object()) {
    const auto has = [&](const char* key) { return size->contains(key) && !size->at(key).is_null(); };
    if (has("shortest_edge")) {
      out.shortest_edge = reader.edge("size.shortest_edge", size->at("shortest_edge"));
      if (has("longest_edge")) out.longest_edge = reader.edge("size.longest_edge", size->at("longest_edge"));
      return;
    }
    D2D_CHECK(has("height") && has("width"),
              "[preprocessor] '{}': key 'size': got {}, must have height and width, or shortest_edge",
              reader.origin(), size->dump());
    out.height = reader.edge("size.height", size->at("height"));
    out.width = reader.edge("size.width", size->at("width"));
  } else if (size->is_array()) {
    D2D_CHECK(size->size() == 2, "[preprocessor] '{}': key 'size': got {}, must be [height, width]",
              reader.origin(), size->dump());
    out.height = reader.edge("size", size->at(0));
    out.width = reader.edge("size", size->at(1));
  } else if (square) {
    out.height = out.width = reader.edge("size", *size);
  } else {
    out.shortest_edge = reader.edge("size", *size);
  }
}

void read_crop_size(const ProcessorReader& reader, ImageProcessor& out) {
  const auto* size = reader.find("crop_size");
  if (size == nullptr) return;
  if (size->is_object()) {
    for (auto [key, value] : {std::pair("height", &out.crop_height), std::pair("width", &out.crop_width)}) {
      D2D_CHECK(size->contains(key),
                "[preprocessor] '{}': key 'crop_size': got {}, must have height and width", reader.origin(),
                size->dump());
      *value = reader.edge("crop_size." + std::string(key), size->at(key));
    }
  } else if (size->is_array() && size->size() == 2) {
    out.crop_height = reader.edge("crop_size", size->at(0));
    out.crop_width = reader.edge("crop_size", size->at(1));
  } else {
    out.crop_height = out.crop_width = reader.edge("crop_size", *size);
  }
}

}  // namespace

ImageProcessor default_image_processor(const ImageGeometry& geometry) {
  ImageProcessor out;
  out.height = geometry.height;
  out.width = geometry.width;
  out.mean = out.std = std::vector<double>(static_cast<size_t>(geometry.channels), 0.5);
  return out;
}

ImageProcessor parse_image_processor(std::string_view text, const std::string& origin,
                                     const ImageGeometry& geometry) {
  const auto json = io::parse_json(text, origin);
  const ProcessorReader reader(json, origin);
  const std::string name = processor_class(reader);
  ImageProcessor out;
  set_defaults(name, out);
  reader.flag("do_resize", out.do_resize);
  read_size(reader, /*square=*/name == "ViT" || name == "DeiT", out);
  reader.flag("do_center_crop", out.do_center_crop);
  read_crop_size(reader, out);
  if (const auto* resample = reader.find("resample"); resample != nullptr) {
    D2D_CHECK(
        resample->is_number_integer() && *resample >= 0 && *resample <= 5,
        "[preprocessor] '{}': key 'resample': got {}, must be 0 (nearest), 1 (lanczos), 2 (bilinear), 3 "
        "(bicubic), 4 (box) or 5 (hamming)",
        origin, resample->dump());
    out.resample = static_cast<Resample>(resample->get<int>());
  }
  reader.flag("do_rescale", out.do_rescale);
  if (const auto* factor = reader.find("rescale_factor"); factor != nullptr)
    out.rescale_factor = reader.number("rescale_factor", *factor);
  reader.flag("do_normalize", out.do_normalize);
  const auto channels = static_cast<size_t>(geometry.channels);
  reader.per_channel("image_mean", channels, out.mean);
  reader.per_channel("image_std", channels, out.std);
  for (const double std : out.std)
    D2D_CHECK(std > 0, "[preprocessor] '{}': key 'image_std': got {}, must be above 0", origin, std);
  bool convert = true, pad = false;
  reader.flag("do_convert_rgb", convert);
  reader.flag("do_pad", pad);
  D2D_CHECK(!pad, "[preprocessor] '{}': key 'do_pad': got true, which is not supported", origin);
  return out;
}

ImageProcessor read_image_processor(const std::filesystem::path& model_dir, const ImageGeometry& geometry) {
  const auto file = model_dir / "preprocessor_config.json";
  if (!std::filesystem::exists(file)) return default_image_processor(geometry);
  return parse_image_processor(io::read_file(file), file.string(), geometry);
}

}  // namespace d2dmoe::data
