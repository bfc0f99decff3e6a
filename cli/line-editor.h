/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Lines of somebody who types them, with editing, history and completion where libedit was built in; or of a file or pipe, as they come. */

#include <stdbool.h>

/* Words that begin with text, for the index-th word of a line; NULL-terminated, of malloc(), taken over. NULL for none. */
typedef char **(*line_editor_complete_t)(const char *text, unsigned index, const char *line, void *userdata);

/* name: of the program, for the settings of libedit (editrc). complete may be NULL. */
void line_editor_init(const char *name, line_editor_complete_t complete, void *userdata);
/* Whether somebody types: stdin and stdout are terminals. */
bool line_editor_is_interactive(void);
/* For the arrow keys, until the program ends; never what has a secret in it. */
void line_editor_remember(const char *line);
/* A line without its end, of malloc(), in *ret. Returns 1; 0 at the end of the input; or a negative errno (-E2BIG: more than 4 KiB). */
int line_editor_read(const char *prompt, char **ret);
