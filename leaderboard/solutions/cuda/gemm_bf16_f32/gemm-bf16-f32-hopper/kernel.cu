// C = A * B^T in bf16 with float32 sums, for any number of rows: `stream` for up to 64 rows of A,
// `tiled` for more.

#include "streamed.h"
#include "tiled.h"
