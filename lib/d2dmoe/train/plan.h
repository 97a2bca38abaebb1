#pragma once

#include "d2dmoe/train/trainer.h"

namespace d2dmoe::train {

/// Refuses options that do not fit the task, the data or each other.
/// @throws UsageError
void check_options(const TrainJob& job);

/// The job's penalty; named "none" where it has none.
config::PenaltyOptions penalty_of(const TrainJob& job);

/// Optimiser steps of one pass over the training data; the last may see fewer sentences.
/// @param examples  of the training data
int64_t steps_per_epoch(const config::TrainOptions& options, int64_t examples);
int64_t steps_per_epoch(const TrainJob& job);
/// Optimiser steps of the whole run: max_steps, or epochs (rounded up to a step).
int64_t total_steps(const config::TrainOptions& options, int64_t examples);
int64_t total_steps(const TrainJob& job);

}  // namespace d2dmoe::train
