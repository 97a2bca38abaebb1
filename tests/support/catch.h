#pragma once

// The one place where torch and Catch2 meet: torch's macros CHECK and LOG collide with Catch2's.
#include <torch/csrc/autograd/autograd.h>
#include <torch/cuda.h>
#include <torch/nn/module.h>
#include <torch/types.h>
#include <torch/utils.h>

#undef CHECK
#undef LOG

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
namespace d2dmoe::test {
using Catch::Approx;
}
#else
#include <catch2/catch.hpp>
namespace d2dmoe::test {
using Catch::Detail::Approx;
}
#endif
