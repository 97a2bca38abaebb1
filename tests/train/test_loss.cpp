#include "d2dmoe/io/safetensors.h"
#include "d2dmoe/train/loss.h"
#include "d2dmoe/train/precision.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

TEST_CASE("loss: label smoothing and distillation equal PyTorch's, gradients too", "[golden]") {
  const auto file = io::SafetensorsFile::open(golden("train/train.safetensors"));
  const auto teacher = file->tensor("loss.teacher"), labels = file->tensor("loss.labels");
  auto student = file->tensor("loss.student").clone().requires_grad_();
  const auto smooth = train::task_loss(student, labels, data::Task::classification, 0.1);
  CHECK(difference(smooth, file->tensor("loss.smooth"), 1e-6) == "");
  CHECK(difference(torch::autograd::grad({smooth}, {student})[0], file->tensor("loss.smooth_grad"), 1e-6) ==
        "");
  const auto kl = train::distillation_loss(student, teacher, data::Task::classification, 3.0);
  CHECK(difference(kl, file->tensor("loss.kl"), 1e-5) == "");
  CHECK(difference(torch::autograd::grad({kl}, {student})[0], file->tensor("loss.kl_grad"), 1e-6) == "");
}

TEST_CASE("loss: shares of the classes instead of a class equal PyTorch's, gradients too", "[golden]") {
  const auto file = io::SafetensorsFile::open(golden("train/train.safetensors"));
  auto logits = file->tensor("soft.logits").clone().requires_grad_();
  const auto loss = train::task_loss(logits, file->tensor("soft.shares"), data::Task::classification, 0.1);
  CHECK(difference(loss, file->tensor("soft.loss"), 1e-6) == "");
  CHECK(difference(torch::autograd::grad({loss}, {logits})[0], file->tensor("soft.grad"), 1e-6) == "");
}

TEST_CASE("loss: regression is the mean squared error") {
  const auto outputs = torch::tensor({{1.0F}, {3.0F}}), targets = torch::tensor({0.0F, 1.0F});
  CHECK(train::task_loss(outputs, targets, data::Task::regression).item<float>() == Approx(2.5));
  CHECK(train::distillation_loss(outputs, outputs + 1, data::Task::regression, 2.0).item<float>() ==
        Approx(1.0));
  CHECK(contains(message_of([&] { train::task_loss(outputs, targets, data::Task::regression, 0.1); }),
                 "label_smoothing"));
}

TEST_CASE("loss: a student equal to its teacher has no distillation loss") {
  const auto logits = torch::randn({3, 4});
  CHECK(train::distillation_loss(logits, logits, data::Task::classification, 2.0).item<float>() ==
        Approx(0.0).margin(1e-7));
}

TEST_CASE("precision: autocast holds inside its scope and keeps weights in float32") {
  const auto x = torch::randn({4, 8}), w = torch::randn({3, 8}, torch::requires_grad());
  {
    const train::AutocastScope scope(torch::kCPU, torch::kBFloat16);
    const auto y = torch::linear(x, w);
    CHECK(y.scalar_type() == torch::kBFloat16);
    y.to(torch::kFloat32).sum().backward();
  }
  CHECK(w.grad().scalar_type() == torch::kFloat32);
  CHECK(torch::linear(x, w).scalar_type() == torch::kFloat32);
  const train::AutocastScope scope(torch::kCPU, torch::kFloat32);
  CHECK(torch::linear(x, w).scalar_type() == torch::kFloat32);
}
