// What the crate tch lacks of libtorch. A function that can fail returns nullptr, or what went
// wrong as a string that holds until this thread's next call; no exception leaves this file.
#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <torch/version.h>

#include <dlfcn.h>
#include <malloc.h>

#include <cstdint>
#include <exception>
#include <string>
#include <vector>

#if TORCH_VERSION_MAJOR != 2 || TORCH_VERSION_MINOR != 11
#error "the torch engine needs libtorch 2.11: pip install torch==2.11.0"
#endif

extern "C" uint64_t aoti_torch_abi_version();

namespace {

thread_local std::string said;

template <typename Work> const char *guarded(Work work) {
  try {
    work();
    return nullptr;
  } catch (const c10::Error &error) {
    said = error.what_without_backtrace();
  } catch (const std::exception &error) {
    said = error.what();
  } catch (...) {
    said = "an error without a message";
  }
  return said.c_str();
}

std::vector<at::Tensor> list(at::Tensor *const *tensors, size_t count) {
  std::vector<at::Tensor> list;
  for (size_t i = 0; i < count; i++) list.push_back(*tensors[i]);
  return list;
}

} // namespace

extern "C" {

// Versions as major << 56 | minor << 48 | patch << 40 | tag.
uint64_t mimbench_version_built() { return TORCH_ABI_VERSION; }
uint64_t mimbench_version_loaded() { return aoti_torch_abi_version(); }

// Keeps freed buffers instead of handing them back to the kernel after every operation: one
// arena that grows in large steps without mmap and is not trimmed.
void mimbench_keep_buffers() {
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, INT32_MAX);
  mallopt(M_TOP_PAD, 64 << 20);
}

// The linker leaves libtorch_cuda out, because no symbol of it is named; loading it registers CUDA.
const char *mimbench_load_cuda() {
  return dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) ? nullptr : dlerror();
}

// Products of f32 matrices in f32, where CUDA devices could take TF32.
const char *mimbench_full_precision() {
  return guarded([] { at::globalContext().setFloat32MatmulPrecision("highest"); });
}

// torch.optim.AdamW(fused=True), one step.
const char *mimbench_adamw(at::Tensor *const *parameters, at::Tensor *const *gradients,
                           at::Tensor *const *means, at::Tensor *const *squares, size_t count,
                           double learning_rate, double beta1, double beta2, double weight_decay,
                           double eps, uint32_t step) {
  return guarded([=] {
    if (count == 0) return;
    at::NoGradGuard no_graph;
    auto number = at::full({}, step, parameters[0]->options().dtype(at::kFloat).requires_grad(false));
    std::vector<at::Tensor> numbers(count, number);
    at::_fused_adamw_(list(parameters, count), list(gradients, count), list(means, count),
                      list(squares, count), {}, numbers, learning_rate, beta1, beta2,
                      weight_decay, eps, false, false);
    // The fused step does not, and older graphs would take the new values for theirs.
    for (size_t i = 0; i < count; i++) parameters[i]->unsafeGetTensorImpl()->bump_version();
  });
}

// Largest number of bytes that tensors have held on a CUDA device.
const char *mimbench_peak_memory(int8_t device, int64_t *bytes) {
  return guarded([=] {
    auto stats = c10::getDeviceAllocator(c10::DeviceType::CUDA)->getDeviceStats(device);
    *bytes = stats.allocated_bytes[0].peak;
  });
}
}
