#pragma once

namespace d2dmoe {

/// From here on SIGINT and SIGTERM only ask for a stop (see stop_requested); a second one ends the process at
/// once.
void install_stop_handler();
/// Whether a stop was asked for. Long loops look at it between steps, save their state and throw Interrupted.
bool stop_requested();
/// Asks for a stop, as the signal does; clear with false (tests).
void request_stop(bool value = true);

}  // namespace d2dmoe
