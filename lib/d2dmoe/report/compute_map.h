#pragma once

#include <string>
#include <vector>

#include "d2dmoe/data/image.h"
#include "d2dmoe/data/image_geometry.h"

namespace d2dmoe::report {

/// What the patches of an image cost in one layer, or in all of them.
struct MapTile {
  std::string name;             ///< "layer 3"
  std::vector<double> experts;  ///< that each patch ran, by row and column of the grid
  double special = 0;           ///< that the class token ran
  double of = 1;                ///< experts there are
};

/// A picture and how many experts each of its patches ran.
struct ComputeMap {
  std::string name;    ///< of the picture
  std::string answer;  ///< of the model: "cat, 97.3 %"
  data::Image image;   ///< as the model sees it
  data::ImageGeometry geometry;
  std::vector<MapTile> tiles;  ///< all layers together first
};

/// The maps of one model.
struct ModelMaps {
  std::string model, setting;
  std::vector<ComputeMap> maps;
};

/// The picture in grey under a colour for each patch, enlarged for people.
/// @param most  share of the experts at the upper end of the colours, > 0
data::Image draw_map(const ComputeMap& map, const MapTile& tile, double most);

/// A section of the page: per model its pictures, each beside its maps, with the scale of their colours.
std::string maps_section(const std::vector<ModelMaps>& models);

}  // namespace d2dmoe::report
