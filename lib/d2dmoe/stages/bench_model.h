#pragma once

#include "d2dmoe/stages/bench.h"

namespace d2dmoe::stages {

/// The part of bench() that looks at a converted folder: adds its layers to result["layers"], with their own
/// routers on rows of the experiment's data (random tokens where it names none), and result["model"].
void bench_model(const config::LoadedExperiment& experiment, const BenchRequest& request,
                 const bench::MachinePeaks& peaks, const BenchSeen& seen, nlohmann::ordered_json& result);

}  // namespace d2dmoe::stages
