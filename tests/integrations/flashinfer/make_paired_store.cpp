// make_paired_store FILE: the store of paired_store.h, for tests in other languages.

#include "tests/integrations/paired_store.h"

int main(int, char** argv) { fib::testing::make_paired_store(argv[1]); }
