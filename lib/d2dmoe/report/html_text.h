#pragma once

#include <functional>
#include <string>
#include <vector>

#include "d2dmoe/report/canvas.h"
#include "d2dmoe/report/json_access.h"

/// Pieces of the HTML page.
namespace d2dmoe::report {

/// Of the pictures inside a page, in pixels.
inline constexpr double kPageWidth = 960;

/// The page around `body`: head, style for light and dark, no outside resources.
std::string page(const std::string& title, const std::string& body);
/// <h2> and content; "" when there is no content.
std::string section(const std::string& title, const std::string& content);
/// <h3>: a run inside a section.
std::string heading(const std::string& text);
std::string paragraph(const std::string& text);
/// A part that opens on a click.
std::string details(const std::string& summary, const std::string& content);
/// JSON, indented, as preformatted text.
std::string preformatted(const Json& json);
/// An image inside the page. @param png  bytes of a PNG file @param name  what it shows, for screen readers
std::string picture(const std::string& png, const std::string& name);
std::string bullet_list(const std::vector<std::string>& items);
/// A picture of the page, drawn by `draw`.
std::string figure(const std::string& name, double width, double height,
                   const std::function<void(Canvas&)>& draw);

}  // namespace d2dmoe::report
