#pragma once

#include <cstdint>
#include <string>

namespace d2dmoe::cluster {

/// The divisors of `number` nearest to `wanted`, ascending, at most three below and three above: "48, 64,
/// 96".
std::string divisors_near(int64_t number, int64_t wanted);

/// The divisor of `number` whose ratio to `wanted` is nearest to 1, at most half of `number` (1 for
/// 1); of two the smaller.
int64_t nearest_divisor(int64_t number, int64_t wanted);

/// @param place, key  what the message begins with: "[place] 'key': …"
/// @throws UsageError  `divisor` is not positive or does not divide `number`: lists the divisors near it
void check_divides(const std::string& place, const std::string& key, int64_t divisor, int64_t number);

}  // namespace d2dmoe::cluster
