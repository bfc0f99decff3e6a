/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <locale.h>
#include <string.h>

#include "arguments.h"
#include "output.h"
#include "report.h"
#include "verbs.h"

int main(int argc, char *argv[]) {
        struct command command;
        int r;

        setlocale(LC_ALL, "");

        r = arguments_parse(argc, argv, &command);
        if (r == 0 && command.show_help)
                help_print(command.parent, command.verb);
        else if (r == 0)
                r = command.verb->run(&command.cli, command.arguments, command.n_arguments);

        if (r < 0)
                r = report(FAILURE_INTERNAL, NULL, "%s", strerror(-r));

        /* A full disk behind a redirection is an error like any other. */
        if (output_flush() < 0 && r == 0)
                r = report(FAILURE_IO, NULL, "cannot write the output: %s", strerror(errno));

        return r;
}
