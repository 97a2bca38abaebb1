#include "d2dmoe/config/options.h"

#include "d2dmoe/config/names.h"

namespace d2dmoe::config {
namespace {

// Above every sensible value, below every overflow: a slip (1e18 sentences per batch) becomes an error here
// and not a failed allocation later.
constexpr double kMany = 1e9;
constexpr double kBatch = 1e6;

}  // namespace

void ModelOptions::describe(Fields& f) {
  f.add("path", path,
        "Hugging Face folder of the pretrained model: config.json, safetensors, files of the tokenizer or "
        "image "
        "processor. Without weights, training starts from fresh ones.");
}

void ImageOptions::describe(Fields& f) {
  f.add("check", check,
        "Decode every image once at the start and leave broken ones out; false: a broken image is an error "
        "when its turn comes.");
  f.add("max_broken", max_broken, "Broken images of a split that are named and left out; more are an error.")
      .range(0, kMany);
  f.add("threads", threads, "Threads that decode ahead of the model; 0 = one per core, at most 16.")
      .range(0, 1024);
  f.add("crop_scale", crop_scale,
        "Training: smallest and largest area of the random crop, as shares of the image; [1, 1] = no random "
        "crop.")
      .length(2)
      .range(0.0001, 1);
  f.add("crop_ratio", crop_ratio, "Training: smallest and largest width / height of the random crop.")
      .length(2)
      .range(0.01, 100);
  f.add("flip", flip, "Training: probability of mirroring an image left to right.").range(0, 1);
  f.add("mixup", mixup, "Training: a of the Beta(a, a) share at which two images are blended; 0 = off.")
      .range(0, 100);
  f.add("cutmix", cutmix,
        "Training: a of the Beta(a, a) share at which a box of one image replaces another's; 0 = off. With "
        "mixup, each image gets one of both.")
      .range(0, 100);
}

void DocumentOptions::describe(Fields& f) {
  f.add("delimiter", delimiter,
        "Plain text: what stands between two documents (\"<|endoftext|>\"); empty = each file is one "
        "document.");
  f.add("separator", separator,
        "Token that parts documents: \"auto\" = the tokenizer's begin token before each where it adds one, "
        "else its end token behind each; a token of the vocabulary, put behind each; empty = none.");
  f.add("stride", stride,
        "Validation and test: tokens by which a window of max_length moves on; only tokens that no window "
        "before it had count. 0 = max_length.")
      .range(0, kBatch);
  f.add("cache_dir", cache_dir,
        "Where token files are kept, one folder per tokenizer and text; empty = <output_dir>/tokens.");
}

void ChoiceOptions::describe(Fields& f) {
  f.add("context", context,
        "Template of what stands before an answer; {key} is the line's value of that key.");
  f.add("answers", answers,
        "Templates of the answers, in the order of data.label's numbers; a key that holds a list gives one "
        "answer per item. [\"no\", \"yes\"] asks for yes or no.");
  f.add("delimiter", delimiter, "What stands between context and answer.");
  f.add("shots", shots, "Answered questions of the training split put before each question.").range(0, 1000);
  f.add("shot_separator", shot_separator, "What stands between two of them.");
}

void DataOptions::describe(Fields& f) {
  f.add("train", train,
        "File with the training split; running text: a file or a folder of them; images: a folder or tar "
        "archive "
        "of class folders, or an IDX file (MNIST).");
  f.add("validation", validation, "The same for the validation split; empty = validation_share of train.");
  f.add("test", test, "The same for the test split; empty = none.");
  f.add("format", format, "Format of the files.").one_of(kDataFormats);
  f.add("separator", separator, "Column separator, one ASCII character; empty = by the format.");
  f.add("header", header, "Whether the first line of a CSV or TSV file names the columns.");
  f.add("quoting", quoting, "Whether \" quotes fields (RFC 4180); false: it is a character like any other.");
  f.add("text", text, "Column of the text: its name, or its number from 0 in a file without header.");
  f.add("text_pair", text_pair, "Column of a second text; empty = none.");
  f.add("label", label,
        "Column of the label: a name or id of a class, a number for regression, the right answer's number or "
        "text for multiple_choice.");
  f.add("task", task, "What is learned.").one_of(kTasks);
  f.add("label_names", label_names,
        "Class names in the order of their ids; empty = from the model's id2label or the training data, "
        "sorted.");
  f.add("validation_share", validation_share,
        "Share of train that is held out when no validation file is given.")
      .above(0)
      .below(1);
  f.add("max_length", max_length,
        "Longest sequence in tokens, special tokens included; longer texts are cut. Running text: the length "
        "of a block.")
      .range(1, kBatch);
  f.add("limit", limit, "Use only the first N rows of each split, of images N from all over it; 0 = all.")
      .range(0, 1e12);
  f.object("documents", documents, "language_modeling: running text.");
  f.object("choices", choices, "multiple_choice: questions and answers.");
  f.object("images", images, "How images are read and changed at random in training.");
}

void OptimizerOptions::describe(Fields& f) {
  f.add("name", name, "Optimiser.").one_of(kOptimizers);
  f.add("lr", lr, "Largest learning rate.").above(0);
  f.add("betas", betas, "Adam's decay rates of the two moments.").length(2).min(0).below(1);
  f.add("eps", eps, "Adam's epsilon.").above(0);
  f.add("momentum", momentum, "SGD's momentum.").min(0).below(1);
  f.add("weight_decay", weight_decay, "Weight decay; not applied to biases and norms.").min(0);
  f.add("clip_norm", clip_norm, "Largest norm of the whole gradient; 0 = no clipping.").min(0);
  f.add("schedule", schedule, "Learning rate over the steps.").one_of(kLrSchedules);
  f.add("warmup", warmup, "Share of the steps with a rising learning rate.").min(0).below(1);
  f.add("layer_decay", layer_decay,
        "Each layer learns at this factor of the learning rate of the layer above it, the head at the full "
        "rate; 1 = all alike.")
      .range(0, 1)
      .above(0);
}

void TrainOptions::describe(Fields& f) {
  f.add("epochs", epochs, "Passes over the training split; parts of one are allowed.").above(0).below(kBatch);
  f.add("max_steps", max_steps, "Optimiser steps, instead of epochs; 0 = by epochs.").range(0, kMany);
  f.add("batch_size", batch_size, "Sentences or images per batch.").range(1, kBatch);
  f.add("accumulate", accumulate, "Batches per optimiser step.").range(1, kBatch);
  f.object("optimizer", optimizer, "Optimiser and learning rate.");
  f.add("dropout", dropout, "Dropout of the whole model; -1 = as in the model's config.json.")
      .min(0)
      .below(1)
      .or_exactly(-1);
  f.add("label_smoothing", label_smoothing, "Share of the target spread over all classes.").min(0).below(1);
  f.add("dtype", dtype, "Precision of the matrix products.").one_of(kDtypes);
  f.add("metric", metric, "Validation metric that picks the best model.").one_of(kMetrics);
  f.add("eval_every", eval_every, "Epochs between validations; 0 = at the end only.").min(0);
  f.add("patience", patience, "Validations without improvement before stopping; 0 = never stop early.")
      .range(0, kMany);
  f.add("keep_best", keep_best, "Whether the saved model is the best by metric; false: the last.");
  f.add("checkpoint_every", checkpoint_every,
        "Steps between checkpoints; 0 = only at validations and when a stop is asked for.")
      .range(0, kMany);
  f.add("log_every", log_every, "Steps between lines of metrics.jsonl.").range(1, kMany);
  f.add("keep_checkpoints", keep_checkpoints, "How many checkpoints stay on the disk.").range(1, kMany);
}

void DistillOptions::describe(Fields& f) {
  f.add(
      "teacher", teacher,
      "Model folder of the teacher; \"dense\" = the stage's dense model (train_sparse: what it starts from; "
      "train_routed: the result of train, else its own start with every expert); empty = no distillation.");
  f.add("lambda", lambda, "Weight of the KL term; 1 - lambda is the task loss's.").range(0, 1);
  f.add("temperature", temperature, "Temperature of both distributions in the KL term.").above(0);
  f.add("features", features,
        "Weight of a further term: the relative squared distance between student and teacher of what enters "
        "each feed-forward network, mean over layers and token rows; 0 = off.")
      .min(0);
}

void PenaltyOptions::describe(Fields& f) {
  f.add("name", name, "Penalty on the activations of every site.").one_of(kPenalties);
  f.add("alpha", alpha,
        "Weight of the penalty; with schedule auto a first guess: steering begins at a tenth of it "
        "(target_sparsity) or a quarter (max_metric_drop).")
      .min(0);
  f.add("schedule", schedule, "Weight of the penalty over the steps.").one_of(kAlphaSchedules);
  f.add("displacement", displacement,
        "d of the clamped penalties: pre-activations below it are not pushed further.");
  f.add("target_sparsity", target_sparsity,
        "Schedule auto: share of zero activations to reach; null = not steered by it.")
      .above(0)
      .below(1);
  f.add("max_metric_drop", max_metric_drop,
        "Schedule auto: largest loss of the validation metric, in points (1 = 0.01, of a perplexity 1 %); "
        "null = not steered by "
        "it.")
      .min(0);
}

void SparseTrainOptions::describe(Fields& f) {
  f.object("train", train, "As in `train`.");
  f.add("start", start,
        "\"auto\" = the result of train when the config has that stage, else model.path; or a model folder.");
  f.add("activation", activation, "What happens to the activation function before fine-tuning.")
      .one_of({{"relu", "replaced by ReLU, which gives exact zeros"},
               {"keep", "stays; use a clamped penalty with GELU"}});
  f.object("penalty", penalty, "The sparsity penalty.");
  f.object("distill", distill, "Distillation from a teacher.");
  f.object(
      "attention", attention,
      "Attention projections that become two-layer perceptrons first, so that they can be converted too.");
}

void AttentionOptions::describe(Fields& f) {
  f.add("projections", projections, "Projections that become perceptrons, in every layer; empty = none.")
      .one_of(kProjections);
  f.add("width_factor", width_factor,
        "Hidden width of a perceptron, over the one that costs as much as the projection.")
      .above(0)
      .range(0, 100);
  f.add("multiple_of", multiple_of,
        "The hidden width is rounded to a multiple of this; experts that divide it divide every site.")
      .range(1, kBatch);
  f.add("epochs", epochs, "Passes over the training split; parts of one are allowed.").above(0).below(kBatch);
  f.add("batch_size", batch_size, "Sentences per batch.").range(1, kBatch);
  f.add("lr", lr, "Largest learning rate of Adam.").above(0);
  f.add("schedule", schedule, "Learning rate over the steps.").one_of(kLrDecays);
  f.add("dropout", dropout, "Dropout of the hidden layer.").min(0).below(1);
  f.add("penalty", penalty, "Penalty on the hidden layer.").one_of(kPenalties);
  f.add("alpha", alpha,
        "Weight of the penalty, beside a squared error in which 1 is what the output's mean gets wrong.")
      .min(0);
  f.add("alpha_schedule", alpha_schedule, "Weight of the penalty over the steps.")
      .one_of({kAlphaSchedules[0], kAlphaSchedules[1], kAlphaSchedules[2]});
  f.add("checkpoint_every", checkpoint_every, "Steps between checkpoints; 0 = only when a stop is asked for.")
      .range(0, kMany);
}

void SplitOptions::describe(Fields& f) {
  f.add("name", name, "How a site's neurons are split into experts.").one_of(kSplits);
  f.add("experts", experts, "Experts per site, a divisor of its number of neurons; 0 = by expert_size.")
      .range(0, kMany);
  f.add("expert_size", expert_size,
        "Neurons per expert, when experts is 0; a divisor of the number of neurons. 0 = 24, 32 or 16, the "
        "first that is one, else the one nearest to 24.")
      .range(0, kMany);
  f.add("experts_per_site", experts_per_site, "Site name -> number of experts, over the two keys above.")
      .range(1, kMany);
  f.add("mix", mix, "Split mixed: weight of the co-activation cosine; 1 - mix is the weights'.").range(0, 1);
  f.add("shared_share", shared_share, "Split shared_routed: share of the experts that always run.")
      .min(0)
      .below(1);
  f.add("calibration_tokens", calibration_tokens,
        "Tokens of the training split on which activations are looked at.")
      .range(1, kMany);
  f.add("restarts", restarts, "Random starts of the clustering; the best is kept.").range(1, kBatch);
  f.add("max_sweeps", max_sweeps, "Most sweeps of the exchange search.").range(1, kBatch);
}

void RouterOptions::describe(Fields& f) {
  f.add("width", width, "Hidden width of a router.").range(1, kBatch);
  f.add("depth", depth, "Linear layers of a router; 1 = one from the model width to the experts.")
      .range(1, 16);
  f.add("epochs", epochs, "Passes over the training split; parts of one are allowed.").above(0).below(kBatch);
  f.add("batch_tokens", batch_tokens,
        "Token rows per optimiser step, at most: a split that would give fewer than 500 steps gets smaller "
        "ones, down "
        "to 256 rows.")
      .range(1, kMany);
  f.add("lr", lr, "Largest learning rate of Adam.").above(0);
  f.add("schedule", schedule, "Learning rate over the steps.").one_of(kLrDecays);
  f.add("loss", loss, "What a router minimises.").one_of(kRouterLosses);
  f.add("validation_share", validation_share, "Share of the training split on which routers are judged.")
      .above(0)
      .below(1);
  f.add("patience", patience, "Validations without improvement before stopping; 0 = never stop early.")
      .range(0, kMany);
  f.add("max_tokens", max_tokens,
        "Training tokens, about: a random part of the split, the same in every epoch; 0 = all of it.")
      .range(0, 1e15);
}

void ConvertOptions::describe(Fields& f) {
  f.add("start", start,
        "\"auto\" = the result of train_sparse, else of train, else model.path; or a model folder.");
  f.add("layers", layers, "Layers that are converted, from 0; empty = all.").range(0, kMany);
  f.add("kinds", kinds, "Kinds of sites that are converted; empty = all that the model has.")
      .one_of(kSiteKinds);
  f.object("split", split, "How neurons become experts.");
  f.object("router", router, "Routers and their training.");
  f.object("attention", attention, "Experts and routers of attention projections.");
  f.add("checkpoint_every", checkpoint_every,
        "Router steps between checkpoints; 0 = only when a stop is asked for.")
      .range(0, kMany);
}

void AttentionConvertOptions::describe(Fields& f) {
  f.add("experts", experts, "Experts per projection, a divisor of its number of neurons; 0 = by expert_size.")
      .range(0, kMany);
  f.add("expert_size", expert_size,
        "Neurons per expert, when experts is 0; a divisor of the number of neurons.")
      .range(1, kMany);
  f.add("router_width", router_width, "Hidden width of a router.").range(1, kBatch);
  f.add("router_depth", router_depth, "Linear layers of a router; 1 = one from the input to the experts.")
      .range(1, 16);
}

void RoutedTrainOptions::describe(Fields& f) {
  f.object("train", train, "As in `train`.");
  f.add("start", start, "\"auto\" = the result of convert; or a converted folder.");
  f.add("rule", rule, "Which experts run for a token; of no effect with an empty tau_range.")
      .one_of({kRules[0], kRules[1], kRules[2]});
  f.add("tau_range", tau_range,
        "Smallest and largest tau (dynamic_k), p (cumulative) or k (top_k): each step draws its own between "
        "them, so that the model learns to be run at any; empty = every site's own setting, which a "
        "sweep with sweep_tau.start at the converted folder has calibrated before.")
      .range(0, kMany);
  f.add("validation_tau", validation_tau,
        "The value at which validations run, the best weights are picked and the model is saved; null = the "
        "middle of tau_range.")
      .range(0, kMany);
  f.object("distill", distill, "Distillation from a teacher.");
}

void SweepOptions::describe(Fields& f) {
  f.add("start", start, "\"auto\" = the result of train_routed, else of convert; or a model folder.");
  f.add("dense", dense,
        "Model folder of the dense baseline; empty = the result of train, else the converted model (of "
        "convert, where train_routed trained on) with every expert.");
  f.add("split", split, "Split of the data that is measured.")
      .one_of({{"test", "data.test"}, {"validation", "data.validation"}, {"train", "data.train"}});
  f.add("rule", rule, "Which experts run for a token.").one_of(kRules);
  f.add("taus", taus, "tau (dynamic_k), p (cumulative) or k (top_k) of each point; empty = by points.")
      .range(0, kMany);
  f.add("points", points, "Number of points, placed evenly in cost.").range(1, 10000);
  f.add("floor", floor, "An expert also needs floor times the site's mean norm; 0 = the paper's rule.")
      .min(0);
  f.add("floors", floors, "Candidates when the floor is calibrated together with tau; empty = floor alone.")
      .min(0);
  f.add("budget", budget,
        "Calibrate tau per site: at most this share of the dense model's FLOPs; null = off.")
      .range(0, 1)
      .above(0);
  f.add("max_drop", max_drop,
        "Calibrate tau per site: at most this many points (1 = 0.01, of a perplexity 1 %) of the metric lost "
        "on validation data, against the dense model or the model with all experts, whichever is better "
        "there; "
        "null = off.")
      .min(0);
  f.add(
       "max_drop_confidence", max_drop_confidence,
       "With max_drop: how surely it shall hold on other data of the kind. What a setting loses of the model "
       "with all experts counts with its upper bound of this confidence (paired bootstrap over the "
       "validation "
       "examples); 0.5 = as measured.")
      .range(0.5, 0.99);
  f.add("time_batches", time_batches,
        "Sentences or images per batch of the time measurements; empty = no timing.")
      .range(1, kBatch);
  f.add("time_seconds", time_seconds,
        "Seconds of measuring per point and batch size, unless time_runs come first.")
      .above(0);
  f.add("time_runs", time_runs, "Runs per point and batch size, unless time_seconds come first.")
      .range(1, kMany);
  f.add("batch_size", batch_size, "Sentences or images per batch of the evaluation.").range(1, kBatch);
  f.add("bootstrap", bootstrap, "Resamples behind the 95 % confidence interval; 0 = no interval.")
      .range(0, kBatch);
  f.add("decode_tokens", decode_tokens,
        "Language models: tokens that are timed one by one behind a prompt, per point, by bench too; 0 = no "
        "such "
        "timing (nor without time_batches).")
      .range(0, kBatch);
}

void RunOptions::describe(Fields& f) {
  f.add("output_dir", output_dir, "Folder of the experiment; every stage gets a folder inside.");
  f.add("seed", seed, "Everything random derives from it.").min(0);
  f.add("device", device, "auto, cpu, cuda or cuda:N; auto = CUDA where it can be used.");
  f.add("threads", threads, "CPU threads; 0 = all that this process may use.").range(0, 4096);
}

void Experiment::describe(Fields& f) {
  run.describe(f);
  f.object("model", model, "Where the pretrained model comes from.");
  f.object("data", data, "Labelled texts or images.");
  f.object("train", train, "Stage 0: dense fine-tuning, the baseline and the start of the other stages.");
  f.object("train_sparse", train_sparse,
           "Stage 1: fine-tuning with a penalty that makes activations sparse.");
  f.object("convert", convert, "Stage 2: feed-forward networks become experts, and routers are trained.");
  f.object("train_routed", train_routed,
           "Optional, behind stage 2: fine-tuning with the experts that the routers choose.");
  f.object("sweep_tau", sweep_tau, "Stage 3: quality, cost and time over the selection rule's tau.");
}

}  // namespace d2dmoe::config
