#include "d2dmoe/moe/model_card.h"

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/version.h"
#include "d2dmoe/models/attention_sites.h"
#include "d2dmoe/models/labels.h"

namespace d2dmoe::moe {
namespace {

std::string sites_table(const std::vector<SiteRecord>& sites) {
  std::string table =
      "| site | experts | neurons each | always on | split | router width (depth) | rule |\n"
      "|---|---|---|---|---|---|---|\n";
  for (const auto& site : sites) {
    const std::string rule =
        site.selection.rule == "all"
            ? "all"
            : format("{} {:g}{}", site.selection.rule, site.selection.value,
                     site.selection.floor > 0 ? format(", floor {:g}", site.selection.floor) : "");
    table += format("| {} | {} | {} | {} | {} | {} ({}) | {} |\n", site.name, site.experts, site.expert_size,
                    site.shared, site.split, site.router_width, site.router_depth, rule);
  }
  return table;
}

std::string labels_line(const std::vector<std::string>& labels) {
  return labels.empty() ? "" : "Labels: " + join(labels, ", ") + ".\n\n";
}

/// How transformers and d2dmoe are asked for what a class of models gives.
struct Use {
  std::string auto_class, reader_class, reader, command;
};

Use use_of(const std::string& architecture) {
  if (architecture.ends_with("ForImageClassification") ||
      architecture.ends_with("ForImageClassificationWithTeacher"))
    return {"AutoModelForImageClassification", "AutoImageProcessor", "processor",
            "d2dmoe predict --model FOLDER IMAGE"};
  if (architecture.ends_with("ForCausalLM") || architecture.ends_with("LMHeadModel"))
    return {"AutoModelForCausalLM", "AutoTokenizer", "tokenizer",
            "d2dmoe generate --model FOLDER --prompt TEXT"};
  return {"AutoModelForSequenceClassification", "AutoTokenizer", "tokenizer",
          "d2dmoe predict --model FOLDER < texts.txt"};
}

std::string dense_use(const Use& use) {
  return format(
      "## As a dense model\nThe tensors keep their Hugging Face names, only the neurons stand in expert "
      "order; this "
      "leaves the function unchanged. transformers loads the folder as it is and gives the dense outputs:\n"
      "```python\nfrom transformers import {0}, {1}\nmodel = {0}.from_pretrained(\"FOLDER\")\n"
      "{2} = {1}.from_pretrained(\"FOLDER\")\n```\n",
      use.auto_class, use.reader_class, use.reader);
}

constexpr const char* kOursAlone =
    "## Not for other tools\nSome attention projections are two-layer perceptrons here (config.json lists "
    "them under `d2dmoe_attention_perceptrons`), which no other library knows: transformers refuses the "
    "folder.\n\n";

}  // namespace

std::string model_card(models::Model& model, const ConversionRecord& record) {
  const std::string& architecture = model.hf().architecture;
  const std::string base = record.parent.value("path", "");
  const std::string hash = record.parent.value("weights_sha256", "");
  std::string card = "---\ntags: [d2dmoe, mixture-of-experts, dynamic-k]\n---\n";
  card += format("# {} as a dynamic-k mixture of experts\n\n", architecture);
  const bool tuned = !record.parent.value("stage", "").empty();
  card += tuned ? "Fine-tuned, with the experts that its routers choose, from the mixture of experts "
                : "Converted from the dense model ";
  card += base.empty() ? "" : format("`{}` ", base);
  card += hash.empty() ? "" : format("(weights SHA-256 `{}`) ", hash);
  card += format(
      "with d2dmoe {}: each site below was split into experts, and a small router predicts the "
      "norm of every expert's output, so that each token runs only the experts that matter for it "
      "(Szatkowski et al., *Exploiting Activation Sparsity with Dense to Dynamic-k Mixture-of-Experts "
      "Conversion*, NeurIPS 2024, arXiv 2310.04361).\n\n",
      kVersion);
  card += labels_line(models::class_names(model));
  const Use use = use_of(architecture);
  card += models::has_perceptrons(model.config()) ? std::string(kOursAlone) : dense_use(use);
  card += "`d2dmoe export` with `--original-order` gives the neurons in their first order.\n\n";
  card += format(
      "## As a mixture of experts\n```sh\n{}\n```\n`d2dmoe.json` holds the experts and the selection rule of "
      "each "
      "site, `routers.safetensors` the routers.\n\n",
      use.command);
  card += "## Sites\n" + sites_table(record.sites);
  return card;
}

}  // namespace d2dmoe::moe
