/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <ctype.h>

#include "octal-escapes.h"

bool octal_unescape(char *text) {
        bool printable = true;
        char *out = text;

        for (const char *in = text; *in; out++) {
                if (in[0] == '\\' && in[1] >= '0' && in[1] <= '3' && in[2] >= '0' && in[2] <= '7' && in[3] >= '0' &&
                        in[3] <= '7') {
                        *out = (char) ((in[1] - '0') * 64 + (in[2] - '0') * 8 + (in[3] - '0'));
                        in += 4;
                } else
                        *out = *in++;
                printable = printable && !iscntrl((unsigned char) *out);
        }
        *out = 0;
        return printable;
}
