#pragma once

namespace d2dmoe {

/// Whether stderr is a terminal (a progress bar redraws there; a pipe gets plain lines).
bool stderr_is_terminal();
/// Whether stderr may be coloured: a terminal, NO_COLOR unset, TERM not "dumb".
bool stderr_has_color();
/// Columns of the terminal behind stderr; 80 when unknown.
int terminal_width();

}  // namespace d2dmoe
