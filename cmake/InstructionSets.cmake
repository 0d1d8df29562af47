# Raw-pointer loops are compiled once per instruction set and chosen at run time (threads.hpp, CONCORDET_ISA).
# Objects built for a set must not define weak symbols: the linker keeps one copy of those for the whole
# extension, and it may be the one with instructions that the machine lacks. check_symbols.py refuses them.

set(CONCORDET_ISA_FLAGS_baseline "")
set(CONCORDET_ISA_FLAGS_avx2 -mavx2 -mfma)
set(CONCORDET_ISA_FLAGS_avx512 -mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma -mprefer-vector-width=512)

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
    set(CONCORDET_ISAS baseline avx2 avx512)
else()
    set(CONCORDET_ISAS baseline)    # NEON is part of the Arm baseline
endif()

# concordet_add_loops(TARGET name SOURCE file): one object library per instruction set, linked into TARGET.
function(concordet_add_loops target name source)
    foreach(isa IN LISTS CONCORDET_ISAS)
        set(object ${name}_${isa})
        add_library(${object} OBJECT ${source})
        target_include_directories(${object} PRIVATE "${PROJECT_SOURCE_DIR}/cpp")
        target_compile_definitions(${object} PRIVATE CONCORDET_ISA=${isa})
        target_compile_options(${object} PRIVATE -O3 -ffp-contract=fast -fno-exceptions -fno-rtti ${CONCORDET_ISA_FLAGS_${isa}})
        target_link_libraries(${object} PRIVATE concordet_warnings)
        target_sources(${target} PRIVATE $<TARGET_OBJECTS:${object}>)
        add_custom_command(TARGET ${target} PRE_LINK
            COMMAND "${Python_EXECUTABLE}" "${PROJECT_SOURCE_DIR}/cmake/check_symbols.py" "${CMAKE_NM}" $<TARGET_OBJECTS:${object}>
            COMMAND_EXPAND_LISTS VERBATIM)
    endforeach()
endfunction()
