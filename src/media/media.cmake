# The resampler's weights are those of Pillow to the last bit: no fused multiply-add.
set_source_files_properties(${dir}/clip_square.cpp PROPERTIES COMPILE_OPTIONS -ffp-contract=off)
