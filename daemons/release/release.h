/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* While the system goes down: takes away what rests on the image's device, so that its worker can stop. At any other time it does nothing. Returns at the latest after some 75 s. */
void release_image(const char *name);
