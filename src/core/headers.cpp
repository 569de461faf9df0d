// Compiles every noun once, so that a broken header is found here.
#include "core/generation.h"
#include "core/messages.h"
#include "core/vocabulary.h"
