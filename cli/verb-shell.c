/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* For those whose fingers know the classic control program: a line, a word, what it needs is asked for. In a script, where lines come from a pipe, nothing is asked for, and the exit code is that of the first word that failed. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bus.h"
#include "line-editor.h"
#include "nearest.h"
#include "password.h"
#include "report.h"
#include "shell-words.h"
#include "verbs.h"

/* Splits in place; "..." keeps spaces. Returns how many, or -E2BIG, or -EINVAL for a quotation without end. */
static int split(char *line, char *words[static SHELL_ARGUMENTS_MAX]) {
        unsigned n = 0;

        for (char *c = line; *c;) {
                char end = ' ';

                if (*c == ' ' || *c == '\t') {
                        c++;
                        continue;
                }
                if (n == SHELL_ARGUMENTS_MAX)
                        return -E2BIG;
                if (*c == '"') {
                        end = '"';
                        c++;
                }
                words[n++] = c;
                while (*c && *c != end && !(end == ' ' && *c == '\t'))
                        c++;
                if (end == '"' && !*c)
                        return -EINVAL;
                if (*c)
                        *c++ = 0;
        }
        return (int) n;
}

/* What is missing, from somebody who types. asked: to be freed. Returns 0, an exit code, or a negative errno. */
static int ask_missing(const struct shell_word *word, char *arguments[], unsigned *n, char *asked[],
        char password[static PASSWORD_MAX]) {
        bool had_none = *n == 0;
        int r;

        for (; word->prompts[*n]; (*n)++) {
                char prompt[64];

                if (!line_editor_is_interactive())
                        break;
                /* Who has typed device and image means the host's own user. */
                if (!had_none && *n >= 2)
                        break;
                (void) snprintf(prompt, sizeof(prompt), "%s: ", word->prompts[*n]);
                r = line_editor_read(prompt, asked + *n);
                if (r < 0)
                        return r;
                if (r == 0)
                        return CLI_EXIT_INTERRUPTED;
                arguments[*n] = asked[*n];
        }
        if (strcmp(word->word, "mount") == 0 && *n == 3 && *arguments[2] && line_editor_is_interactive()) {
                r = password_read(arguments[2], password);
                if (r != 0)
                        return r;
                arguments[(*n)++] = password;
        }
        return 0;
}

static int run_word(struct shell *shell, const struct shell_word *word, char *arguments[], unsigned n) {
        char *asked[SHELL_ARGUMENTS_MAX] = {};
        char password[PASSWORD_MAX] = "";
        unsigned required = 0, most;
        int r;

        for (; word->prompts[required]; required++)
                ;
        most = required > 1 ? required + 1 : required;
        if (required > 2)
                required = 2;
        r = ask_missing(word, arguments, &n, asked, password);
        if (r == 0 && (n < required || (n > most && strcmp(word->word, "exit") != 0)))
                r = report_plain(FAILURE_USAGE, "expected: %s %s", word->word, word->arguments);
        if (r == 0)
                r = word->run(shell, arguments, n);
        explicit_bzero(password, sizeof(password));
        for (size_t i = 0; i < SHELL_ARGUMENTS_MAX; i++)
                free(asked[i]);
        return r;
}

/* Four words behind mount end in a password. */
static bool has_secret(const char *line) {
        unsigned n = 0;

        for (const char *c = line; *c; c++)
                n += *c != ' ' && (c == line || c[-1] == ' ');
        return n >= 5;
}

static int run_line(struct shell *shell, char *line) {
        char *words[SHELL_ARGUMENTS_MAX];
        const struct shell_word *word;
        int n;

        n = split(line, words);
        if (n == 0 || (n > 0 && *words[0] == '#'))
                return 0;
        if (n < 0)
                return report_plain(
                        FAILURE_USAGE, n == -EINVAL ? "a quotation does not end" : "that is too much for one line");
        word = shell_word_find(words[0]);
        if (!word)
                return report_plain(FAILURE_USAGE, "there is no word \"%s\"; \"help\" lists them", words[0]);
        return run_word(shell, word, words + 1, (unsigned) n - 1);
}

static char **complete(const char *text, unsigned index, const char *line, void *userdata) {
        struct shell *shell = userdata;
        size_t n = 0, n_words = 0;
        char **words;

        if (index > 0)
                return index == 1 && (strncmp(line, "umount ", 7) == 0 || strncmp(line, "unmount ", 8) == 0)
                               ? shell_mounted(shell, text)
                               : NULL;

        for (; shell_words[n_words].word; n_words++)
                ;
        words = calloc(n_words + 1, sizeof(*words));
        for (size_t i = 0; words && i < n_words; i++)
                if (strncmp(shell_words[i].word, text, strlen(text)) == 0 && (words[n] = strdup(shell_words[i].word)))
                        n++;
        return words;
}

int verb_shell(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        struct shell shell = { .cli = cli };
        int r, first = 0;

        r = bus_open(cli, &bus);
        if (r != 0)
                return r;
        shell.bus = bus;
        line_editor_init("blockstorectl", complete, &shell);
        if (line_editor_is_interactive())
                printf("\"help\" lists the words, \"exit\" ends.\n");

        while (!shell.ended) {
                _cleanup_free_ char *line = NULL;

                r = line_editor_read("> ", &line);
                if (r == 0)
                        break;
                if (r == -E2BIG)
                        r = report_plain(FAILURE_USAGE, "that line is too long");
                else if (r > 0) {
                        if (!has_secret(line))
                                line_editor_remember(line);
                        r = run_line(&shell, line);
                        explicit_bzero(line, strlen(line));
                }
                if (r < 0)
                        return r;
                if (first == 0)
                        first = r;
                (void) fflush(stdout);
        }
        return line_editor_is_interactive() ? 0 : first;
}
