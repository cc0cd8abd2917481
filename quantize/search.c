// SPDX-License-Identifier: Apache-2.0
#include "quantize/search.h"

void search_int4(search_group *g)
{
    search_int4_plain(g);
}
