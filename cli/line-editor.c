/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if HAVE_LIBEDIT
#include <editline/readline.h>
#endif

#include "cleanup.h"
#include "line-editor.h"

#define LINE_MAX_BYTES 4096U

bool line_editor_is_interactive(void) {
        return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

static int read_plain(const char *prompt, char **ret) {
        _cleanup_free_ char *line = NULL;
        size_t size = 0;
        ssize_t n;

        if (line_editor_is_interactive()) {
                fputs(prompt, stdout);
                (void) fflush(stdout);
        }
        errno = 0;
        n = getline(&line, &size, stdin);
        if (n < 0)
                return errno == ENOMEM ? -ENOMEM : 0;
        if (n > 0 && line[n - 1] == '\n')
                line[--n] = 0;
        if ((size_t) n > LINE_MAX_BYTES || strlen(line) != (size_t) n)
                return -E2BIG;
        *ret = TAKE_PTR(line);
        return 1;
}

#if HAVE_LIBEDIT
/* libedit knows one program in a process. */
static struct {
        line_editor_complete_t function;
        void *userdata;
} completer;

static char **complete(const char *text, int start, int end) {
        unsigned index = 0;
        char **words, **matches;
        size_t n = 0;

        rl_attempted_completion_over = 1; /* no names of files */
        for (int i = 0; i < start; i++)
                if (rl_line_buffer[i] != ' ' && (i == 0 || rl_line_buffer[i - 1] == ' '))
                        index++;
        words = completer.function(text, index, rl_line_buffer, completer.userdata);
        for (; words && words[n]; n++)
                ;
        if (n == 0) {
                free(words);
                return NULL;
        }

        /* First what all have in common, then they themselves. */
        matches = calloc(n + 2, sizeof(*matches));
        if (!matches) {
                for (size_t i = 0; i < n; i++)
                        free(words[i]);
                free(words);
                return NULL;
        }
        matches[0] = strdup(words[0]);
        for (size_t i = 0; i < n; i++) {
                for (size_t k = 0; matches[0] && matches[0][k]; k++)
                        if (words[i][k] != matches[0][k])
                                matches[0][k] = 0;
                matches[i + 1] = words[i];
        }
        free(words);
        return matches;
}

void line_editor_init(const char *name, line_editor_complete_t function, void *userdata) {
        completer.function = function;
        completer.userdata = userdata;
        rl_readline_name = name;
        if (function)
                rl_attempted_completion_function = complete;
        rl_basic_word_break_characters = " \t";
        using_history();
        stifle_history(200);
}

void line_editor_remember(const char *line) {
        if (*line)
                (void) add_history(line);
}

int line_editor_read(const char *prompt, char **ret) {
        _cleanup_free_ char *line = NULL;

        if (!line_editor_is_interactive())
                return read_plain(prompt, ret);

        line = readline(prompt);
        if (!line) {
                fputc('\n', stdout);
                return 0;
        }
        if (strlen(line) > LINE_MAX_BYTES)
                return -E2BIG;
        *ret = TAKE_PTR(line);
        return 1;
}
#else
void line_editor_init(const char *name, line_editor_complete_t function, void *userdata) {
}

void line_editor_remember(const char *line) {
}

int line_editor_read(const char *prompt, char **ret) {
        return read_plain(prompt, ret);
}
#endif
