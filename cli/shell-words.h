/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The words of the classic control program, as calls of today's supervisor. */

#include <systemd/sd-bus.h>

#include "cli.h"

#define SHELL_ARGUMENTS_MAX 8U

struct shell {
        const struct cli *cli;
        sd_bus *bus;
        bool ended;
};

struct shell_word {
        const char *word, *arguments, *help;
        /* Asked for when they are missing, up to a NULL. The last of mount is a password: it is read without echo, and need not be there. */
        const char *prompts[4];
        /* Returns an exit code (told), or a negative errno. */
        int (*run)(struct shell *shell, char *arguments[], unsigned n_arguments);
};

extern const struct shell_word shell_words[];
const struct shell_word *shell_word_find(const char *word);

/* Names of attached images and their devices, for completion: NULL-terminated, of malloc(); NULL for none. */
char **shell_mounted(struct shell *shell, const char *prefix);
