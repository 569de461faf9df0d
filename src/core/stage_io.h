// What goes into and comes out of one Stage (one loaded Shard) on this machine. Orchestration's
// pure core speaks these structs, inference's StageRunner obeys them; the simulator connects the
// same two.
//
// The order contract: commands are applied in the order submitted. Orchestration guarantees that
// the Forwards of a run arrive exactly once and in order (gaps and repeats are settled before they
// get here); a Forward of a newer run abandons the older one. On the head the runner numbers runs
// and batches itself.
#pragma once

#include <variant>

#include "core/messages.h"

namespace exo {

// Head only: results stay out. Abandon every batch in flight, roll back to what is committed, go on
// with run + 1.
struct StartNewRun {};

// SessionOpen{for_tail}: the tail learns sampling state; otherwise the head admits the sequence.
// BatchResult: head only, the tail's answer to one of its batches (when head and tail are one node
// the runner commits by itself and none is submitted).
using StageCommand = std::variant<SessionOpen, SessionClose, Forward, BatchResult, StartNewRun>;

// Forward goes to the next stage; BatchResult to the head and its tokens to their askers; the
// session answers to the asker; StageError to the head (and ends the placement when it is not
// transient).
using StageEvent = std::variant<SessionReady, SessionAccepted, SessionRefused, SessionClosed,
                                Forward, BatchResult, StageError>;

}  // namespace exo
