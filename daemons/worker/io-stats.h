/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Counters of an image since its worker started. Written by the I/O thread only; others get copies. */

#include <stdint.h>

struct io_stats {
        uint64_t read_operations, write_operations, flush_operations;
        uint64_t read_bytes, written_bytes;
        uint64_t errors;       /* requests answered with an error */
        uint64_t completed;    /* of any kind */
        uint64_t latency_usec; /* sum over all completed, acceptance to answer */
        uint32_t in_flight;
};
