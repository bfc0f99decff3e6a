/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cli.h"

/* Lets polkit ask on this terminal: starts pkttyagent when there is one and it could be needed. Returns 0, also when
 * there was nothing to do. It ends with this process, or with polkit_agent_stop(). */
int polkit_agent_start(const struct cli *cli);
void polkit_agent_stop(void);
