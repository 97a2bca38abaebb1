#include "d2dmoe/train/feature_distillation.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

const nn::SiteId kFirst{0, "layers.0.ffn", 0, nn::SiteKind::ffn};
const nn::SiteId kQuery{1, "layers.1.attention.q", 1, nn::SiteKind::attention_q};
const nn::SiteId kSecond{2, "layers.1.ffn", 1, nn::SiteKind::ffn};

}  // namespace

TEST_CASE("feature distillation: each row's squared distance is relative to the teacher's row") {
  train::FeatureObserver student, teacher;
  teacher.on_input(kFirst, torch::tensor({{3.0F, 4.0F}, {0.0F, 100.0F}}));
  student.on_input(kFirst, torch::tensor({{3.0F, 9.0F}, {0.0F, 100.0F}}));  // 25 / 25, 0
  teacher.on_input(kSecond, torch::tensor({{1.0F, 0.0F}, {0.0F, 2.0F}}));
  auto near = torch::tensor({{1.0F, 2.0F}, {0.0F, 4.0F}}, torch::requires_grad());  // 4 / 1, 4 / 4
  student.on_input(kSecond, near);
  const auto distance = train::feature_distance(student, teacher);
  CHECK(distance.item<double>() == Approx((0.5 + 2.5) / 2));
  distance.backward();  // 2 (s - t) / ||t||^2, over 2 rows and 2 layers
  CHECK(difference(near.grad(), torch::tensor({{0.0F, 1.0F}, {0.0F, 0.25F}}), 1e-6) == "");
}

TEST_CASE("feature distillation: attention sites are not looked at, a student may have them alone") {
  train::FeatureObserver student, teacher;
  const auto x = torch::randn({3, 4});
  student.on_input(kFirst, x);
  student.on_input(kQuery, torch::randn({3, 4}));
  teacher.on_input(kFirst, x);
  CHECK(train::feature_distance(student, teacher).item<double>() == 0);
  student.reset();
  CHECK(student.by_layer().empty());
}

TEST_CASE("feature distillation: a row of zeros divides by no zero") {
  train::FeatureObserver student, teacher;
  student.on_input(kFirst, torch::zeros({2, 4}));
  teacher.on_input(kFirst, torch::zeros({2, 4}));
  CHECK(train::feature_distance(student, teacher).item<double>() == 0);
}

TEST_CASE("feature distillation: a teacher of another shape is refused by the key's name") {
  train::FeatureObserver student, deeper, wider;
  student.on_input(kFirst, torch::randn({3, 4}));
  deeper.on_input(kFirst, torch::randn({3, 4}));
  deeper.on_input(kSecond, torch::randn({3, 4}));
  wider.on_input(kFirst, torch::randn({3, 6}));
  CHECK(contains(message_of([&] { train::feature_distance(student, deeper); }), "distill.features"));
  CHECK(contains(message_of([&] { train::feature_distance(student, wider); }), "distill.features"));
}
