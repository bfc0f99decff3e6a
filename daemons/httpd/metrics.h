/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The model as Prometheus reads it. A pure renderer. */

#include <stddef.h>

#include "model.h"

enum metrics_format {
        METRICS_TEXT,        /* text/plain; version=0.0.4 */
        METRICS_OPENMETRICS, /* application/openmetrics-text; version=1.0.0 */
};

/* What an Accept header (NULL: none) asks for. */
enum metrics_format metrics_negotiate(const char *accept);
const char *metrics_content_type(enum metrics_format format);

/* up: whether the supervisor answered; without it only that is said. *ret is freed by the caller. Returns 0 or -ENOMEM. */
int metrics_render(const struct model *model, bool up, enum metrics_format format, char **ret, size_t *ret_size);
