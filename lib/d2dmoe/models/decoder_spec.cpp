#include "d2dmoe/models/decoder_spec.h"

#include <algorithm>
#include <cmath>

#include "d2dmoe/core/error.h"
#include "d2dmoe/models/family.h"

namespace d2dmoe::models {

void DecoderSpec::set_default_scales() {
  attention_scales.assign(static_cast<size_t>(layers), 1 / std::sqrt(static_cast<double>(head_dim)));
}

void DecoderSpec::override_dropout(double dropout) {
  D2D_CHECK(dropout < 1, "[model] dropout: got {}, must be in [0, 1)", dropout);
  if (dropout < 0) return;
  for (double* p : {&embedding_dropout, &attention_dropout, &residual_dropout})
    if (*p >= 0) *p = dropout;
}

bool wants_classifier(const ConfigReader& config, const LoadOptions& options) {
  if (options.num_labels || !options.label_names.empty() || options.regression) return true;
  return config.architecture().ends_with("ForSequenceClassification");
}

HfLayout decoder_layout(const ConfigReader& config, const DecoderSpec& spec, HfLayout hf) {
  hf.initializer_range = config.initializer_range();
  if (spec.classes) {
    for (const std::string ending : {"ForCausalLM", "LMHeadModel"})
      if (hf.architecture.ends_with(ending))
        hf.architecture.replace(hf.architecture.size() - ending.size(), ending.size(),
                                "ForSequenceClassification");
    hf.names.push_back({"head.weight", "score.weight", false, /*optional=*/true});
  } else if (spec.tied) {
    const auto words = std::find_if(hf.names.begin(), hf.names.end(), [](const HfName& entry) {
      return entry.ours == "embeddings.words.weight";
    });
    D2D_CHECK(words != hf.names.end(), "[model] {}: its name table lacks embeddings.words.weight",
              hf.architecture);
    words->alias = "lm_head.weight";
  } else {
    hf.names.push_back({"head.weight", "lm_head.weight"});
  }
  hf.names = expand_names(hf.names, spec.layers);
  return hf;
}

}  // namespace d2dmoe::models
