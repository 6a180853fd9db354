// SPDX-License-Identifier: GPL-2.0
/* The tracepoints of this module; the one place that instantiates them. */
#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include "events.h"
