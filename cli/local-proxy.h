/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

#define LOCAL_PROXY_UNIT_MAX 300U

/* The unit of the proxy that is configured, in /etc/blockstore/proxyd, to listen at this address of this machine. false: there is none, or it may not be known (only root and the proxies can look there). address: as
 * address_normalise() makes it. */
bool local_proxy_find(const char *address, char ret_unit[static LOCAL_PROXY_UNIT_MAX]);
