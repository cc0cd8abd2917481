// SPDX-License-Identifier: Apache-2.0
// The program's version, written here and nowhere else.
#ifndef SCRUPLE_BASE_VERSION_H
#define SCRUPLE_BASE_VERSION_H

#include "base/base.h"

#define SCRUPLE_VERSION "0.1.0"

#endif
