add_library(concordet_warnings INTERFACE)
target_compile_options(concordet_warnings INTERFACE
    $<$<CXX_COMPILER_ID:GNU,Clang,AppleClang>:-Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wno-psabi>)
