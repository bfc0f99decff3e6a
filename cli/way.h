/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How packets to a proxy go, and whether somebody could read them. */

#include <net/if.h>

#define WAY_INTERFACE_SIZE IF_NAMESIZE

enum way {
        WAY_TLS,    /* encrypted */
        WAY_LOCAL,  /* they do not leave this machine */
        WAY_TUNNEL, /* through WireGuard */
        WAY_OPEN,   /* anything else, and names: what they mean today says little about tomorrow */
        WAY_NONE,   /* there is none */
};

/* address: as address_normalise() gives it. ret_interface: of WAY_TUNNEL. */
enum way way_of(const char *address, char ret_interface[static WAY_INTERFACE_SIZE]);
