#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "d2dmoe/config/fields.h"

/// The options of every stage, one struct each. A default stands here and nowhere else. Each `describe` lists
/// the keys with their help and range (options.cpp); docs/method.md is the reference for their meaning.
namespace d2dmoe::config {

/// Where the pretrained model comes from.
struct ModelOptions {
  std::string path;  ///< Hugging Face folder
  void describe(Fields& f);
};

/// Images: how they are read, and how training changes them at random.
struct ImageOptions {
  bool check = true;        ///< decode every image once at the start, so that broken ones are known
  int64_t max_broken = 10;  ///< per split; more are an error
  int64_t threads = 0;      ///< that decode ahead of the model; 0 = one per core
  std::vector<double> crop_scale = {1, 1};           ///< area of the random crop, as a share of the image
  std::vector<double> crop_ratio = {0.75, 4.0 / 3};  ///< its width / height
  double flip = 0;                                   ///< probability
  double mixup = 0, cutmix = 0;                      ///< a of Beta(a, a); 0 = off
  /// Whether training crops, flips or mixes at all.
  bool crops() const { return crop_scale != std::vector<double>{1, 1}; }
  bool mixes() const { return mixup > 0 || cutmix > 0; }
  void describe(Fields& f);
};

/// Running text, for language modelling: how documents are told apart and how they become token blocks.
struct DocumentOptions {
  std::string delimiter;           ///< plain text: what stands between two documents; empty = a file is one
  std::string separator = "auto";  ///< token between documents; "auto" = the tokenizer's; empty = none
  int64_t stride = 0;              ///< validation, test: tokens that a window moves on; 0 = its length
  std::string cache_dir;           ///< of the token files; empty = <output_dir>/tokens
  void describe(Fields& f);
};

/// Questions with several answers, of which a language model finds one likelier than the others. Templates
/// hold the keys of a JSON line in braces: "{question}\nAnswer:".
struct ChoiceOptions {
  std::string context = "{question}";                ///< template of what stands before an answer
  std::vector<std::string> answers = {"{choices}"};  ///< templates; a key of a list is one answer per item
  std::string delimiter = " ";                       ///< between context and answer
  int64_t shots = 0;                                 ///< answered questions of train put before each
  std::string shot_separator = "\n\n";
  void describe(Fields& f);
};

/// Labelled texts or images, or running text.
struct DataOptions {
  std::string train, validation, test;  ///< files, or folders of them; empty = none
  std::string format = "auto";          ///< a name of kDataFormats
  std::string separator;                ///< one character; empty = by the format
  bool header = true;
  bool quoting = true;        ///< RFC 4180 quotes; false: a quote is a character like any other
  std::string text = "text";  ///< column name, or its number (from 0) without a header
  std::string text_pair;      ///< second text; empty = none
  std::string label = "label";
  std::string task = "classification";  ///< a name of kTasks
  std::vector<std::string>
      label_names;                ///< order of the class ids; empty = from the data (or the model's id2label)
  double validation_share = 0.1;  ///< taken from train when no validation file is given
  int64_t max_length = 128;       ///< tokens of a text, of a block of running text
  int64_t limit = 0;  ///< use only the first N rows of each split (images: N from all over it); 0 = all
  ImageOptions images;
  DocumentOptions documents;
  ChoiceOptions choices;
  void describe(Fields& f);
};

struct OptimizerOptions {
  std::string name = "adamw";
  double lr = 1e-4;
  std::vector<double> betas = {0.9, 0.999};
  double eps = 1e-8;
  double momentum = 0.9;
  double weight_decay = 0.01;  ///< not applied to biases and norms
  double clip_norm = 1.0;      ///< 0 = no clipping
  std::string schedule = "linear";
  double warmup = 0.06;    ///< share of the steps
  double layer_decay = 1;  ///< factor on the learning rate per layer away from the output; 1 = off
  void describe(Fields& f);
};

/// What the training stages share.
struct TrainOptions {
  double epochs = 3;
  int64_t max_steps = 0;  ///< 0 = by epochs
  int64_t batch_size = 64;
  int64_t accumulate = 1;  ///< batches per optimiser step
  OptimizerOptions optimizer;
  double dropout = -1;  ///< -1 = as in the model's config.json
  double label_smoothing = 0;
  std::string dtype = "float32";
  std::string metric = "auto";
  double eval_every = 1;           ///< epochs between validations; 0 = at the end only
  int64_t patience = 0;            ///< validations without improvement before stopping; 0 = never
  bool keep_best = true;           ///< the saved model is the best by `metric`, else the last
  int64_t checkpoint_every = 200;  ///< steps; 0 = only at validations and when a stop is asked for
  int64_t log_every = 20;          ///< steps
  int64_t keep_checkpoints = 1;
  void describe(Fields& f);
};

struct DistillOptions {
  std::string
      teacher;  ///< model folder; empty = no distillation; "dense" = the stage's dense model: what
                ///< train_sparse starts from; for train_routed the result of train, else its own start
  double lambda = 0.5;  ///< weight of the KL term; 1 - lambda is the task's
  double temperature = 2.0;
  double features = 0;  ///< weight of the distance between hidden states; 0 = not looked at
  void describe(Fields& f);
};

struct PenaltyOptions {
  std::string name = "square_hoyer";
  double alpha = 1e-3;
  std::string schedule = "warmup";
  double displacement = -10;
  std::optional<double> target_sparsity;  ///< schedule auto: share of zeros to reach, in (0, 1)
  std::optional<double>
      max_metric_drop;  ///< schedule auto: largest loss of the validation metric, in points (0.01)
  void describe(Fields& f);
};

/// Attention projections that become two-layer perceptrons before stage 1, each trained to give what the
/// projection gave.
struct AttentionOptions {
  std::vector<std::string> projections;  ///< of q, k, v, o; empty = none
  double width_factor = 1;               ///< hidden width, over the one that costs as much as the projection
  int64_t multiple_of = 8;               ///< the width is rounded to a multiple of it
  double epochs = 3;
  int64_t batch_size = 64;
  double lr = 1e-3;
  std::string schedule = "cosine";
  double dropout = 0.05;  ///< of the hidden layer
  std::string penalty = "square_hoyer";
  double alpha = 1e-3;
  std::string alpha_schedule = "linear";
  int64_t checkpoint_every = 200;  ///< steps
  void describe(Fields& f);
};

struct SparseTrainOptions {
  TrainOptions train;
  std::string start =
      "auto";  ///< "auto": the result of `train` when the config has that stage, else model.path; or a folder
  std::string activation = "relu";  ///< "relu" or "keep"
  PenaltyOptions penalty;
  DistillOptions distill;
  AttentionOptions attention;
  void describe(Fields& f);
};

struct SplitOptions {
  std::string name = "mixed";
  int64_t experts = 0;  ///< per site; 0 = by expert_size
  static constexpr int64_t kUsualExpertSize = 24;
  int64_t expert_size = 0;  ///< neurons per expert, when experts = 0; 0 = kUsualExpertSize or what is near it
  std::map<std::string, int64_t> experts_per_site;  ///< site name -> experts, over the defaults
  double mix = 0.5;              ///< mixed: weight of co-activation; 1 - mix is the weights'
  double shared_share = 0.0625;  ///< shared_routed: share of the experts that always run
  int64_t calibration_tokens = 32768;
  int64_t restarts = 1;
  int64_t max_sweeps = 60;
  void describe(Fields& f);
};

struct RouterOptions {
  int64_t width = 128;
  int64_t depth = 2;  ///< 1 = one linear layer
  double epochs = 7;
  int64_t batch_tokens = 4096;  ///< token rows per optimiser step, at most
  double lr = 1e-3;
  std::string schedule = "cosine";
  std::string loss = "row";  ///< a name of kRouterLosses
  double validation_share = 0.05;
  int64_t patience = 0;
  int64_t max_tokens = 0;  ///< training tokens, about, the same in every epoch; 0 = the whole split
  void describe(Fields& f);
};

/// What is other for attention projections: they are narrower than feed-forward networks, so that experts and
/// routers of the same size would leave little to save.
struct AttentionConvertOptions {
  int64_t experts = 0;      ///< per site; 0 = by expert_size
  int64_t expert_size = 8;  ///< neurons per expert, when experts = 0
  int64_t router_width = 32;
  int64_t router_depth = 2;
  void describe(Fields& f);
};

struct ConvertOptions {
  std::string start =
      "auto";  ///< "auto": the result of train_sparse, else of train, else model.path; or a folder
  std::vector<int64_t> layers;     ///< empty = all
  std::vector<std::string> kinds;  ///< of ffn, q, k, v, o; empty = every kind of site that the model has
  SplitOptions split;
  RouterOptions router;
  AttentionConvertOptions attention;
  int64_t checkpoint_every = 500;  ///< router steps; 0 = only when a stop is asked for
  void describe(Fields& f);
};

/// Fine-tuning of a converted model that runs the experts its routers choose, so that it learns to do without
/// the others. The routers stay as they are.
struct RoutedTrainOptions {
  TrainOptions train;
  std::string start = "auto";  ///< "auto": the result of convert; or a converted folder
  std::string rule = "dynamic_k";
  /// Smallest and largest tau (dynamic_k), p (cumulative) or k (top_k): each step draws its own; empty =
  /// every site's own setting.
  std::vector<double> tau_range = {0.05, 0.5};
  std::optional<double> validation_tau;  ///< of the validations, and of the saved model; none = the middle
  DistillOptions distill{.teacher = "dense"};
  void describe(Fields& f);
};

struct SweepOptions {
  std::string start = "auto";  ///< "auto": the result of train_routed, else of convert; or a folder
  std::string
      dense;  ///< dense baseline; empty = the result of train, else the converted folder's own weights
  std::string split = "test";  ///< split of the data that is measured
  std::string rule = "dynamic_k";
  std::vector<double> taus;  ///< tau (dynamic_k), p (cumulative) or k (top_k); empty = by points
  int64_t points = 12;       ///< placed evenly in cost
  double floor = 0;
  std::vector<double> floors;    ///< candidates when a floor is calibrated with tau
  std::optional<double> budget;  ///< calibrate: cost at most this share of the dense model's FLOPs
  std::optional<double>
      max_drop;  ///< calibrate: at most this many points of the metric lost on validation data
  double max_drop_confidence = 0.8;  ///< with which it shall hold on other data; 0.5 = as measured
  std::vector<int64_t> time_batches = {1, 8, 64};  ///< sentences per batch; empty = no timing
  double time_seconds = 2;                         ///< per point and batch size
  int64_t time_runs = 50;                          ///< per point and batch size, whichever is reached first
  int64_t batch_size = 64;
  int64_t bootstrap = 1000;    ///< resamples of the confidence interval
  int64_t decode_tokens = 64;  ///< language models: tokens timed one by one behind a prompt; 0 = no timing
  void describe(Fields& f);
};

struct RunOptions {
  std::string output_dir = "runs/run";
  int64_t seed = 42;
  std::string device = "auto";
  int64_t threads = 0;
  void describe(Fields& f);
};

/// One JSON file for all stages. A stage that the file does not hold is not run by `d2dmoe run`.
struct Experiment {
  RunOptions run;  ///< its keys stand at the top level: output_dir, seed, device, threads
  ModelOptions model;
  DataOptions data;
  TrainOptions train;
  SparseTrainOptions train_sparse;
  ConvertOptions convert;
  RoutedTrainOptions train_routed;
  SweepOptions sweep_tau;
  void describe(Fields& f);
};

}  // namespace d2dmoe::config
