/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdio.h>

#include "world.h"

int main(void) {
        replay();
        puts("10000 requests answered");
        return 0;
}
