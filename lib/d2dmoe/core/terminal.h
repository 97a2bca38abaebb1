#pragma once

#include <string_view>

namespace d2dmoe {

/// Whether stderr is a terminal (a progress bar redraws there; a pipe gets plain lines).
bool stderr_is_terminal();
/// Whether stderr may be coloured: a terminal, NO_COLOR unset, TERM not "dumb".
bool stderr_has_color();
/// Columns of the terminal behind stderr; 80 when unknown.
int terminal_width();

/// The one line at the bottom of a terminal that is redrawn in place (a progress bar). Messages on stderr
/// call clear_status_line first, so that they never stand on the rest of a bar. Both may be called from any
/// thread.
/// @param text  one line without line breaks; cut to the terminal's width
void draw_status_line(std::string_view text);
void clear_status_line();
/// Leaves the status line where it is and goes to the next line.
void end_status_line();

}  // namespace d2dmoe
