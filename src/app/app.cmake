target_compile_definitions(app PRIVATE EXO_VERSION = "${PROJECT_VERSION}" EXO_SOURCE_MODELS =
                               "${PROJECT_SOURCE_DIR}/models")
