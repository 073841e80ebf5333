# The headers of the CUDA driver, NVRTC and CUPTI; nothing of CUDA is linked, the libraries
# are opened at run time. Searched in FIB_CUDA_HEADERS, a toolkit, and what
# `scripts/quickstart --cuda` fetched from PyPI. Defines CudaHeaders::CudaHeaders.
set(_fib_cuda_hints ${FIB_CUDA_HEADERS} $ENV{CUDA_HOME} /usr/local/cuda
  ${CMAKE_CURRENT_SOURCE_DIR}/.cache/cuda)
foreach(_fib_header cuda.h nvrtc.h cupti.h)
  string(MAKE_C_IDENTIFIER ${_fib_header} _fib_name)
  find_path(FIB_${_fib_name}_DIR ${_fib_header} HINTS ${_fib_cuda_hints}
    PATH_SUFFIXES include targets/x86_64-linux/include extras/CUPTI/include)
  list(APPEND _fib_cuda_dirs FIB_${_fib_name}_DIR)
endforeach()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(CudaHeaders REQUIRED_VARS ${_fib_cuda_dirs})
if(CudaHeaders_FOUND AND NOT TARGET CudaHeaders::CudaHeaders)
  add_library(CudaHeaders::CudaHeaders INTERFACE IMPORTED)
  set_target_properties(CudaHeaders::CudaHeaders PROPERTIES INTERFACE_INCLUDE_DIRECTORIES
    "${FIB_cuda_h_DIR};${FIB_nvrtc_h_DIR};${FIB_cupti_h_DIR}")
endif()
