/** Libraries that are there or not: found at run time, so that nothing depends on them. */
#pragma once

#include <dlfcn.h>

#include <initializer_list>
#include <string>

namespace muster::cuda {

/** Stays loaded until the process ends. */
class DynamicLibrary {
 public:
  /** The first of the names that loads. */
  explicit DynamicLibrary(std::initializer_list<const char*> names) {
    for (const char* const name : names) {
      handle_ = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
      if (handle_ != nullptr) return;
      reason_ = ::dlerror();
    }
  }

  /** Takes a function; remembers when there is none of this name. */
  template <class Function>
  void take(Function*& function, const char* name) {
    function = handle_ == nullptr ? nullptr : reinterpret_cast<Function*>(::dlsym(handle_, name));
    if (handle_ == nullptr || function != nullptr) return;
    reason_ = std::string("it has no ") + name;
    handle_ = nullptr;
  }

  /** Whether it is there, with all functions that were taken. */
  bool isThere() const { return handle_ != nullptr; }
  /** Why it is not. */
  const char* reason() const { return reason_.c_str(); }

 private:
  void* handle_ = nullptr;
  std::string reason_;
};

}  // namespace muster::cuda
